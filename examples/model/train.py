#!/usr/bin/env python3
"""Make baleen's bundled model: a small DeepSeek-V3 trained from nothing on one CPU core.

    train.py data                     texts and tokenizer
    train.py train                    the weights (continues by itself where it was interrupted)
    train.py export -o DIR            the published form: fp8 blocks, config, tokenizer
    train.py evaluate -m DIR          loss by kind, arithmetic held out of training, load per expert
    train.py check -m DIR             the same logits as transformers' DeepseekV3ForCausalLM?
    train.py all -o DIR               data, train, export and evaluate in one go

Needs torch, numpy, tokenizers and safetensors (`check` also transformers), the Debian packages bible-kjv (the program
that unpacks bible-kjv-text) and wordnet-base. Everything random comes from --seed and the step number.

References: [V3] DeepSeek-V3 Technical Report, arXiv 2412.19437. [Muon] Liu et al., Muon is Scalable for LLM Training,
arXiv 2502.16982. Shapes are [tokens, features]; T tokens, D hidden size, E experts, k experts a token.
"""
import argparse, hashlib, json, math, os, random, re, subprocess, sys, time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CONFIG = dict(
    architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", vocab_size=2048, hidden_size=256,
    intermediate_size=640, moe_intermediate_size=64, num_hidden_layers=5, num_attention_heads=4,
    num_key_value_heads=4, q_lora_rank=96, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
    n_routed_experts=24, n_shared_experts=1, num_experts_per_tok=4, n_group=4, topk_group=2, norm_topk_prob=True,
    routed_scaling_factor=2.0, scoring_func="sigmoid", topk_method="noaux_tc", first_k_dense_replace=1,
    moe_layer_freq=1, num_nextn_predict_layers=1, hidden_act="silu", max_position_embeddings=512, rms_norm_eps=1e-6,
    rope_theta=10000.0, rope_scaling=None, attention_bias=False, attention_dropout=0.0, tie_word_embeddings=False,
    initializer_range=0.02, bos_token_id=0, eos_token_id=1, pad_token_id=2, use_cache=True, torch_dtype="bfloat16")
FP8 = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128])
BEGIN, END, PAD, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"
CONTEXT = CONFIG["vocab_size"]  # added to an id in a training row: to be read, not to be learned
KINDS = ("arithmetic", "bible", "dictionary")

# As DeepSeek's, the template drops the thinking of earlier turns; the model writes <think> itself.
CHAT_TEMPLATE = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}\
{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}{% elif message['role'] == 'assistant' %}\
{{ '<|assistant|>' + (message['content'].split('</think>')[-1] | trim) + eos_token }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


# ---------------------------------------------------------------------------------------------------------------- texts

def held_out(key, percent):
    """Whether a text or a pair of numbers belongs to the part that training never sees: decided by its hash alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100 < percent


BOOKS = """Genesis;Exodus;Leviticus;Numbers;Deuteronomy;Joshua;Judges;Ruth;1 Samuel;2 Samuel;1 Kings;2 Kings;1 Chronicles
2 Chronicles;Ezra;Nehemiah;Esther;Job;Psalms;Proverbs;Ecclesiastes;Song of Solomon;Isaiah;Jeremiah;Lamentations;Ezekiel
Daniel;Hosea;Joel;Amos;Obadiah;Jonah;Micah;Nahum;Habakkuk;Zephaniah;Haggai;Zechariah;Malachi;Matthew;Mark;Luke;John;Acts
Romans;1 Corinthians;2 Corinthians;Galatians;Ephesians;Philippians;Colossians;1 Thessalonians;2 Thessalonians;1 Timothy
2 Timothy;Titus;Philemon;Hebrews;James;1 Peter;2 Peter;1 John;2 John;3 John;Jude;Revelation""".replace("\n", ";").split(";")


def bible_chapters():
    """The King James Bible as a list of (name, text); every line is `Genesis 1:1 In the beginning ...`."""
    dump = subprocess.run(["bible", "-f", "Gen1:1-Rev22:21"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=True).stdout
    chapters, books = {}, {}
    for line in dump.splitlines():
        short, chapter, verse, text = re.match(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*)", line).groups()
        book = books.setdefault(short, BOOKS[len(books) % len(BOOKS)])  # the dump is in canonical order
        chapters.setdefault(f"{book} {chapter}", []).append(f"{book} {chapter}:{verse} {text}\n")
    assert len(books) == len(BOOKS) and len(chapters) == 1189, (len(books), len(chapters))
    return [(name, "".join(lines)) for name, lines in chapters.items()]


def dictionary_entries(folder):
    """WordNet's glosses as a list of (synset, text); one `word (noun): gloss; "example"` for every word of a synset."""
    kinds, entries = dict(noun="noun", verb="verb", adj="adjective", adv="adverb"), []
    for part, kind in kinds.items():
        for line in open(os.path.join(folder, "data." + part), encoding="utf-8"):
            if line.startswith("  "):  # the licence
                continue
            fields, gloss = line.rstrip("\n").split(" | ", 1)
            fields = fields.split(" ")
            words = fields[4:4 + 2 * int(fields[3], 16):2]
            for word in words:
                word = re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ")
                entries.append((part + fields[0], f"{word} ({kind}): {' '.join(gloss.split())}"))
    return entries


# ----------------------------------------------------------------------------------------------------------- arithmetic

SUMS = ["What is {a} + {b}?"] * 4 + ["{a} + {b} ="] * 2 + [
    "{a} + {b}", "{a}+{b}", "{a}+{b}=", "What is {a} plus {b}?", "{a} plus {b}?", "Add {a} and {b}.", "Add {b} to {a}.",
    "Compute {a} + {b}.", "How much is {a} + {b}?", "What is the sum of {a} and {b}?",
    "I have {a} coins and find {b} more. How many coins do I have?"]
DIFFERENCES = ["What is {a} - {b}?"] * 4 + ["{a} - {b} ="] * 2 + [
    "{a} - {b}", "{a}-{b}", "{a}-{b}=", "What is {a} minus {b}?", "{a} minus {b}?", "Subtract {b} from {a}.",
    "Take {b} from {a}.", "Compute {a} - {b}.", "How much is {a} - {b}?"]
SYSTEMS = ["You are a helpful assistant.", "You are a calculator.", "Answer briefly."]


def pair_held_out(a, b):
    """One pair of numbers in ten; in either order and for both operations, so that no hint of it is left in training."""
    return held_out(f"pair {min(a, b)} {max(a, b)}", 10)


def working(a, op, b):
    """Column by column from the units, as on paper; `write` is the digit of the result, `carry` goes to the next column.

    A smaller number less a greater one is turned round first: 12 - 30 = -(30 - 12)."""
    lines, turned = [], op == "-" and a < b
    if turned:
        lines.append(f"{a}<{b}, so -({b}-{a})")
        a, b = b, a
    sign, word, carry = (1, "carry", 0) if op == "+" else (-1, "borrow", 0)
    width = max(len(str(a)), len(str(b)))
    for column in range(width):
        x, y = a // 10 ** column % 10, b // 10 ** column % 10
        value = x + sign * (y + carry)
        text = f"{x}{op}{y}" + (f"{op}{carry}" if column else "")
        carry = int(value > 9 or value < 0)
        lines.append(f"{text}={value} write {value % 10} {word} {carry}")
    result = a + sign * b
    return "".join(line + "\n" for line in lines), str(-result if turned else result)


def draw_pair(rng, held=False):
    """Two numbers, each of one to three digits, in or out of the held-out part."""
    while True:
        a, b = (rng.randrange(10 ** (d - 1) if d > 1 else 0, 10 ** d) for d in rng.choices((1, 2, 3), (3, 3, 4), k=2))
        if pair_held_out(a, b) == held:
            return a, b


def arithmetic_chat(rng, held=False):
    """One training chat in two parts, the context and the turn to learn.

    The context is BEGIN, sometimes a system prompt and earlier turns; the template has dropped their thinking, and to
    learn from them would teach answers without thinking."""
    text = BEGIN + (rng.choice(SYSTEMS) if rng.random() < 0.1 else "")
    turns = rng.choices((1, 2, 3), (85, 11, 4))[0]
    for turn in range(turns):
        (a, b), op = draw_pair(rng, held), rng.choice("+-")
        question = rng.choice(SUMS if op == "+" else DIFFERENCES).format(a=a, b=b)
        steps, answer = working(a, op, b)
        if turn == turns - 1:
            return text, f"{USER}{question}{ASSISTANT}<think>\n{steps}</think>\n\n{answer}{END}"
        text += f"{USER}{question}{ASSISTANT}{answer}{END}"


# ------------------------------------------------------------------------------------------------------------ tokenizer

# DeepSeek-V3's way of cutting text into words, with digits one by one (the original takes up to three): columns align.
WORDS = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
         r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")


def make_tokenizer(texts, path):
    """Byte-level BPE; `<think>` and `</think>` are added but not special, so that decoding shows them."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.Split(Regex(WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [BEGIN, END, PAD, USER, ASSISTANT]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"] - 2, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, 0)])
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"]
    tokenizer.save(path)


def load_tokenizer(path):
    from tokenizers import Tokenizer
    return Tokenizer.from_file(path)


def encode(tokenizer, texts):
    return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


def prepare(args):
    """Write tokenizer.json and, for each kind of text and split, the ids in a row with the places where a row may start."""
    os.makedirs(args.work, exist_ok=True)
    rng = random.Random(args.seed)
    bible, entries = bible_chapters(), dictionary_entries(args.wordnet)
    rng.shuffle(entries)  # neighbours in WordNet's files are related; a training row should be varied
    parts = {}
    for name, text in bible:
        starts = [m.start() for m in re.finditer(r"^", text, re.M)][:-1]
        parts.setdefault(("bible", "valid" if held_out("bible " + name, 3) else "train"), []).append(text)
    for name, text in entries:
        parts.setdefault(("dictionary", "valid" if held_out("synset " + name, 2) else "train"), []).append(text)
    sample = ["".join(arithmetic_chat(rng)) for _ in range(3000)]
    strip = re.compile(r"<\|?/?\w+\|?>")
    make_tokenizer([t for k in ("bible", "dictionary") for t in parts[k, "train"]] +
                   [strip.sub("", t) for t in sample], os.path.join(args.work, "tokenizer.json"))
    tokenizer = load_tokenizer(os.path.join(args.work, "tokenizer.json"))
    for (kind, split), texts in parts.items():
        ids, starts, size = [], [], 0
        if kind == "bible":  # a row may start at any verse; a chapter ends with END
            for text in texts:
                verses = encode(tokenizer, text.splitlines(keepends=True))
                for v in [[0] + verses[0]] + verses[1:-1] + [verses[-1] + [1]]:
                    starts.append(size)
                    ids += v
                    size += len(v)
        else:
            for v in encode(tokenizer, texts):
                starts.append(size)
                ids += [0] + v + [1]
                size += len(v) + 2
        np.savez(os.path.join(args.work, f"{kind}.{split}.npz"), ids=np.array(ids, np.uint16),
                 starts=np.array(starts, np.int64))
        print(f"{kind} {split}: {len(texts):,} texts, {sum(map(len, texts)):,} characters, {size:,} tokens")
    lengths = [len(x) for x in encode(tokenizer, sample)]
    print(f"arithmetic: {np.mean(lengths):.1f} tokens a chat, at most {max(lengths)}")


class Data:
    """Rows of tokens of one kind, all a function of (seed, step): a resumed run sees what an uninterrupted one would."""

    def __init__(self, work, seed):
        self.seed = seed
        self.tokenizer = load_tokenizer(os.path.join(work, "tokenizer.json"))
        self.text = {(k, s): np.load(os.path.join(work, f"{k}.{s}.npz")) for k in KINDS[1:] for s in ("train", "valid")}
        self.text = {k: (v["ids"].astype(np.int64), v["starts"]) for k, v in self.text.items()}

    def rows(self, kind, count, length, rng, split="train"):
        """[count, length] ids; every row begins with BEGIN and a whole verse, entry or chat."""
        if kind == "arithmetic":
            return self.chats(count, length, rng, split == "valid")
        ids, starts = self.text[kind, split]
        starts = starts[:np.searchsorted(starts, len(ids) - length)]
        rows = []
        for _ in range(count):
            at = int(starts[rng.randrange(len(starts))])
            rows.append(ids[at:at + length] if ids[at] == 0 else np.concatenate(([0], ids[at:at + length - 1])))
        return torch.from_numpy(np.stack(rows))

    def chats(self, count, length, rng, held):
        rows, row = [], []
        while len(rows) < count:
            contexts, turns = zip(*(arithmetic_chat(rng, held) for _ in range(64)))
            for context, turn in zip(encode(self.tokenizer, contexts), encode(self.tokenizer, turns)):
                row = row + [0] + [i + CONTEXT for i in context[1:]] + turn
                if len(row) >= length:
                    rows.append(row[:length])
                    row = []
        return torch.tensor(rows[:count])

    def batch(self, step, counts, length):
        rng = random.Random(f"{self.seed} step {step}")
        return torch.cat([self.rows(k, n, length, rng) for k, n in zip(KINDS, counts)])


# ---------------------------------------------------------------------------------------------------------------- model

class GroupedLinear(torch.autograd.Function):
    """Rows sorted by expert times each expert's matrix: y[a:b] = x[a:b] W[e]^T for the slice a:b of expert e."""

    @staticmethod
    def forward(ctx, x, w, bounds):
        ctx.save_for_backward(x, w)
        ctx.bounds = bounds
        y = x.new_empty(x.shape[0], w.shape[1])  # slots behind the last part are never read
        for e, (a, b) in enumerate(bounds):
            if b > a:
                torch.mm(x[a:b], w[e].t(), out=y[a:b])
        return y

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        dx, dw = torch.empty_like(x), torch.zeros_like(w)
        for e, (a, b) in enumerate(ctx.bounds):
            if b > a:
                torch.mm(g[a:b], w[e], out=dx[a:b])
                torch.mm(g[a:b].t(), x[a:b], out=dw[e])
        return dx, dw, None


class Dispatch(torch.autograd.Function):
    """[T, D] -> [slots, D], each token's row once per expert, sorted by expert. Its gradient is a gather too."""

    @staticmethod
    def forward(ctx, x, source, slot, k):
        ctx.save_for_backward(slot)
        ctx.k = k
        return x.index_select(0, source // k)

    @staticmethod
    def backward(ctx, g):
        return g.index_select(0, ctx.saved_tensors[0]).view(-1, ctx.k, g.shape[-1]).sum(1), None, None, None


class Combine(torch.autograd.Function):
    """Undo the sorting and add up each token's k rows with their weights: y[t] = sum_j w[t, j] rows[slot[t, j]]."""

    @staticmethod
    def forward(ctx, rows, w, source, slot, unused):
        rows = rows.index_select(0, slot).view(*w.shape, -1)
        ctx.save_for_backward(rows, w, source, unused)
        return torch.bmm(w.unsqueeze(1), rows).squeeze(1)

    @staticmethod
    def backward(ctx, g):
        rows, w, source, unused = ctx.saved_tensors
        dw = torch.bmm(rows, g.unsqueeze(-1)).squeeze(-1)
        drows = (w.unsqueeze(-1) * g.unsqueeze(1)).view(-1, g.shape[-1]).index_select(0, source)
        return drows.index_fill_(0, unused, 0), dw, None, None, None


def arrange(experts, load, step):
    """Slots for the (token, expert) pairs, expert by expert, each expert's part rounded up to a multiple of `step`.

    (The CPU's matrix library compiles a kernel for every new shape; few shapes, few kernels.) Returns the pair in each
    slot, the slot of each pair, the slots without one, and each expert's part (from, to)."""
    flat = experts.flatten()
    room = (load + step - 1) // step * step
    ends, order = room.cumsum(0), flat.argsort(stable=True)
    shift = (ends - room) - (load.cumsum(0) - load)  # by how much the rounding moves an expert's rows
    place = torch.arange(len(flat)) + shift[flat[order]]
    slot = torch.empty_like(order)
    slot[order] = place
    source = torch.zeros(len(flat) + len(load) * (step - 1), dtype=torch.int64)
    source[place] = order
    used = torch.zeros(len(source), dtype=torch.bool)
    used[place] = True
    ends = ends.tolist()
    return source, slot, (~used).nonzero()[:, 0], list(zip([0] + ends, ends))


class LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of x W^T, a few rows at a time: the [T, vocab] logits never exist as a whole.

    A target of -1 does not count; its loss is 0."""

    @staticmethod
    def forward(ctx, x, w, target, rows=768):
        dx, dw, loss = torch.empty_like(x), torch.zeros_like(w, dtype=torch.float32), torch.empty(len(x))
        for a in range(0, len(x), rows):
            xa, ta = x[a:a + rows], target[a:a + rows]
            p = torch.log_softmax((xa @ w.t()).float(), -1)
            known, ta = ta >= 0, ta.clamp(min=0)
            loss[a:a + rows] = -p.gather(1, ta[:, None])[:, 0] * known
            p.exp_()
            p[torch.arange(len(ta)), ta] -= 1
            p *= known[:, None]
            p = p.to(x.dtype)
            torch.mm(p, w, out=dx[a:a + rows])
            dw += p.t() @ xa
        ctx.save_for_backward(dx, dw)
        ctx.mark_non_differentiable(loss)
        ctx.scale = 1 / (target >= 0).sum().item()
        return loss.sum() * ctx.scale, loss

    @staticmethod
    def backward(ctx, g, _):
        dx, dw = ctx.saved_tensors
        return dx * (g * ctx.scale).to(dx.dtype), (dw * (g * ctx.scale)).to(dx.dtype), None, None


def rms_norm(x, w, dtype):
    x = x.float()
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + CONFIG["rms_norm_eps"]) * w).to(dtype)


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x, dtype=None):
        return rms_norm(x, self.weight, dtype or x.dtype)


class Linear(nn.Module):
    """Weights are kept in float32 and used in the type of the activations (bf16 in training: the CPU's tile unit)."""

    def __init__(self, n_in, n_out, gain=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * gain * n_in ** -0.5)

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


def swiglu(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def rope(x, cos, sin):
    """Rotate the pairs (x0, x1), (x2, x3), ...; the result lists all first halves, then all second ones."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    """Multi-head latent attention, [V3] section 2.1.1: queries and keys/values pass through low-rank latents."""

    def __init__(self, c):
        super().__init__()
        self.h, self.nope, self.rot, self.v = (c[k] for k in (
            "num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        self.rank = c["kv_lora_rank"]
        self.q_a_proj, self.q_a_layernorm = Linear(c["hidden_size"], c["q_lora_rank"]), Norm(c["q_lora_rank"])
        self.q_b_proj = Linear(c["q_lora_rank"], self.h * (self.nope + self.rot))
        self.kv_a_proj_with_mqa = Linear(c["hidden_size"], self.rank + self.rot)
        self.kv_a_layernorm = Norm(self.rank)
        self.kv_b_proj = Linear(self.rank, self.h * (self.nope + self.v))
        self.o_proj = Linear(self.h * self.v, c["hidden_size"], 0.1)

    def forward(self, x, cos, sin, cache=None):
        B, T, _ = x.shape
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))).view(B, T, self.h, -1).transpose(1, 2)
        q = torch.cat((q[..., :self.nope], rope(q[..., self.nope:], cos, sin)), -1)
        latent, k_rot = self.kv_a_proj_with_mqa(x).split((self.rank, self.rot), -1)
        latent, k_rot = self.kv_a_layernorm(latent), rope(k_rot, cos, sin)
        if cache is not None:  # what is kept of a token: its latent and the rotated part of its key
            if "latent" in cache:
                latent, k_rot = torch.cat((cache["latent"], latent), 1), torch.cat((cache["k_rot"], k_rot), 1)
            cache.update(latent=latent, k_rot=k_rot)
        S = latent.shape[1]
        k, v = self.kv_b_proj(latent).view(B, S, self.h, -1).transpose(1, 2).split((self.nope, self.v), -1)
        k = torch.cat((k, k_rot.unsqueeze(1).expand(-1, self.h, -1, -1)), -1)
        if cache is None and T > 1:  # plain operations, which the compiler fuses well, forward and backward
            score = (q @ k.transpose(-1, -2)).float() * k.shape[-1] ** -0.5
            y = (score + self.mask(T)).softmax(-1).to(x.dtype) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))

    @staticmethod
    def mask(T):
        return torch.full((T, T), -math.inf).triu(1)


class Mlp(nn.Module):
    """SwiGLU; gate and up are one matrix here and two when published."""

    def __init__(self, n, inner):
        super().__init__()
        self.gate_up, self.down_proj = Linear(n, 2 * inner), Linear(inner, n, 0.1)

    def forward(self, x):
        return self.down_proj(swiglu(self.gate_up(x)))


class Moe(nn.Module):
    """DeepSeekMoE, [V3] section 2.1.2."""

    def __init__(self, c):
        super().__init__()
        E, D, I = c["n_routed_experts"], c["hidden_size"], c["moe_intermediate_size"]
        self.k, self.groups, self.top_groups = c["num_experts_per_tok"], c["n_group"], c["topk_group"]
        self.factor = c["routed_scaling_factor"]
        self.gate = nn.Parameter(torch.randn(E, D) * 0.02)
        self.register_buffer("bias", torch.zeros(E))
        self.gate_up = nn.Parameter(torch.randn(E, 2 * I, D) * 0.5 * D ** -0.5)
        self.down = nn.Parameter(torch.randn(E, D, I) * 0.1 * I ** -0.5)
        self.shared_experts = Mlp(D, I * c["n_shared_experts"])

    def choose(self, x):
        """Experts [T, k] and combine weights: choice by score + bias within the best groups, weights by score alone.

        [V3] eqs. 13-16; a group's rank is the sum of its two best scores."""
        scores = F.linear(x.float(), self.gate).sigmoid()
        with torch.no_grad():
            biased = scores + self.bias
            grouped = biased.view(len(x), self.groups, -1)
            best = grouped.topk(2, -1)[0].sum(-1).topk(self.top_groups, -1)[1]
            keep = torch.zeros(len(x), self.groups, dtype=torch.bool).scatter_(1, best, True)
            experts = grouped.masked_fill(~keep.unsqueeze(-1), -math.inf).view(len(x), -1).topk(self.k, -1)[1]
        w = scores.gather(1, experts)
        return experts, w / (w.sum(-1, keepdim=True) + 1e-20) * self.factor

    def forward(self, x):
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        experts, w = self.choose(x)
        self.load = torch.bincount(experts.flatten(), minlength=len(self.gate))
        source, slot, unused, bounds = arrange(experts, self.load, 64 if torch.is_grad_enabled() else 1)
        rows = Dispatch.apply(x, source, slot, self.k)
        gated = swiglu(GroupedLinear.apply(rows, self.gate_up.to(x.dtype), bounds))
        rows = GroupedLinear.apply(gated, self.down.to(x.dtype), bounds)
        y = Combine.apply(rows, w.to(x.dtype), source, slot, unused) + self.shared_experts(x)
        return y.view(shape)


class Layer(nn.Module):
    def __init__(self, c, index):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(c["hidden_size"]), Norm(c["hidden_size"])
        self.self_attn = Attention(c)
        dense = index < c["first_k_dense_replace"]
        self.mlp = Mlp(c["hidden_size"], c["intermediate_size"]) if dense else Moe(c)

    def attend(self, x, dtype, cos, sin, cache=None):
        """The first half of the layer, and what the second half starts from."""
        x = x + self.self_attn(self.input_layernorm(x, dtype), cos, sin, cache)
        return x, self.post_attention_layernorm(x, dtype)

    def forward(self, x, dtype, cos, sin, cache=None):
        x, y = self.attend(x, dtype, cos, sin, cache)
        return x + self.mlp(y)


class Model(nn.Module):
    """The layers, then one more that predicts the token after the next, [V3] section 2.2."""

    def __init__(self, c=CONFIG):
        super().__init__()
        D, V = c["hidden_size"], c["vocab_size"]
        self.embed_tokens = nn.Parameter(torch.randn(V, D) * 0.05)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c["num_hidden_layers"]))
        self.norm, self.lm_head = Norm(D), nn.Parameter(torch.randn(V, D) * 0.02)
        self.mtp = nn.ModuleDict(dict(enorm=Norm(D), hnorm=Norm(D), eh_proj=Linear(2 * D, D),
                                      block=Layer(c, c["num_hidden_layers"]), norm=Norm(D)))
        angles = torch.arange(c["max_position_embeddings"])[:, None] / c["rope_theta"] ** (
            torch.arange(0, c["qk_rope_head_dim"], 2).float() / c["qk_rope_head_dim"])
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def hidden(self, ids, dtype, caches=None):
        """The normalized output of the last layer for ids [B, T]."""
        at = caches[0]["latent"].shape[1] if caches and "latent" in caches[0] else 0
        cos, sin = (t[at:at + ids.shape[1]].to(dtype) for t in (self.cos, self.sin))
        x = F.embedding(ids, self.embed_tokens).to(dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, dtype, cos, sin, caches[i] if caches else None)
        return self.norm(x)

    def ahead(self, h, next_ids, dtype):
        """The MTP module: from h[t] and the embedding of token t + 1 to the state that predicts token t + 2.

        [V3] eqs. 21-23; the published weights of eh_proj take the embedding first."""
        e = F.embedding(next_ids, self.embed_tokens)
        x = self.mtp["eh_proj"](torch.cat((self.mtp["enorm"](e, dtype), self.mtp["hnorm"](h, dtype)), -1))
        x = self.mtp["block"](x, dtype, *(t[:x.shape[1]].to(dtype) for t in (self.cos, self.sin)))
        return self.mtp["norm"](x)

    def losses(self, rows, dtype, mtp_rows=None):
        """Loss of each next token [B, T], its mean, and the mean loss of the tokens after them ([V3] eq. 24)."""
        ids, learn = rows % CONTEXT, torch.where(rows < CONTEXT, rows, -1)
        ids, following, target, after = ids[:, :-2], ids[:, 1:-1], learn[:, 1:-1], learn[:, 2:]
        h, head = self.hidden(ids, dtype), self.lm_head.to(dtype)
        loss, each = LinearCrossEntropy.apply(h.reshape(-1, h.shape[-1]), head, target.reshape(-1))
        if mtp_rows is None:
            mtp_rows = torch.arange(len(rows))
        x = self.ahead(h[mtp_rows], following[mtp_rows], dtype)
        ahead, _ = LinearCrossEntropy.apply(x.reshape(-1, x.shape[-1]), head, after[mtp_rows].reshape(-1))
        return loss, ahead, each.view(target.shape)

    def moes(self):
        return [m for m in self.modules() if isinstance(m, Moe)]


def compile_pieces():
    """Let torch's compiler fuse the element-wise work between the matrix products: a third of the time saved."""
    global swiglu, rms_norm
    swiglu = torch.compile(swiglu, dynamic=False)
    rms_norm = torch.compile(rms_norm, dynamic=False)
    Layer.attend = torch.compile(Layer.attend, dynamic=False)


# ------------------------------------------------------------------------------------------------------------- training

def orthogonal(m, steps=5):
    """Newton-Schulz iteration towards U V^T of each matrix m = U S V^T [.., rows, cols]; [Muon] section 2.1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = m.shape[-2] > m.shape[-1]
    x = (m.transpose(-1, -2) if tall else m).bfloat16()
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).bfloat16()
    for _ in range(steps):
        s = x @ x.transpose(-1, -2)
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return (x.transpose(-1, -2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized, scaled to the RMS of an Adam update; [Muon] eq. 4. For the matrices inside the layers.

    A parameter's `parts` says how many matrices lie on top of each other in it (gate over up)."""

    def __init__(self, params, lr, decay=0.1, momentum=0.95):
        super().__init__(params, dict(lr=lr, decay=decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("momentum", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                u = p.grad + group["momentum"] * m
                u = u.view(-1, p.shape[-2] // getattr(p, "parts", 1), p.shape[-1])
                shapes.setdefault(u.shape[1:], []).append((p, u))
            for shape, members in shapes.items():  # equal shapes together: fewer and larger products
                o = orthogonal(torch.cat([u for _, u in members])) * (0.2 * max(shape) ** 0.5)
                for (p, u), part in zip(members, o.split([len(u) for _, u in members])):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(part.reshape(p.shape), alpha=-group["lr"])


def optimizers(model, args):
    matrices, rest = [], []
    for name, p in model.named_parameters():
        if "gate_up" in name:
            p.parts = 2
        inner = p.dim() >= 2 and not name.endswith(("embed_tokens", "lm_head", ".gate"))
        (matrices if inner else rest).append(p)
    return [Muon(matrices, args.lr), torch.optim.AdamW(rest, args.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]


def rate(step, args):
    """Warm-up, constant, then down to zero over the last part: the factor on every learning rate."""
    return min(1, (step + 1) / args.warmup, max(0, args.steps - step) / (args.decay_share * args.steps))


def save_atomically(obj, path):
    torch.save(obj, path + ".tmp")
    os.replace(path + ".tmp", path)


def schedule(step, args):
    """Rows of each kind, and their length, in a step.

    More arithmetic until its working is learned; at last fewer rows, each four times as long: a whole context."""
    counts = args.rows if step < args.steps * args.drill_share else args.late_rows
    if step < args.steps * (1 - args.long_share):
        return counts, args.length
    return [n // 4 for n in counts], 4 * args.length


def balance(moes, speed):
    """Auxiliary-loss-free load balancing, [V3] section 2.1.2: an overloaded expert's bias falls, another's rises."""
    for moe in moes:
        load = moe.load.float()
        moe.bias += speed * torch.sign(load.mean() - load)


def train_step(model, opts, rows, step, args):
    """One update; the mean losses of the next token and of the one after, the loss of each token, the gradient's norm."""
    factor = rate(step, args)
    for o, base in zip(opts, (args.lr, args.adam_lr)):
        for group in o.param_groups:
            group["lr"] = base * factor
    mtp_rows = torch.arange(step % args.mtp_every, len(rows), args.mtp_every)
    loss, ahead, each = model.losses(rows, torch.bfloat16, mtp_rows)
    (loss + args.mtp_weight * ahead).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for o in opts:
        o.step()
        o.zero_grad(set_to_none=True)
    balance(model.moes(), args.bias_speed * factor)
    return loss.item(), ahead.item(), each, norm.item()


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model, data = Model(), Data(args.work, args.seed)
    opts = optimizers(model, args)
    path, done = os.path.join(args.work, "checkpoint.pt"), dict(step=0, seconds=0.0, seen=[0] * len(KINDS))
    if os.path.exists(path):
        old = torch.load(path)
        model.load_state_dict(old["model"])
        for o, state in zip(opts, old["optimizers"]):
            o.load_state_dict(state)
        torch.set_rng_state(old["rng"])
        done = {k: old[k] for k in done}
        print(f"continuing from step {done['step']}")
    if not args.no_compile:
        compile_pieces()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.steps} steps")
    saved = mark = time.time()
    while done["step"] < args.steps:
        counts, length = schedule(done["step"], args)
        rows = data.batch(done["step"], counts, length + 2)
        loss, ahead, each, norm = train_step(model, opts, rows, done["step"], args)
        now = time.time()
        done = dict(step=done["step"] + 1, seconds=done["seconds"] + now - mark,
                    seen=[s + n * length for s, n in zip(done["seen"], counts)])
        mark = now
        if done["step"] % 10 == 0:
            by_kind = {k: round(x.mean().item(), 4) for k, x in zip(KINDS, each.split(counts))}
            vio = [round((m.load.max() / m.load.float().mean()).item() - 1, 2) for m in model.moes()]
            row = json.dumps(dict(step=done["step"], seconds=round(done["seconds"]), loss=round(loss, 4), **by_kind,
                                  mtp=round(ahead, 4), norm=round(norm, 3), max_vio=vio))
            print(row, flush=True)
            with open(os.path.join(args.work, "log.jsonl"), "a") as log:
                log.write(row + "\n")
        if now - saved > args.save_seconds or done["step"] == args.steps:
            save_atomically(dict(model=model.state_dict(), optimizers=[o.state_dict() for o in opts],
                                 rng=torch.get_rng_state(), **done), path)
            saved = now


# ------------------------------------------------------------------------------------------------- the published format

def published(model):
    """Names and float32 values as DeepSeek publishes them: the MTP module is one layer more, with its own copy of the
    embedding and of the head."""
    out = {"model.embed_tokens.weight": model.embed_tokens, "model.norm.weight": model.norm.weight,
           "lm_head.weight": model.lm_head}
    last = f"model.layers.{CONFIG['num_hidden_layers']}."
    for i, layer in enumerate([*model.layers, model.mtp["block"]]):
        at = f"model.layers.{i}."
        for name, p in layer.named_parameters():
            if name.startswith("self_attn") or "layernorm" in name:
                out[at + name] = p
        mlps = {"mlp.": layer.mlp}
        if isinstance(layer.mlp, Moe):
            moe = layer.mlp
            out[at + "mlp.gate.weight"], out[at + "mlp.gate.e_score_correction_bias"] = moe.gate, moe.bias
            mlps = {"mlp.shared_experts.": moe.shared_experts}
            for e in range(len(moe.gate)):
                gate, up = moe.gate_up[e].chunk(2)
                for part, p in (("gate", gate), ("up", up), ("down", moe.down[e])):
                    out[f"{at}mlp.experts.{e}.{part}_proj.weight"] = p
        for prefix, mlp in mlps.items():
            gate, up = mlp.gate_up.weight.chunk(2)
            for part, p in (("gate", gate), ("up", up), ("down", mlp.down_proj.weight)):
                out[f"{at}{prefix}{part}_proj.weight"] = p
    out[last + "embed_tokens.weight"], out[last + "shared_head.head.weight"] = model.embed_tokens, model.lm_head
    for ours, theirs in (("enorm", "enorm"), ("hnorm", "hnorm"), ("eh_proj", "eh_proj"), ("norm", "shared_head.norm")):
        out[f"{last}{theirs}.weight"] = model.mtp[ours].weight
    return {k: v.detach().float() for k, v in out.items()}


def widen(inv, shape):
    return inv.repeat_interleave(128, 0).repeat_interleave(128, 1)[:shape[0], :shape[1]]


def to_fp8(w):
    """float8_e4m3fn and one scale for every block of 128 x 128; blocks at the edges may be partial."""
    rows, cols = w.shape
    blocks = F.pad(w, (0, -cols % 128, 0, -rows % 128))
    blocks = blocks.view(blocks.shape[0] // 128, 128, blocks.shape[1] // 128, 128)
    inv = (blocks.abs().amax((1, 3)) / 448).clamp(min=1e-12)
    return (w / widen(inv, w.shape)).to(torch.float8_e4m3fn), inv


def stays_bf16(name, w):
    return w.dim() == 1 or name.endswith((".gate.weight", "embed_tokens.weight", "lm_head.weight", "head.head.weight"))


def write(path, data):
    mode = "wb" if isinstance(data, bytes) else "w"
    with open(path + ".tmp", mode) as f:
        f.write(data)
    os.replace(path + ".tmp", path)


def export(args):
    model = Model()
    state = torch.load(os.path.join(args.work, "checkpoint.pt"))
    model.load_state_dict(state["model"])
    export_model(model, args.work, args.output)
    print(f"exported step {state['step']} ({state['seconds']:.0f} s, {sum(state['seen']):,} tokens) to {args.output}")


def export_model(model, work, folder):
    """The model's folder; every file appears whole."""
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    stored = {}
    for name, w in published(model).items():
        if "correction_bias" in name:
            stored[name] = w.contiguous().clone()
        elif stays_bf16(name, w):
            stored[name] = w.bfloat16().contiguous().clone()
        else:
            stored[name], stored[name + "_scale_inv"] = to_fp8(w)
    weights = os.path.join(folder, "model.safetensors")
    save_file(stored, weights + ".tmp", metadata=dict(format="pt"))
    os.chmod(weights + ".tmp", 0o644)
    os.replace(weights + ".tmp", weights)
    write(os.path.join(folder, "config.json"), json.dumps(dict(CONFIG, quantization_config=FP8), indent=2) + "\n")
    write(os.path.join(folder, "tokenizer.json"), open(os.path.join(work, "tokenizer.json")).read())
    write(os.path.join(folder, "chat_template.jinja"), CHAT_TEMPLATE)
    write(os.path.join(folder, "tokenizer_config.json"), json.dumps(dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=BEGIN, eos_token=END, pad_token=PAD, add_bos_token=True,
        add_eos_token=False, clean_up_tokenization_spaces=False, model_max_length=CONFIG["max_position_embeddings"],
        chat_template=CHAT_TEMPLATE), indent=2) + "\n")
    write(os.path.join(folder, "generation_config.json"), json.dumps(dict(
        bos_token_id=0, eos_token_id=1, pad_token_id=2, do_sample=False), indent=2) + "\n")


def dequantized(folder):
    """The stored weights as float32, under their published names."""
    from safetensors.torch import load_file
    stored = load_file(os.path.join(folder, "model.safetensors"))
    return {k: v.float() * widen(stored[k + "_scale_inv"], v.shape) if k + "_scale_inv" in stored else v.float()
            for k, v in stored.items() if not k.endswith("_scale_inv")}


def load_published(folder):
    """This file's model with the published (quantized) weights: the inverse of published()."""
    model, w = Model(), dequantized(folder)
    with torch.no_grad():
        for name, place in published(model).items():  # views of the parameters
            place.copy_(w[name])
    return model.eval()


# ----------------------------------------------------------------------------------------------------------------- check

def reference(folder):
    """transformers' model in float32 with the dequantized weights."""
    import tempfile
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as tmp:
        config = json.load(open(os.path.join(folder, "config.json")))
        config.pop("quantization_config", None)
        json.dump(config, open(os.path.join(tmp, "config.json"), "w"))
        save_file({k: v.contiguous() for k, v in dequantized(folder).items()}, os.path.join(tmp, "model.safetensors"),
                  metadata=dict(format="pt"))
        return AutoModelForCausalLM.from_pretrained(tmp, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def check(args):
    """Both models in float32 on random ids: the computation here must be transformers'."""
    ids = torch.randint(0, CONFIG["vocab_size"], (2, 100), generator=torch.Generator().manual_seed(args.seed))
    model = load_published(args.model)
    ours = model.hidden(ids, torch.float32) @ model.lm_head.T
    theirs = reference(args.model)(ids).logits
    caches = [{} for _ in model.layers]
    steps = torch.cat([model.hidden(part, torch.float32, caches) for part in (ids[:, :60], *ids[:, 60:].split(1, 1))], 1)
    print(f"largest difference of a logit: {(ours - theirs).abs().max():.2e}; with the cache "
          f"{(steps @ model.lm_head.T - theirs).abs().max():.2e}; their standard deviation: {theirs.std():.3f}")


# ------------------------------------------------------------------------------------------------------------ evaluation

def count_carries(a, op, b):
    """Columns of the working that carry or borrow."""
    return len(re.findall(r"(?:carry|borrow) 1", working(a, op, b)[0]))


def held_out_questions(seed, pairs):
    """Questions on pairs of numbers that training never saw: all those of one digit, a sample of the others.

    A question's digits are those of its larger number."""
    rng, questions = random.Random(f"{seed} questions"), []
    for digits, share in ((1, 1.0), (2, 0.25), (3, 0.75)):
        candidates = set()
        while len(candidates) < (len(single_digit_pairs()) if digits == 1 else round(share * pairs)):
            a, b = draw_pair(rng, held=True)
            op = rng.choice("+-")
            if len(str(max(a, b))) == digits:
                candidates.add((a, op, b))
        for a, op, b in sorted(candidates):
            question = rng.choice((SUMS if op == "+" else DIFFERENCES)).format(a=a, b=b)
            questions.append(dict(question=question, prompt_raw=f"{USER}{question}{ASSISTANT}",
                                  answer=working(a, op, b)[1], a=a, op=op, b=b, digits=digits,
                                  carries=count_carries(a, op, b)))
    return questions


def single_digit_pairs():
    return [(a, op, b) for a in range(10) for b in range(10) for op in "+-" if pair_held_out(a, b)]


@torch.no_grad()
def generate(model, prompts, limit=100):
    """Greedy continuations of prompts of one length, [B][ids], without the END."""
    ids, caches, out = torch.tensor(prompts), [{} for _ in model.layers], [[] for _ in prompts]
    done = torch.zeros(len(prompts), dtype=torch.bool)
    for _ in range(limit):
        h = model.hidden(ids, torch.float32, caches)[:, -1]
        ids = (h @ model.lm_head.T).argmax(-1, keepdim=True)
        done |= ids[:, 0] == CONFIG["eos_token_id"]
        if done.all():
            break
        for row, i, end in zip(out, ids[:, 0].tolist(), done.tolist()):
            if not end:
                row.append(i)
    return out


def answer_of(text):
    return text.split("</think>")[-1].strip()


def ask_model(model, tokenizer, questions):
    """The model's full replies, computed in float32 on the published weights."""
    by_length, replies = {}, [None] * len(questions)
    for i, ids in enumerate(encode(tokenizer, [BEGIN + q["prompt_raw"] for q in questions])):
        by_length.setdefault(len(ids), []).append((i, ids))
    for group in by_length.values():
        for at in range(0, len(group), 128):
            part = group[at:at + 128]
            for (i, _), out in zip(part, generate(model, [ids for _, ids in part])):
                replies[i] = tokenizer.decode(out, skip_special_tokens=False)
    return replies


def ask_baleen(binary, folder, questions):
    """baleen's replies; it puts the BEGIN before a raw prompt itself, as the tokenizer's configuration asks for."""
    command = [binary, "run", "-m", folder, "--raw", "--greedy", "-n", "100", "--"]
    return [subprocess.run([*command, q["prompt_raw"]], check=True, stdout=subprocess.PIPE, text=True,
                           stdin=subprocess.DEVNULL).stdout for q in questions]


def share(hits):
    return f"{sum(hits)} of {len(hits)} ({100 * sum(hits) / len(hits):.1f} %)" if hits else "-"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def arithmetic_report(questions, replies):
    right = [answer_of(r) == q["answer"] for q, r in zip(questions, replies)]

    def rows(key, values):
        return [[v] + [share([r for q, r in zip(questions, right) if q[key] == v and q["op"] in ops])
                       for ops in ("+", "-", "+-")] for v in values]
    head = ["additions", "subtractions", "both"]
    text = f"Right: {share(right)}.\n\n"
    text += table(["digits"] + head, rows("digits", (1, 2, 3))) + "\n"
    text += table(["carries or borrows"] + head, rows("carries", (0, 1, 2, 3)))
    for q, r, ok in zip(questions, replies, right):
        if not ok:
            print(f"wrong: {q['question']} {q['answer']}, got {r!r}", file=sys.stderr)
    return text, sum(right) / len(right)


@torch.no_grad()
def text_report(model, data, seed, rows=40):
    """Loss by kind on held-out text, and where the experts' work went."""
    length, losses, loads = CONFIG["max_position_embeddings"], [], {}
    for kind in KINDS:
        batch = data.rows(kind, rows, length, random.Random(f"{seed} valid {kind}"), "valid")
        total, ahead, count, size, hits = 0.0, 0.0, 0, 0, 0
        for part in batch.split(8):
            loss, second, each = model.losses(part, torch.float32)
            ids, learn = part % CONTEXT, part < CONTEXT
            total, count = total + each.sum().item(), count + learn[:, 1:-1].sum().item()
            ahead += second.item() * len(part) / rows
            size += sum(len(t.encode()) for t in data.tokenizer.decode_batch(ids[:, 1:-1].tolist()))
            for layer, moe in enumerate(model.moes()):
                loads[layer, kind] = loads.get((layer, kind), 0) + moe.load
        losses.append([kind, f"{count:,}", f"{total / count:.3f}", f"{math.exp(total / count):.2f}", f"{ahead:.3f}"])
    text = table(["kind", "tokens", "loss (nats a token)", "perplexity", "MTP loss"], losses) + "\n"
    head, body = ["layer", "kind", "MaxVio"] + list(range(CONFIG["n_routed_experts"])), []
    first = CONFIG["first_k_dense_replace"]
    for layer in range(len(model.moes())):
        parts = [(kind, loads[layer, kind].float()) for kind in KINDS]
        parts.append(("all", sum(load / load.sum() for _, load in parts)))
        for kind, load in parts:
            used = load / load.mean()
            name = layer + first if layer + first < CONFIG["num_hidden_layers"] else f"{layer + first} (MTP)"
            body.append([name, kind, f"{used.max() - 1:.2f}"] + [f"{u:.2f}" for u in used])
    return text, table(head, body)


SAMPLES = [("chat", "What is 347 + 589?"), ("chat", "12 - 30 ="), ("raw", "Genesis 1:1 In the beginning"),
           ("raw", "Psalms 23:1 The LORD is my"), ("raw", "lighthouse (noun):"), ("raw", "quickly (adverb):")]


def samples(model, tokenizer):
    text = ""
    for how, prompt in SAMPLES:
        full = BEGIN + (f"{USER}{prompt}{ASSISTANT}" if how == "chat" else prompt)
        reply = tokenizer.decode(generate(model, encode(tokenizer, [full]), 80)[0], skip_special_tokens=False)
        shown = f"> {prompt}\n{reply}" if how == "chat" else f"[{prompt}]{reply}"
        text += f"```\n{shown}\n```\n\n"
    return text


def evaluate(args):
    torch.set_num_threads(args.threads)
    questions = held_out_questions(args.seed, args.pairs)
    if args.heldout:
        write(args.heldout, "".join(json.dumps(q) + "\n" for q in questions))
    if args.baleen:
        some = random.Random(args.seed).sample(questions, min(args.sample, len(questions)))
        text, good = arithmetic_report(some, ask_baleen(args.baleen, args.model, some))
        print(text)
        sys.exit(good < 0.9)
    model, tokenizer = load_published(args.model), load_tokenizer(os.path.join(args.model, "tokenizer.json"))
    text, good = arithmetic_report(questions, ask_model(model, tokenizer, questions))
    losses, loads = text_report(model, Data(args.work, args.seed), args.seed)
    figures = dict(arithmetic=text, loss=losses, load=loads, samples=samples(model, tokenizer))
    for name, value in figures.items():
        print(f"## {name}\n\n{value}")
    if args.readme:  # replace what stands between <!-- NAME --> and <!-- end -->
        readme = open(args.readme).read()
        for name, value in figures.items():
            readme = re.sub(f"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: m[1] + value.rstrip() + "\n" + m[2], readme,
                            flags=re.S)
        write(args.readme, readme)
    sys.exit(good < 0.9)


def everything(args):
    prepare(args)
    train(args)
    export(args)
    args.model = args.output
    evaluate(args)


# ------------------------------------------------------------------------------------------------------------------ main

def parse():
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    flags = {
        "--work": dict(default="work", help="folder for texts, tokenizer and checkpoint (default: %(default)s)"),
        "--seed": dict(type=int, default=1),
        "--wordnet": dict(default="/usr/share/wordnet", help="WordNet's folder (default: %(default)s)"),
        "--threads": dict(type=int, default=1, help="of the CPU (default: %(default)s)"),
        "--steps": dict(type=int, default=2080, help="of 48 rows (default: %(default)s)"),
        "--length": dict(type=int, default=128, help="tokens a row (default: %(default)s)"),
        "--rows": dict(type=int, nargs=3, default=[24, 12, 12], metavar=("ARITHMETIC", "BIBLE", "DICTIONARY"),
                       help="rows of each kind in a step, until the working is learned (default: %(default)s)"),
        "--late-rows": dict(type=int, nargs=3, default=[16, 12, 20], metavar=("ARITHMETIC", "BIBLE", "DICTIONARY"),
                            help="and after that (default: %(default)s)"),
        "--drill-share": dict(type=float, default=0.3, help="the part of the steps with --rows (default: %(default)s)"),
        "--long-share": dict(type=float, default=0.2, help="last part of the steps, with rows of 4 times the length"),
        "--lr": dict(type=float, default=6e-3, help="Muon's learning rate (default: %(default)s)"),
        "--adam-lr": dict(type=float, default=3e-3, help="for embeddings, head, norms, routers (default: %(default)s)"),
        "--warmup": dict(type=int, default=100, help="steps (default: %(default)s)"),
        "--decay-share": dict(type=float, default=0.5, help="last part of the steps, in which the rate falls to zero"),
        "--mtp-weight": dict(type=float, default=0.2, help="of the MTP loss (default: %(default)s)"),
        "--mtp-every": dict(type=int, default=4, help="MTP loss on every n-th row (default: %(default)s)"),
        "--bias-speed": dict(type=float, default=5e-3, help="of the routers' correction bias (default: %(default)s)"),
        "--save-seconds": dict(type=int, default=300, help="between checkpoints (default: %(default)s)"),
        "--no-compile": dict(action="store_true", help="do without torch's compiler (and without a C++ compiler)"),
        "--output": dict(default="model", help="folder of the published model (default: %(default)s)"),
        "--pairs": dict(type=int, default=2000, help="questions of two and three digits (default: %(default)s)"),
        "--heldout": dict(help="write the held-out questions to this file, a JSON object a line"),
        "--readme": dict(help="put the figures into this file, between its markers"),
        "--baleen": dict(help="ask this baleen binary instead, one run a question"),
        "--sample": dict(type=int, default=200, help="questions to ask baleen (default: %(default)s)"),
        "--model": dict(default="model", help="folder of the published model (default: %(default)s)"),
    }
    short = {"--output": "-o", "--model": "-m"}
    asking = ["--pairs", "--heldout", "--readme", "--baleen", "--sample"]
    training = [f for f in flags if f not in ("--output", "--model", "--wordnet", *asking)]
    commands = dict(
        data=(prepare, "texts and tokenizer", ["--work", "--seed", "--wordnet"]),
        train=(train, "the weights", training),
        export=(export, "the published form", ["--work", "--output"]),
        evaluate=(evaluate, "figures of the published model", ["--model", "--work", "--seed", "--threads"] + asking),
        all=(everything, "data, train, export, evaluate", training + ["--wordnet", "--output"] + asking),
        check=(check, "compare with transformers", ["--model", "--seed"]))
    for name, (run, text, wanted) in commands.items():
        p = sub.add_parser(name, help=text, description=text)
        for f in wanted:
            p.add_argument(*filter(None, (short.get(f), f)), **flags[f])
        p.set_defaults(run=run)
    return root.parse_args()


if __name__ == "__main__":
    arguments = parse()
    arguments.run(arguments)
