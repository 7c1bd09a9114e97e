#!/usr/bin/env python3
"""Writes chat/prompts.jsonl: conversations, and the prompt that apply_chat_template makes of each.

Needs transformers 5.23. A row has the template's name, what `baleen run` gets ("messages": the file for
--messages, "system", "prompt", "vars": those of --template-var), and the "text" and "ids" to expect: with a
generation prompt, or continuing the last message if it is the assistant's, as the text generation pipeline of
transformers does.

    python make_chat_prompts.py tiny-tokenizer chat
"""
import json
import os
import sys

from transformers import PreTrainedTokenizerFast

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city",
        "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}},
    },
}
USER = {"role": "user", "content": "Why is the sky blue?"}
ANSWERED = [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt scatters.", "name": None}]
CALLED = [USER, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {
    "name": "weather", "arguments": {"z": "Köln", "a": 1}}}]}, {"role": "tool", "content": "rain"}]
# Like a model's own: it trims messages, and opens the thinking itself unless told not to.
OWN = """{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>
{% if m.content is string %}{{ m.content | trim }}{% else %}{% for part in m.content %}{{ part.text }}
{% endfor %}{% endif %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% if enable_thinking | default(true) %}<think>
{% endif %}{% endif %}"""
CASES = [
    {"prompt": "Why is the sky blue?"},
    {"prompt": "日本 é 👍 <|end|> "},
    {"prompt": ""},
    {"prompt": "Hi", "system": "Be brief."},
    {"prompt": "Hi", "vars": {"enable_thinking": False}},
    {"messages": [USER]},
    {"messages": ANSWERED, "prompt": "And at dusk?", "system": "Be brief."},
    {"messages": {"messages": [USER], "tools": [TOOL]}},
    {"messages": {"messages": CALLED, "tools": [TOOL]}},
    {"messages": {"messages": [USER], "template_vars": {"enable_thinking": False, "x": [1, None]}}},
    {"messages": {"messages": [USER], "template_vars": {"enable_thinking": False}},
     "vars": {"enable_thinking": True}},
    {"messages": ANSWERED},
    {"messages": [USER, {"role": "assistant", "content": "It scatters "}]},
    {"messages": [USER, {"role": "assistant", "content": "<think>\nlet me"}]},
    {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "one"},
                                                          {"type": "text", "text": "two"}]}]},
]


def conversation(case):
    given = case.get("messages", [])
    given = given if isinstance(given, dict) else {"messages": given}
    messages = list(given["messages"])
    if "system" in case:
        messages.insert(0, {"role": "system", "content": case["system"]})
    if "prompt" in case:
        messages.append({"role": "user", "content": case["prompt"]})
    variables = {**given.get("template_vars", {}), **case.get("vars", {})}
    return messages, given.get("tools"), variables


def main(tokenizer_folder, folder):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    templates = {name: open(os.path.join(folder, "templates", name), encoding="utf-8").read()
                 for name in ("deepseek_r1.jinja", "qwen3.jinja")}
    with open(os.path.join(folder, "templates", "thinking.jinja"), "w", encoding="utf-8") as out:
        out.write(OWN)
    templates["thinking.jinja"] = OWN
    with open(os.path.join(folder, "prompts.jsonl"), "w", encoding="utf-8") as out:
        for name, template in templates.items():
            for case in CASES:
                messages, tools, variables = conversation(case)
                answers = messages[-1]["role"] == "assistant"
                how = {"tools": tools, "chat_template": template, "add_generation_prompt": not answers,
                       "continue_final_message": answers, **variables}
                try:
                    row = {"text": tokenizer.apply_chat_template(messages, tokenize=False, **how),
                           "ids": list(tokenizer.apply_chat_template(messages, **how)["input_ids"])}
                except Exception as error:  # whatever it is: an error is expected
                    row = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:80]}
                out.write(json.dumps({"template": name, **case, **row}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
