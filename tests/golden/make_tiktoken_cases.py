#!/usr/bin/env python3
"""Makes tokenizers-small/tiktoken/ and tokenizers-small/tiktoken.jsonl beside this script.

A small tiktoken.model, and what tiktoken (0.14) computes with it when it is driven as tokenization_kimi.py drives it:
the same pattern, the same special tokens, the same cuts in long texts. Rows are those of make_tokenizer_cases.py. The
ranks come from a byte-pair training on tokenizers/texts.json, with some swapped, so that a token may come before its
parts, and with words that no merges lead to.

With arguments FOLDER TEXTS OUT it makes rows for another folder with tiktoken.model and tokenizer_config.json, from
TEXTS.json, a list of strings.
Needs: tiktoken, and to train, tokenizers."""
import base64
import json
import os
import random
import re
import sys

import tiktoken

HERE = os.path.dirname(os.path.abspath(__file__))

PATTERN = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
SPECIAL_TOKENS, PIECE, RUN = 256, 400_000, 25_000

TEXTS = [
    "I'm you'RE he'S they'LL we'd it\u2019s IT'\u017f x'sy 's ' s", "HTMLParser camelCaseWord ABCdef \u01c5abc \u02b0\u02b1x",
    "\u4f60\u597d world \u4f60 \u597d\u3002\u6f22\u5b57\u304b\u306a\u30ab\u30bf\u30ab\u30ca\u30fc\u6f22", "1\u3007\u3007\u3007 \u3007\u30071 \u3005x\u3005",
    " \u2e80x \u4e2d\u2e80 !\u2e80", "\U00020000\U0002a6d7\U00030000a \ufa0e\uf900", "\ud55c\uad6d\uc5b4ABC\ud55c\uad6d \u1112\u1161\u11ab",
    "e\u0301e\u0301 \u0301A! !!\u0301 a\u0300\u0301\u0302b", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u1019\u103c\u1014\u103a\u1019\u102c",
    "12 345 6789 01234567 \u0661\u0662\u0663\u0664 \u00bd\u00b2\u2167\u2460", "a\r\nb\r\n\r\nc\rd\n\n e \n f", "!\n/x ...\r\n\r\n---\n",
    "\t\t  x   \n   y  \u3000\u3000z \u00a0\u00a0w \u2028\u2029", "\x1c\x1c a\x1d\x1e\x1f b \x85c", "  \n", "x  ", "   x", "\n", "\r", " \r\n ",
    "qzx qzx! aqzx wysiwyg", "[BOS]hi[EOS]", "<|im_user|>user<|im_middle|>Hello<|im_end|>  <|im_assistant|>", "[BOS",
    "a [PAD]b[UNK] [PAD]", "<think>x</think>", "<|tool_call_begin|>f<|tool_call_end|>", "<|reserved_token_1|>",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3fd\u200d\U0001f466\ufe0f", "\ufffd\ufffe\U0010ffff", "\u0000\u0007\u001b[1m",
    "\ufb01\u1e9e\u0130\u0131\u212a\u212b", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u060c \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    *("".join(random.Random(seed).choice("theinroas ") for _ in range(20 * seed)).replace(" ", "th" * seed) for seed in range(1, 9)),
    "x" * 24_997 + "don't xx", "a" + "\n" * 25_001 + "b", " " * 25_001 + "x", "x" * 20_000 + "[BOS]" + "x" * 10_000,
]


def spelled(ranks):
    return "".join("%s %d\n" % (base64.b64encode(t).decode(), r) for t, r in sorted(ranks.items(), key=lambda item: item[1]))


def train(texts, size, seed):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False,
                                                     initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    byte_of = byte_characters()
    tokens = [bytes(byte_of[c] for c in token) for token, _ in sorted(t.get_vocab().items(), key=lambda item: item[1])]
    tokens += [b"qzx", b" wysiwyg"]
    swap = random.Random(seed)
    for _ in range(len(tokens) // 10):
        i, j = swap.randrange(len(tokens)), swap.randrange(len(tokens))
        tokens[i], tokens[j] = tokens[j], tokens[i]
    return {token: rank for rank, token in enumerate(tokens)}


def byte_characters():
    """GPT-2's character for each byte, the other way round."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


def configuration(ranks):
    named = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>", 10: "[EOT]", 17: "<|im_middle|>",
             11: "<|tool_call_begin|>", 13: "<|tool_call_end|>", 22: "<think>", 23: "</think>", 254: "[UNK]", 255: "[PAD]"}
    flags = dict(lstrip=False, normalized=False, rstrip=False, single_word=False)
    return dict(added_tokens_decoder={str(ranks + i): dict(flags, content=name, special=i not in (11, 13, 22, 23))
                                      for i, name in sorted(named.items())},
                auto_map=dict(AutoTokenizer=["tokenization_kimi.TikTokenTokenizer", None]), tokenizer_class="TikTokenTokenizer",
                bos_token="[BOS]", eos_token="[EOS]", unk_token="[UNK]", pad_token="[PAD]", model_max_length=1000000000000000019884624838656)


def cut(text):
    """The pieces that tokenization_kimi.py hands to tiktoken."""
    for begin in range(0, len(text), PIECE):
        piece, start, run = text[begin:begin + PIECE], 0, 0
        for i, c in enumerate(piece):
            run = run + 1 if run and c.isspace() == piece[i - 1].isspace() else 1
            if run > RUN:
                yield piece[start:i]
                start, run = i, 1
        yield piece[start:]


class Reference:
    def __init__(self, folder):
        os.environ["TIKTOKEN_CACHE_DIR"] = ""
        from tiktoken.load import load_tiktoken_bpe
        ranks = load_tiktoken_bpe(os.path.join(folder, "tiktoken.model"))
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
            config = json.load(f)
        named = {int(i): token for i, token in config["added_tokens_decoder"].items()}
        ids = range(len(ranks), len(ranks) + SPECIAL_TOKENS)
        special = {named[i]["content"] if i in named else "<|reserved_token_%d|>" % i: i for i in ids}
        self.named = {token["content"]: i for i, token in named.items()}
        self.skipped = {i for i, token in named.items() if token["special"]}
        self.encoding = tiktoken.Encoding("tiktoken.model", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)

    def encode(self, text):
        """As transformers does it: named tokens first, then the Python file's cuts, then tiktoken."""
        names = "|".join(re.escape(name) for name in sorted(self.named, key=len, reverse=True))
        ids = []
        for part in re.split("(%s)" % names, text):
            if part in self.named:
                ids.append(self.named[part])
            else:
                for piece in cut(part):
                    ids += self.encoding.encode(piece, allowed_special="all")
        return ids

    def decoded(self, ids):
        return dict(decoded=self.encoding.decode(ids), skipped=self.encoding.decode([i for i in ids if i not in self.skipped]))

    def rows(self, texts, random_ids, count):
        for text in texts:
            ids = self.encode(text)
            yield dict(text=text, ids=ids, **(dict(special_ids=ids, **self.decoded(ids)) if len(text) < 1000 else {}))
        for _ in range(count):
            ids = [random_ids.randrange(self.encoding.n_vocab) for _ in range(random_ids.randint(1, 12))]
            yield dict(decode_ids=ids, **self.decoded(ids))


def write_rows(folder, texts, out):
    with open(out, "w", encoding="utf-8") as f:
        for row in Reference(folder).rows(texts, random.Random(1), 50):
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    if len(sys.argv) == 4:
        with open(sys.argv[2], encoding="utf-8") as f:
            return write_rows(sys.argv[1], json.load(f), sys.argv[3])
    folder = os.path.join(HERE, "tokenizers-small", "tiktoken")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(HERE, "tokenizers", "texts.json"), encoding="utf-8") as f:
        texts = json.load(f)
    ranks = train(texts + [t for t in TEXTS if len(t) < 1000 and "qzx" not in t], 1500, 1)
    with open(os.path.join(folder, "tiktoken.model"), "w", encoding="ascii") as f:
        f.write(spelled(ranks))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(configuration(len(ranks)), f, ensure_ascii=False, indent=1)
    reserved = ["<|reserved_token_%d|>" % (len(ranks) + i) for i in (5, 255, 256, -1)]  # the second has a name of its own
    write_rows(folder, texts + TEXTS + ["x ".join(reserved)], folder + ".jsonl")


if __name__ == "__main__":
    main()
