#!/usr/bin/env python3
"""Makes configured-tokens.jsonl beside this script.

Rows of the files beside a small tokenizer.json that name tokens, and what AutoTokenizer of transformers (5.23) makes of
them: {files: {NAME: content}, named, special: [[id, special], ...] of all added tokens, texts: [{text, ids, skipped}]}.
Needs: transformers."""
import json
import os
import random
import tempfile

from transformers import AutoTokenizer, logging

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
STANDARD = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
CONTENTS = ["<a>", "<b>", "<c>", "<im>", "<d>", "ab", "<E>", "xx", " "]
FLAGS = ["lstrip", "rstrip", "normalized", "single_word"]


def token(content, **flags):
    return dict({flag: False for flag in FLAGS}, content=content, special=True, **flags)


def marked(content, **flags):
    return dict(__type="AddedToken", content=content, **flags)


def tokenizer(added=(), normalizer=None, whole=("<im>",)):
    vocab = {c: i for i, c in enumerate(list("abcdEx <>|im/") + list(whole))}
    tokens, following = [], len(vocab)
    for content, flags in added:
        flags = {flag: flags.get(flag, False) for flag in FLAGS + ["special"]}
        tokens.append(dict(flags, id=vocab.get(content, following), content=content))
        following += content not in vocab
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                 fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocab, merges=[])
    return dict(version="1.0", truncation=None, padding=None, added_tokens=tokens, normalizer=normalizer, pre_tokenizer=None,
                post_processor=None, decoder=dict(type="Fuse"), model=model)


def chosen():
    """By hand: each way to name a token, and which of two wins."""
    plain = tokenizer([("<a>", dict(normalized=True))])
    decoder = {"500": token("<x>"), "7": token("<y>", rstrip=True)}
    yield plain, {CONFIG: dict(eos_token="<im>")}
    yield plain, {CONFIG: dict(zz_token="<z>", eos_token="<e>", aa_token="<y>", bos_token="<b>")}
    yield plain, {CONFIG: dict(eos_token="<a>")}
    yield plain, {CONFIG: dict(eos_token=None, bos_token=marked("<b>", lstrip=True), zz_token=marked("<z>"))}
    yield plain, {CONFIG: dict(image_token={"content": "<e>"})}
    yield plain, {CONFIG: dict(added_tokens_decoder=decoder, eos_token="<y>", pad_token="<q>")}
    yield plain, {CONFIG: dict(added_tokens_decoder={"14": token("<a>", rstrip=True)}, eos_token="<q>")}
    yield plain, {CONFIG: dict(added_tokens_decoder={"14": {"content": "<x>"}, "16": {"content": "<e>"}}, eos_token="<e>")}
    yield plain, {CONFIG: dict(added_tokens_decoder={}), MAP: dict(eos_token="<e>"), ADDED: {"<z>": 15}}
    yield plain, {CONFIG: dict(additional_special_tokens=["<x>", "<im>", "<a>"])}
    yield plain, {CONFIG: dict(additional_special_tokens=["<x>"], extra_special_tokens=["<y>"])}
    yield plain, {CONFIG: dict(additional_special_tokens=["<x>"], extra_special_tokens={"k": "<y>"})}
    yield plain, {CONFIG: dict(additional_special_tokens=[marked("<x>", special=False)])}
    yield plain, {CONFIG: dict(extra_special_tokens={"zk": "<x>", "ak_token": "<y>", "o": marked("<w>")}, m_token="<m>")}
    yield plain, {CONFIG: dict(eos_token="<e>", extra_special_tokens=[marked("<e>", lstrip=True), "<e>", "<e>"])}
    yield plain, {CONFIG: dict(model_specific_special_tokens={"q": "<q>"})}
    yield plain, {CONFIG: dict(eos_token="<e>", bos_token="<b>"), MAP: dict(eos_token="<f>", bos_token=None, pad_token={"content": "<p>"})}
    yield plain, {CONFIG: dict(extra_special_tokens=["<y>"]), MAP: dict(extra_special_tokens=["<x>", "<y>", {"content": "<w>"}])}
    yield plain, {CONFIG: dict(i_token="<i>"), MAP: dict(extra_special_tokens=dict(i_token="<j>", b="<k>"))}
    yield plain, {CONFIG: dict(i_token="<i>", b_token="<b>"), MAP: dict(z_token="<z>", i_token="<j>", c_token="<c>")}
    yield plain, {MAP: dict(eos_token="<im>")}
    yield plain, {CONFIG: dict(eos_token="<e>"), ADDED: {"<z>": 17, "<e>": 16, "<y>": 14, "<im>": 3}}
    yield tokenizer([("<s>", dict(special=True))]), {CONFIG: dict(added_tokens_decoder={"13": dict(token("<s>"), special=False)})}
    yield tokenizer(normalizer=dict(type="Lowercase")), {CONFIG: dict(eos_token="<E>", bos_token=marked("<IM>", normalized=True))}


def drawn(r):
    """At random: one folder."""
    maybe = lambda chance: r.random() < chance
    flags = lambda names: {name: maybe(0.3) for name in names if maybe(0.8)}
    content = lambda: r.choice(CONTENTS)
    value = lambda: content() if maybe(0.6) else marked(content(), **flags(FLAGS + ["special"]))
    names = STANDARD[:5] + ["zz_token", "image_token", "aa_token"]
    several = lambda: [value() for _ in range(r.randint(0, 3))] if maybe(0.7) else {r.choice(names + ["k"]): value() for _ in range(2)}
    config = [(name, None if maybe(0.1) else value()) for name in r.sample(names, r.randint(0, 5))]
    for name in ("extra_special_tokens", "additional_special_tokens"):
        if maybe(0.35):
            config.append((name, several()))
    if maybe(0.4):
        config.append(("added_tokens_decoder", {str(r.randint(0, 40)): dict(flags(FLAGS), content=content()) for _ in range(3)}))
    files = {CONFIG: dict(r.sample(config, len(config)))}
    if maybe(0.5):
        old = [(n, None if maybe(0.1) else content() if maybe(0.6) else dict(flags(FLAGS), content=content())) for n in r.sample(names, 3)]
        files[MAP] = dict(old)
    if maybe(0.3):
        files[ADDED] = {content(): r.randint(0, 40) for _ in range(3)}
    added = [(c, flags(FLAGS + ["special"])) for c in r.sample(CONTENTS, r.randint(0, 3))]
    return tokenizer(added, dict(type="Lowercase") if maybe(0.2) else None, ["<im>", "ab"][:r.randint(0, 2)]), files


def row(small, files, r):
    files = dict({"tokenizer.json": small}, **files)
    if CONFIG in files:
        files[CONFIG] = dict(tokenizer_class="PreTrainedTokenizerFast", **files[CONFIG])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                json.dump(content, f)
        t = AutoTokenizer.from_pretrained(folder)
    added = t.added_tokens_decoder
    pieces = [str(token) for token in added.values()] + CONTENTS + ["  ", "a"]
    texts = []
    for text in ["".join(r.choice(pieces) for _ in range(r.randint(2, 9))) for _ in range(4)]:
        ids = t.encode(text, add_special_tokens=False)
        texts.append(dict(text=text, ids=ids, skipped=t.decode(ids, skip_special_tokens=True)))
    special = [[i, token.special] for i, token in sorted(added.items())]
    return dict(files=files, named=t.special_tokens_map, special=special, texts=texts)


def main():
    logging.set_verbosity_error()
    r = random.Random(1)
    with open(os.path.join(HERE, "configured-tokens.jsonl"), "w", encoding="utf-8") as f:
        for small, files in list(chosen()) + [drawn(r) for _ in range(80)]:
            try:
                line = row(small, files, r)
            except BaseException as e:  # pyo3's panic is no Exception
                if type(e).__name__ != "PanicException":
                    raise
                continue
            f.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
