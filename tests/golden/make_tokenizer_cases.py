#!/usr/bin/env python3
"""Makes tokenizers-small/NAME/tokenizer.json and tokenizers-small/NAME.jsonl beside this script.

One small byte-pair tokenizer for each component of a tokenizer.json, and what the Hugging Face tokenizers library
(0.23) computes with it: rows of {text, ids, special_ids, decoded, skipped} and of {decode_ids, decoded, skipped}.
Needs: tokenizers."""
import json
import os
import random

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))

TEXTS = [
    "", " ", "  ", "a", "Hello world", "  Hello   world  ", "hello\nworld\t!", "The lower lowest newer newest",
    "don't we'LL", "12 345 6789 x1y22", "a-b--c - d", "caf\u00e9 cafe\u0301 \u212b \ufb01", "\u4f60\u597d\u4e16\u754c",
    "\U0001f642\U0001f469\u200d\U0001f469", "<s>Hello</s>", "<s> Hello </s> world", "[MASK] x[MASK]y  [MASK]  ",
    "word words sword wordy word", "Word WORD", "\u2581low\u2581er", "\u00a0nbsp\u3000wide", "abc?!,;(x)",
    "\u0130STANBUL \u03a3\u03c3\u03c2", "zzz qqq", "low<0x41>er", "a\u180eb", "\u00b2\u00bd\u0664 \u2460 \u2167",
]

ALPHABET = list("abcdefghijklmnopqrstuvwxyzHTWL .,-!'0123456789")
MERGES = [("l", "o"), ("lo", "w"), ("e", "r"), ("low", "er"), ("h", "e"), ("t", "h"), ("th", "e"), ("n", "e"),
          ("ne", "w"), ("w", "o"), ("wo", "r"), ("wor", "d"), ("e", "s"), ("es", "t"), ("l", "l"), ("a", "b"), ("1", "2"),
          ("3", "4"), ("5", "6")]


def byte_alphabet():
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def bpe(extra=(), merges=MERGES, alphabet=ALPHABET, whole=(), **options):
    made = [a + b[len(options.get("continuing_subword_prefix") or ""):] for a, b in merges]
    tokens = list(dict.fromkeys(list(extra) + list(alphabet) + made + list(whole)))
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                 fuse_unk=False, byte_fallback=False, ignore_merges=False)
    model.update(options)
    model["vocab"] = {t: i for i, t in enumerate(tokens)}
    model["merges"] = [list(m) for m in merges]
    return model


def added(content, **flags):
    token = dict(id=0, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    token.update(flags)
    return token


def tokenizer(model, added_tokens=(), normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None):
    vocab, tokens, following = model["vocab"], [], len(model["vocab"])
    for token in added_tokens:
        token = dict(token, id=vocab.get(token["content"], following))
        following += token["content"] not in vocab
        tokens.append(token)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=tokens, normalizer=normalizer,
                pre_tokenizer=pre_tokenizer, post_processor=post_processor, decoder=decoder, model=model)


def sequence(member, *steps):
    return {"type": "Sequence", member: list(steps)}


def byte_level(prefix=False, regex=True):
    return dict(type="ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=regex)


def split(behavior, invert=False, **pattern):
    return dict(type="Split", pattern=pattern, behavior=behavior, invert=invert)


def metaspace(scheme, cut=True):
    return dict(type="Metaspace", replacement="\u2581", prepend_scheme=scheme, split=cut)


def template(before, after):
    pieces = [{"SpecialToken": {"id": t, "type_id": 0}} for t in before]
    pieces += [{"Sequence": {"id": "A", "type_id": 0}}]
    pieces += [{"SpecialToken": {"id": t, "type_id": 0}} for t in after]
    names = {t: {"id": t, "ids": [i], "tokens": [t]} for i, t in enumerate(["<unk>", "<s>", "</s>"]) if t in before + after}
    return dict(type="TemplateProcessing", single=pieces, pair=pieces + [{"Sequence": {"id": "B", "type_id": 1}}],
                special_tokens=names)


SPECIAL = ["<unk>", "<s>", "</s>"]
SPECIAL_ADDED = [added(t, special=True) for t in SPECIAL]
BYTES = ["<0x%02X>" % b for b in range(256)]
MARK = ["\u2581"]
LLAMA_DECODER = sequence("decoders", dict(type="Replace", pattern=dict(String="\u2581"), content=" "),
                         dict(type="ByteFallback"), dict(type="Fuse"), dict(type="Strip", content=" ", start=1, stop=0))


def cases():
    flat = bpe(extra=SPECIAL, unk_token="<unk>")
    fused = bpe(extra=SPECIAL, unk_token="<unk>", fuse_unk=True)
    marked = bpe(extra=SPECIAL + BYTES + MARK, unk_token="<unk>", byte_fallback=True, fuse_unk=True,
                 merges=MERGES + [("\u2581", "low"), ("\u2581", "the"), ("\u2581", "\u2581")])
    level = bpe(extra=SPECIAL, alphabet=byte_alphabet(), merges=MERGES + [("\u0120", "low"), ("\u0120", "wor"), ("\u00c3", "\u00a9")])
    yield "unk", tokenizer(flat, SPECIAL_ADDED)
    yield "unk-fused", tokenizer(fused, SPECIAL_ADDED)
    yield "unknown-dropped", tokenizer(bpe())
    yield "ignore-merges", tokenizer(bpe(whole=["lowest", "newest"], ignore_merges=True), pre_tokenizer=dict(type="WhitespaceSplit"))
    yield "merges-as-strings", tokenizer(dict(bpe(), merges=["#version: 0.2"] + [" ".join(m) for m in MERGES]))
    affixes = ["##" + c for c in "abcdefghijklmnopqrstuvwxyz"] + [c + "</w>" for c in "abcdefghijklmnopqrstuvwxyz"]
    yield "suffix", tokenizer(bpe(extra=SPECIAL + affixes, unk_token="<unk>", end_of_word_suffix="</w>",
                                  merges=MERGES + [("t", "h</w>"), ("e", "r</w>"), ("low", "er</w>")]),
                              pre_tokenizer=dict(type="Whitespace"), decoder=dict(type="BPEDecoder", suffix="</w>"))
    yield "prefix", tokenizer(bpe(extra=SPECIAL + affixes, unk_token="<unk>", continuing_subword_prefix="##",
                                  merges=[("l", "##o"), ("lo", "##w"), ("n", "##e"), ("##e", "##r"), ("low", "##e")]),
                              pre_tokenizer=dict(type="Whitespace"))
    yield "llama", tokenizer(marked, SPECIAL_ADDED, sequence("normalizers", dict(type="Prepend", prepend="\u2581"),
                             dict(type="Replace", pattern=dict(String=" "), content="\u2581")),
                             post_processor=template(["<s>"], []), decoder=LLAMA_DECODER)
    for scheme in ("first", "always", "never"):
        for cut in (True, False):
            yield "metaspace-%s-%s" % (scheme, "split" if cut else "whole"), tokenizer(
                marked, SPECIAL_ADDED, pre_tokenizer=metaspace(scheme, cut), decoder=metaspace(scheme, cut),
                post_processor=template(["<s>"], ["</s>"]))
    for prefix in (True, False):
        for regex in (True, False):
            yield "byte-level-%d%d" % (prefix, regex), tokenizer(
                level, SPECIAL_ADDED, pre_tokenizer=byte_level(prefix, regex), decoder=byte_level(),
                post_processor=sequence("processors", byte_level(), template(["<s>"], ["</s>"])))
    yield "byte-level-normalizer", tokenizer(level, SPECIAL_ADDED + [added("caf\u00e9", normalized=True, special=True)],
                                             dict(type="ByteLevel"), split("Isolated", Regex="\\w+"), decoder=byte_level())
    yield "roberta", tokenizer(level, SPECIAL_ADDED, pre_tokenizer=byte_level(True), decoder=byte_level(),
                               post_processor=dict(type="RobertaProcessing", sep=["</s>", 2], cls=["<s>", 1], trim_offsets=True, add_prefix_space=True))
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        yield "normalizer-" + form.lower(), tokenizer(level, SPECIAL_ADDED + [added("Word", normalized=True)], dict(type=form),
                                                      byte_level(), decoder=byte_level())
    for left, right in ((True, True), (True, False), (False, True)):
        yield "normalizer-strip-%d%d" % (left, right), tokenizer(
            level, SPECIAL_ADDED, dict(type="Strip", strip_left=left, strip_right=right), byte_level(), decoder=byte_level())
    yield "normalizer-regex", tokenizer(level, SPECIAL_ADDED, sequence("normalizers", dict(type="Replace", pattern=dict(Regex="\\s+"), content="_"),
                                        sequence("normalizers", dict(type="Replace", pattern=dict(Regex="(?i:L)"), content="<&>"))),
                                        byte_level(), decoder=byte_level())
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            name = "split-%s%s" % (behavior.lower(), "-inverted" if invert else "")
            yield name, tokenizer(level, SPECIAL_ADDED, pre_tokenizer=sequence("pretokenizers", split(behavior, invert, String="-"),
                                  split(behavior, invert, Regex="[eo]+|\\d{1,2}"), byte_level(False, False)), decoder=byte_level())
    patterns = {"intersection": "[\\p{L}&&[^a-m]]+|[\\p{L}]+|\\s+(?!\\S)|\\s", "possessive": "\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++|\\p{L}+",
                "anchors": "^\\w+|\\w+$|\\b", "not-in-class": "[^\\P{L}x]+|[\\S&&\\D]", "scripts": "\\p{Han}+|\\p{^L}+|\\p{Latin}",
                "posix": "[[:alpha:]]+|[[:^space:][:digit:]]", "empty": "x*",
                "intersection-nested": "[[a-z&&[^aeiou]]L\\d]+|[\\p{Lu}\\p{M}&&[^\\p{Han}]&&[^H]]+|[\\S&&[^\\p{L}\\p{N}]&&[^-[!-/&&[^,]]]]",
                "intersection-negated": "[^a-z&&d-w]+?[^\\s&&[^e-t]]|[^[^a-z]&&[^0-9]]{2,3}",
                "intersection-kimi": "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
                                     "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\s+(?!\\S)|\\s+"}
    for name, pattern in patterns.items():
        yield "pattern-" + name, tokenizer(level, SPECIAL_ADDED, pre_tokenizer=sequence("pretokenizers", split("Isolated", Regex=pattern),
                                           byte_level(False, False)), decoder=byte_level())
    for individual in (True, False):
        yield "digits-%d" % individual, tokenizer(level, pre_tokenizer=sequence("pretokenizers", dict(type="Digits", individual_digits=individual),
                                                  byte_level(False, False)), decoder=byte_level())
    for kind in (dict(type="Whitespace"), dict(type="WhitespaceSplit"), dict(type="Punctuation", behavior="Isolated"),
                 dict(type="Punctuation", behavior="Contiguous"), dict(type="CharDelimiterSplit", delimiter="-")):
        yield "pre-%s%s" % (kind["type"].lower(), "-contiguous" if kind.get("behavior") == "Contiguous" else ""), tokenizer(
            level, pre_tokenizer=sequence("pretokenizers", kind, byte_level(False, False)), decoder=byte_level())
    flags = [added("[MASK]", lstrip=True, special=True), added("word", single_word=True), added("low", rstrip=True),
             added("\u4e16", lstrip=True, rstrip=True), added("  ", rstrip=True), added("new", normalized=True), added("newer")]
    yield "added-flags", tokenizer(level, SPECIAL_ADDED + flags, pre_tokenizer=byte_level(), decoder=byte_level())
    yield "added-lowercase", tokenizer(level, [added("HELLO", normalized=True, special=True), added("World", normalized=False)],
                                       dict(type="Lowercase"), byte_level(), decoder=byte_level())
    yield "decoder-strip", tokenizer(marked, SPECIAL_ADDED, pre_tokenizer=metaspace("never", False), decoder=sequence(
        "decoders", dict(type="Replace", pattern=dict(Regex="[\u2581_]"), content="  "), dict(type="ByteFallback"), dict(type="Fuse"),
        dict(type="Replace", pattern=dict(String="ll"), content="LL"), dict(type="Strip", content="l", start=2, stop=0)))


def decoded(t, ids):
    return dict(decoded=t.decode(ids, skip_special_tokens=False), skipped=t.decode(ids, skip_special_tokens=True))


def rows(t, random_ids):
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=False).ids
        yield dict(text=text, ids=ids, special_ids=t.encode(text, add_special_tokens=True).ids, **(decoded(t, ids) if ids else {}))
    size = t.get_vocab_size()
    for _ in range(25):
        ids = [random_ids.randrange(size) for _ in range(random_ids.randint(1, 12))]
        yield dict(decode_ids=ids, **decoded(t, ids))


def main():
    folder = os.path.join(HERE, "tokenizers-small")
    for name, content in cases():
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        with open(os.path.join(folder, name, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False, separators=(",", ":"))
        t = Tokenizer.from_str(json.dumps(content))
        with open(os.path.join(folder, name + ".jsonl"), "w", encoding="utf-8") as f:
            for row in rows(t, random.Random(name)):
                f.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
