#!/usr/bin/env python3
r"""Compare baleen's speed with other engines: one model, one machine, the same sizes and the same number of threads.

    compare_engines.py -m ~/models/Moonlight-16B-A3B -p 512 -n 32 -d 0,2048
    compare_engines.py -m ~/models/Moonlight-16B-A3B --gguf moonlight-bf16.gguf --baleen build/release/cmd/baleen
    compare_engines.py -m ~/models/Moonlight-16B-A3B-int4 --gguf moonlight-q4_0.gguf --engines llama.cpp,baleen
    compare_engines.py -m ~/models/Moonlight-16B-A3B-int4 --engines baleen -- --lm-head int8
    compare_engines.py -m ~/models/Moonlight-16B-A3B-int4 --gguf moonlight-q4_0.gguf --engines llama-bench,baleen \
        --llama-bench ik_llama.cpp/build/bin/llama-bench --llama-bench-options='-rtr 1 -ub 2048'

Engines are transformers (PyTorch, bf16), llama.cpp (through llama-cpp-python), llama-bench (the program of that name,
of llama.cpp or of its fork ik_llama.cpp, on the CPU) and `baleen bench`; the two in between need the model as a GGUF
file. One that is not installed is left out, and how to install it is said.

Prefill is a prompt of random tokens, evaluated from an empty context up to the logits of its last token. Decode is
tokens generated one after the other behind --depth others, which are computed before the clock starts. Tokens are
drawn from --seed, by each engine for itself (llama-bench has a fixed one): none of them looks at what it generates.
Every engine has a process of its own, does everything once to warm up, and then as often as --repetitions says.
--rounds lets all engines take turns that often, so that a machine whose speed changes by the minute slows each of
them; every turn loads the model anew. The median of all repetitions is printed, and the slowest and the fastest.
"""
import argparse
import copy
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import random
import re
import shlex
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


def need_gguf(options):
    if not options.gguf:
        raise Missing("no --gguf FILE was given; llama.cpp's convert_hf_to_gguf.py makes one of the model")


def need_program(name, option, build="build it"):
    program = shutil.which(name)
    if not program:
        raise Missing(f"there is no program '{name}'; {build}, and name it with {option} FILE")
    return program


def output(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ended with status {done.returncode}")
    return done.stdout


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
    need_gguf(options)
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


def llama_bench_runs(program, options):
    """Whose llama-bench it is, and the options of each of its runs."""
    usage = output([program, "--help"])
    prompt, new = str(options.prompt), str(options.new)
    if "--n-depth" in usage:  # it would hold for the prompt too, hence a run for each
        return "llama.cpp", [["-p", prompt, "-n", "0"],
                             ["-p", "0", "-n", new, "-d", ",".join(map(str, options.depth))]]
    if "-gp <pp,tg>" in usage:
        behind = [word for depth in options.depth for word in ("-gp", f"{depth},{new}")]
        return "ik_llama.cpp", [["-p", prompt, "-n", "0", *behind]]
    raise RuntimeError(f"{program} has neither -d nor -gp, which generate behind other tokens; build a newer one")


def llama_bench_kind(test):
    if not test["n_gen"]:
        return "prefill", test.get("n_depth", 0)
    return "decode", test.get("n_depth", test["n_prompt"])  # -gp calls the tokens before a prompt


def run_llama_bench(options):
    program = need_program(options.llama_bench, "--llama-bench", "build it from llama.cpp or ik_llama.cpp")
    need_gguf(options)
    origin, runs = llama_bench_runs(program, options)
    # ik_llama.cpp warms up with a single token, so one repetition more is asked for, and the first is dropped.
    command = [program, *options.llama_bench_options, "-m", options.gguf, "-o", "json", "-t", str(options.threads),
               "-ngl", "0", "-r", str(1 + options.repetitions)]
    printed = "".join(output(command + run) for run in runs)
    # Not one JSON value: there may be two runs, and ik_llama.cpp mixes notes into it, as on huge pages.
    tests = [json.loads(test) for test in re.findall(r"^  \{$.*?^  \}", printed, re.MULTILINE | re.DOTALL)]
    kinds = [llama_bench_kind(test) for test in tests]
    wanted = [("prefill", 0), *(("decode", depth) for depth in options.depth)]
    if sorted(kinds) != sorted(wanted):
        raise RuntimeError("it ran " + (", ".join(f"{what} at {depth}" for what, depth in kinds) or "no test") +
                           "; --llama-bench-options must not change what is run")
    seconds = {kind: [ns / 1e9 for ns in test["samples_ns"][1:]] for kind, test in zip(kinds, tests)}
    return Result(f"{origin} {tests[0]['build_commit']} ({tests[0]['build_number']})", Path(options.gguf).name,
                  seconds["prefill", 0], [seconds["decode", depth] for depth in options.depth])


def run_baleen(options):
    baleen = need_program(options.baleen, "--baleen")
    command = [baleen, "bench", "--json", "-q", "-m", options.model, "-t", str(options.threads),
               "-p", str(options.prompt), "-n", str(options.new), "-d", ",".join(map(str, options.depth)), "-b", "1",
               "-r", str(options.repetitions), "--seed", str(options.seed), *options.options]
    report = json.loads(output(command))
    seconds = {(test["test"], test["depth"]): test["seconds"] for test in report["tests"]}
    return Result(f"{report['baleen']} ({report['commit']}), {report['isa']}", report["weights"],
                  seconds["prefill", 0], [seconds["decode", depth] for depth in options.depth])


ENGINES = {"transformers": run_transformers, "llama.cpp": run_llama_cpp, "llama-bench": run_llama_bench,
           "baleen": run_baleen}


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
    add("--gguf", metavar="FILE", help="the same model for llama.cpp and llama-bench")
    add("--llama-bench", metavar="FILE", default="llama-bench", help="the program (default: the one in $PATH)")
    add("--llama-bench-options", metavar="'OPTION ...'", type=shlex.split, default=[],
        help="more options for llama-bench: one string, right behind an equals sign")
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
