#!/usr/bin/env python3
"""Texts of the kinds that the bundled model knows: calibration/{a,b,c}.txt from what it was trained on, held-out.txt
from what it has not seen. Chapters, dictionary entries and arithmetic by turns, about as many tokens of each.

Needs what examples/model/train.py needs to make its texts: the Debian packages bible-kjv and wordnet-base."""

import importlib.util
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("train", os.path.join(HERE, "../../examples/model/train.py"))
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)

TURNS = 24
CHARACTERS = {"bible": 700, "dictionary": 900, "arithmetic": 500}  # of a turn: about 200 tokens each


def write(path, rng, held, chapters, entries):
    text = ""
    for _ in range(TURNS):
        verses = rng.choice(chapters).splitlines(keepends=True)
        at = rng.randrange(len(verses))
        kinds = {"bible": iter(verses[at:] + verses[:at]),
                 "dictionary": (rng.choice(entries) + "\n" for _ in iter(int, 1)),
                 "arithmetic": ("".join(train.arithmetic_chat(rng, held)) + "\n" for _ in iter(int, 1))}
        for kind, pieces in kinds.items():
            end = len(text) + CHARACTERS[kind]
            for piece in pieces:
                text += piece
                if len(text) >= end:
                    break
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    parts = {}
    for name, text in train.bible_chapters():
        parts.setdefault(("bible", train.held_out("bible " + name, 3)), []).append(text)
    for name, text in train.dictionary_entries("/usr/share/wordnet"):
        parts.setdefault(("dictionary", train.held_out("synset " + name, 2)), []).append(text)
    folder = os.path.join(HERE, "calibration")
    os.makedirs(folder, exist_ok=True)
    for seed, name in enumerate(("a", "b", "c", "held-out")):
        held = name == "held-out"
        write(os.path.join(folder, name + ".txt"), random.Random(seed), held, parts["bible", held],
              parts["dictionary", held])


if __name__ == "__main__":
    main()
