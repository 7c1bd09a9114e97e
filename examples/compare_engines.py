#!/usr/bin/env python3
"""Compare baleen's speed with other engines: one model, one machine, the same sizes and the same number of threads.

    compare_engines.py -m ~/models/Moonlight-16B-A3B -p 512 -n 32 -d 0,2048
    compare_engines.py -m ~/models/Moonlight-16B-A3B --gguf moonlight-bf16.gguf --baleen build/release/cmd/baleen
    compare_engines.py -m ~/models/Moonlight-16B-A3B-int4 --gguf moonlight-q4_0.gguf --engines llama.cpp,baleen
    compare_engines.py -m ~/models/Moonlight-16B-A3B-int4 --engines baleen -- --lm-head int8

Engines are transformers (PyTorch, bf16), llama.cpp (through llama-cpp-python; it needs the model as a GGUF file) and
`baleen bench`. One that is not installed is left out, and how to install it is said.

Prefill is a prompt of random tokens, evaluated from an empty context up to the logits of its last token. Decode is
tokens generated one after the other behind --depth others, which are computed before the clock starts. Tokens are
drawn from --seed, by each engine for itself: none of them looks at what it generates. Every engine has a process of
its own, does everything once to warm up, and then as often as --repetitions says. --rounds lets all engines take
turns that often, so that a machine whose speed changes by the minute slows each of them; every turn loads the model
anew. The median of all repetitions is printed, and the slowest and the fastest.
"""
import argparse
import copy
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Result:
    version: str
    weights: str
    prefill: list  # seconds of each repetition
    decode: list  # the same for each depth


class Missing(Exception):
    """An engine that is not there; the text says what to do about it."""


def need(package, module, what="it"):
    if importlib.util.find_spec(module) is None:
        raise Missing(f"{what} is not installed; pip install {package}")


def random_ids(options, count, vocabulary):
    numbers = random.Random(options.seed)
    return [numbers.randrange(vocabulary) for _ in range(count)]


def clock(repetitions, prepare, work):
    """Seconds that work(prepare()) takes, each time."""
    seconds = []
    for _ in range(1 + repetitions):
        state = prepare()
        start = time.perf_counter()
        work(state)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def run_transformers(options):
    need("'transformers>=5' accelerate", "transformers")
    need("torch --index-url https://download.pytorch.org/whl/cpu", "torch", "PyTorch")
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16)
    model.eval()
    vocabulary = model.config.get_text_config().vocab_size
    prompt = random_ids(options, options.prompt, vocabulary)
    new = random_ids(options, options.new, vocabulary)

    def evaluate(ids, past=None):
        return model(input_ids=torch.tensor([ids]), past_key_values=past, use_cache=True,
                     logits_to_keep=1).past_key_values

    def generate(past):
        for token in new:
            past = evaluate([token], past)

    with torch.inference_mode():
        prefill = clock(options.repetitions, lambda: None, lambda _: evaluate(prompt))
        decode = []
        for depth in options.depth:
            before = evaluate(random_ids(options, depth, vocabulary)) if depth else None
            decode.append(clock(options.repetitions, lambda: copy.deepcopy(before), generate))
    stored = {str(tensor.dtype).removeprefix("torch.") for tensor in model.parameters() if tensor.dim() > 1}
    return Result(f"{transformers.__version__}, torch {torch.__version__}", ", ".join(sorted(stored)), prefill, decode)


def run_llama_cpp(options):
    need("llama-cpp-python", "llama_cpp")
    if not options.gguf:
        raise Missing("no --gguf FILE was given; llama.cpp's convert_hf_to_gguf.py makes one of the model")
    import llama_cpp

    context = max(options.prompt, max(options.depth) + options.new)
    llama = llama_cpp.Llama(options.gguf, n_ctx=context, n_batch=2048, n_threads=options.threads,
                            n_threads_batch=options.threads, n_gpu_layers=0, verbose=False,
                            flash_attn=True)  # llama.cpp's own default, not llama-cpp-python's
    prompt = random_ids(options, options.prompt, llama.n_vocab())
    new = random_ids(options, options.new, llama.n_vocab())

    def evaluate(ids):
        llama.eval(ids)
        llama_cpp.llama_synchronize(llama.ctx)

    def go_back(depth):
        llama.n_tokens = depth  # what follows is dropped from the cache before the next token

    def generate(_):
        for token in new:
            evaluate([token])

    prefill = clock(options.repetitions, lambda: go_back(0), lambda _: evaluate(prompt))
    decode = []
    for depth in options.depth:
        go_back(0)
        if depth:
            evaluate(random_ids(options, depth, llama.n_vocab()))
        decode.append(clock(options.repetitions, lambda: go_back(depth), generate))
    return Result("llama-cpp-python " + importlib.metadata.version("llama-cpp-python"),
                  Path(options.gguf).name, prefill, decode)


def run_baleen(options):
    baleen = shutil.which(options.baleen)
    if not baleen:
        raise Missing(f"there is no program '{options.baleen}'; build it, and name it with --baleen FILE")
    command = [baleen, "bench", "--json", "-q", "-m", options.model, "-t", str(options.threads),
               "-p", str(options.prompt), "-n", str(options.new), "-d", ",".join(map(str, options.depth)), "-b", "1",
               "-r", str(options.repetitions), "--seed", str(options.seed), *options.options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ended with status {done.returncode}")
    report = json.loads(done.stdout)
    seconds = {(test["test"], test["depth"]): test["seconds"] for test in report["tests"]}
    return Result(f"{report['baleen']} ({report['commit']}), {report['isa']}", report["weights"],
                  seconds["prefill", 0], [seconds["decode", depth] for depth in options.depth])


ENGINES = {"transformers": run_transformers, "llama.cpp": run_llama_cpp, "baleen": run_baleen}


def run_apart(engine, options):
    """In a process of its own, so that no engine keeps memory or threads that the next one misses."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(ENGINES[engine], options).result()


def physical_cores():
    cpus = os.sched_getaffinity(0)
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(topology.format(cpu)).read_text() for cpu in cpus})
    except OSError:
        return len(cpus)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
    return number


def not_negative(text):
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is below 0")
    return number


def depths(text):
    return list(dict.fromkeys(map(not_negative, text.split(","))))


def engine_names(text):
    names = text.split(",")
    for name in names:
        if name not in ENGINES:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(ENGINES)}")
    return names


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-m", "--model", metavar="DIR", required=True, help="model folder as published on Hugging Face")
    add("--gguf", metavar="FILE", help="the same model for llama.cpp")
    add("--baleen", metavar="FILE", default="baleen", help="the program (default: the one in $PATH)")
    add("--engines", metavar="NAME,...", type=engine_names, default=list(ENGINES),
        help=f"which ones, in this order (default: {','.join(ENGINES)})")
    add("-p", "--prompt", metavar="N", type=positive, default=512, help="tokens of the prompt (default 512)")
    add("-n", "--new", metavar="N", type=positive, default=32, help="tokens to decode (default 32)")
    add("-d", "--depth", metavar="N,...", type=depths, default=[0], help="tokens before these (default 0)")
    add("-r", "--repetitions", metavar="N", type=positive, default=5, help="how often (default 5)")
    add("--rounds", metavar="N", type=positive, default=1, help="turns of every engine (default 1)")
    add("-t", "--threads", metavar="N", type=positive, default=physical_cores(),
        help="threads of every engine (default: the physical cores)")
    add("--seed", metavar="N", type=not_negative, default=0, help="seed of the random tokens (default 0)")
    add("options", metavar="BALEEN_OPTION", nargs="*", help="after --: more options for baleen bench")
    options = parser.parse_args()
    if not Path(options.model, "config.json").is_file():
        parser.error(f"{options.model}: no config.json there; a folder as published on Hugging Face was expected")
    if options.gguf and not Path(options.gguf).is_file():
        parser.error(f"{options.gguf}: no such file")
    return options


def table(rows, text_columns=3):
    """Lines of aligned columns; those after the first few hold numbers."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    align = [str.ljust] * text_columns + [str.rjust] * (len(widths) - text_columns)
    return "\n".join("  ".join(to(cell, width) for to, cell, width in zip(align, row, widths)) for row in rows)


def rate(tokens, seconds):
    """Tokens a second: the median, and from the slowest repetition to the fastest."""
    return f"{tokens / statistics.median(seconds):.1f} ({tokens / max(seconds):.1f}-{tokens / min(seconds):.1f})"


def add_round(results, engine, result):
    if engine not in results:
        results[engine] = result
        return
    results[engine].prefill.extend(result.prefill)
    for seconds, more in zip(results[engine].decode, result.decode):
        seconds.extend(more)


def measure(options):
    """What every engine that is there took in all rounds; None for one that failed."""
    results, left = {}, list(options.engines)
    for _ in range(options.rounds):
        for engine in list(left):
            try:
                result = run_apart(engine, options)
            except Missing as why:
                print(f"{engine} left out: {why}", file=sys.stderr)
                left.remove(engine)
            except Exception as error:  # whatever an engine throws: the others' figures are worth having
                print(f"{engine} failed: {error}", file=sys.stderr)
                left.remove(engine)
                results[engine] = None
            else:
                add_round(results, engine, result)
    return results


def main():
    options = parse()
    results = measure(options)
    done = {engine: result for engine, result in results.items() if result}
    if done:
        head = ("engine", "version", "weights", f"prefill {options.prompt}", *(f"decode at {d}" for d in options.depth))
        rows = [(engine, result.version, result.weights, rate(options.prompt, result.prefill),
                 *(rate(options.new, seconds) for seconds in result.decode)) for engine, result in done.items()]
        print(f"tokens a second with {options.threads} threads, {options.new} new tokens: median (slowest-fastest) of "
              f"{options.rounds * options.repetitions}\n\n{table([head, *rows])}")
    return 0 if done and len(done) == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
