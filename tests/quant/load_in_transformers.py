#!/usr/bin/env python3
"""Does what `baleen quantize` writes load elsewhere, and mean the same there?

    load_in_transformers.py BALEEN [CASE ...]                 cases of tests/golden/models, or all, in every format
    load_in_transformers.py BALEEN --folder FOLDER SOURCE     a quantized folder and what it was made from

A line a folder. FOLDER is loaded three times: dequantized by stored.py, which is the reference; by transformers with
compressed-tensors just as it is; and so once more with its scales widened to float32, since transformers rounds
routed experts to the scales' type while loading. Then baleen runs it. The last two must agree with the reference
within what "Numbers" of the specification allows: logits within 1e-3 in float32 arithmetic, a mean Kullback-Leibler
divergence of 1e-3 nats in the fast one (up to the first token that rounding sends to another expert: all later
ones see it).

transformers 5.23 holds the routed experts of a model in one way of storing only: if they differ, because the group
does not divide the columns of one of their matrices, it fails or takes random weights in their place. Such a folder
is made plain by compressed-tensors' own converter, and then loaded. And it takes the sides of fp8 blocks from
the shapes, wrongly where a block is partial: such folders have only the reference.

Needs torch, transformers, compressed-tensors and safetensors (fp8 in transformers also accelerate); exit status 77
without them. $BALEEN_PYTHON names the interpreter in ctest."""
import argparse
import contextlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile

try:
    import loguru
    import torch
    import transformers
    from compressed_tensors.entrypoints.convert import CompressedTensorsDequantizer, convert_checkpoint
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
sys.path.insert(0, HERE)
import stored  # noqa: E402
from stored import matrices, read_config, read_tensors  # noqa: E402

FORMATS = [["int4"], ["int8"], ["fp8"], ["mxfp4"], ["int4", "--group", "channel"]]
# Of one case: by kind of tensor and layer, as other engines load it, and in ways that only the converter knows.
MIXED_CASE = "deepseek_v3-moonlight"
MIXED = [["int8", "--group", "64"], ["int8", "--bits", "experts=int4"], ["mxfp4", "--bits", "experts=int8:64"],
         ["int4", "--bits", "attention@1=int8:channel,shared=int8,experts=mxfp4"], ["int8", "--bits", "experts@1=int4"],
         ["int4", "--keep", "experts"]]
# Eager experts: the grouped kernel refuses rows that are no multiple of 16 bytes.
EAGER = dict(dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
IDS = torch.randint(3, 512, (24,), generator=torch.Generator().manual_seed(7)).tolist()


def comparable(routes, others):
    """Positions before the first that other experts were chosen for: all later ones see it."""
    return next((i for i, pair in enumerate(zip(routes, others)) if pair[0] != pair[1]), len(routes))


def divergence(p, q, positions):
    """Mean KL of the first positions, nats; both log-probabilities."""
    return float((p.exp() * (p - q)).sum(-1)[:positions].mean()) if positions else 0.0


# ---- the three ways to load

def load(folder):
    """The model in float32, quantized layers unpacked, and what was missing or left over in the folder."""
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **EAGER)
        quantizer = getattr(model, "hf_quantizer", None)
        if hasattr(quantizer, "compressor"):
            quantizer.compressor.decompress_model(model)
    problems = [f"{what} {sorted(map(str, names))[:3]}" for what, names in report.items() if names]
    return torch.nn.Module.float(model).eval(), problems


def logits(model):
    """[positions, vocabulary], and of each position the experts it was sent to, by layer."""
    routes, hooks = [[] for _ in IDS], []

    def watch(gate, _, out):
        for route, experts in zip(routes, out[2].reshape(len(IDS), -1).sort(-1).values.tolist()):
            route.append(experts)

    for _, module in model.named_modules():
        if type(module).__name__.lower().endswith(("router", "gate")):
            hooks.append(module.register_forward_hook(watch))
    result = model(torch.tensor([IDS])).logits[0].float()
    for hook in hooks:
        hook.remove()
    return result, routes


def write_folder(path, config, tensors):
    os.makedirs(path)
    save_file(tensors, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)


def plain_model(folder, linear, path):
    config = read_config(folder)
    config.pop("quantization_config", None)
    write_folder(path, config, stored.plain_tensors(folder, linear))
    return load(path)[0]


def wide_scales(folder, path):
    tensors = {key: t.float() if key.endswith("weight_scale") and t.is_floating_point() else t
               for key, t in read_tensors(folder).items()}
    write_folder(path, read_config(folder), tensors)


def convert(folder, path):
    with contextlib.redirect_stderr(io.StringIO()):
        dequantizer = CompressedTensorsDequantizer(folder, dtype=torch.float32)
        convert_checkpoint(folder, path, dequantizer, max_workers=1)


def way_to_load(config, linear):
    """How transformers gets the folder: "transformers" itself, by the "converter", or None."""
    if any(m.kind.startswith("fp8") for m in linear.values()):
        fits = all(getattr(m, "sides_derived", True) for m in linear.values())
        return "transformers" if fits and importlib.util.find_spec("accelerate") else None
    experts = {stored.config_group(config, module) for module in linear if ".experts." in module}
    return "transformers" if len(experts) == 1 and None not in experts else "converter"


# ---- baleen

def baleen_log_probs(baleen, folder, isa, log):
    """As logits(); the last position is that of the first token generated."""
    command = [baleen, "run", "-m", folder, "--isa", isa, "--ids", "-n", "1", "--greedy", "--ignore-eos", "--echo",
               "--logprobs", str(read_config(folder)["vocab_size"]), "--format", "jsonl", "--route-log", log]
    out = subprocess.run(command, input=" ".join(map(str, IDS)), capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(out.stderr.strip())
    rows = [sorted(token["top"]) for token in json.loads(out.stdout)["logprobs"][1:]]
    with open(log) as f:
        routes = [json.loads(line)["e"] for line in list(f)[1:]]
    return torch.tensor([[log_prob for _, log_prob in row] for row in rows]), routes


# ---- one folder

def check(baleen, name, folder, source, scratch):
    """Prints the folder's line; the faults found, a line each."""
    linear, config = matrices(folder), read_config(folder)
    faults = stored.config_faults(config, linear) + stored.merged_faults(linear)
    line = [f"{name}: {sum(m.kind != 'plain' for m in linear.values())} of {len(linear)} matrices quantized"]
    path = lambda what: os.path.join(scratch, what)
    reference = plain_model(folder, linear, path("plain"))
    expected, routes = logits(reference)
    goal = expected.log_softmax(-1)

    def expect(what, value, limit):
        line.append(f"{what} {value:.1e}")
        if not value <= limit:
            faults.append(f"{what} {value:.3e}, expected at most {limit:.0e}")

    def expect_near(what, log_probs, others):
        positions = comparable(routes, others)
        expect(f"KL {what} ({positions} positions)", divergence(goal, log_probs, positions), 1e-3)

    way, loaded_log_probs = way_to_load(config, linear), goal
    line.append({"transformers": "transformers loads it", "converter": "compressed-tensors' converter reads it",
                 None: "float32 dequantizer"}[way])
    if way:
        wide_scales(folder, path("wide"))
        if way == "converter":
            convert(path("wide"), path("converted"))
        model, problems = load(path("converted" if way == "converter" else "wide"))
        faults += problems + weight_faults(model, reference)
        loaded = logits(model)[0]
        loaded_log_probs = loaded.log_softmax(-1)
        expect("logits off by", float((loaded - expected).abs().max()), 1e-4)
    if way == "transformers":
        model, problems = load(folder)
        faults += problems
        result, others = logits(model)
        expect_near("as it is", result.log_softmax(-1), others)

    try:
        exact, _ = baleen_log_probs(baleen, folder, "scalar", path("scalar.log"))
        expect("baleen's from these by", float((exact - loaded_log_probs).abs().max()), 1e-3)
        expect_near("of its fast path", *baleen_log_probs(baleen, folder, "auto", path("auto.log")))
    except RuntimeError as e:  # what the others say of the folder is still of use
        faults.append(str(e))
    origin = logits(plain_model(source, matrices(source), path("source")))[0].log_softmax(-1)
    line.append(f"KL from the source {divergence(origin, goal, len(IDS)):.1e}")
    print(", ".join(line), flush=True)
    return [f"{name}: {fault}" for fault in faults]


def weight_faults(model, reference):
    """Parameters that are not the reference's: also experts that no token of the prompt was routed to."""
    loaded, faults = dict(model.named_parameters()), []
    for key, expected in reference.named_parameters():
        if key not in loaded or not torch.allclose(loaded[key], expected, rtol=1e-6, atol=0):
            faults.append(f"{key}: not what the folder holds")
    return faults


def check_in_scratch(*args):
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return check(*args, scratch)
        except Exception as e:  # a fault of one folder: the others are still looked at
            print(f"{args[1]}: {e}", flush=True)
            return [f"{args[1]}: {type(e).__name__}: {e}"]


# ---- all cases

def quantize(baleen, source, folder, how):
    out = subprocess.run([baleen, "quantize", source, folder, "--to", *how], capture_output=True, text=True)
    return [] if out.returncode == 0 else [f"exit status {out.returncode}: {out.stderr.strip()}"]


def check_cases(baleen, names):
    faults = []
    for case in names or sorted(os.listdir(os.path.join(GOLDEN, "models"))):
        with tempfile.TemporaryDirectory() as work:
            source = shutil.copytree(os.path.join(GOLDEN, "models", case), os.path.join(work, case))
            os.remove(os.path.join(source, "expected.safetensors"))
            shutil.copytree(os.path.join(GOLDEN, "tiny-tokenizer"), source, dirs_exist_ok=True)
            for number, how in enumerate(FORMATS + (MIXED if case == MIXED_CASE else [])):
                name, folder = f"{case} {' '.join(how)}", os.path.join(work, str(number))
                failed = quantize(baleen, source, folder, how)
                faults += [f"{name}: {f}" for f in failed] or check_in_scratch(baleen, name, folder, source)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baleen")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--folder", nargs=2, metavar=("FOLDER", "SOURCE"))
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    loguru.logger.remove()  # compressed-tensors' own
    baleen = os.path.abspath(args.baleen)
    if args.folder:
        faults = check_in_scratch(baleen, os.path.basename(os.path.abspath(args.folder[0])), *args.folder)
    else:
        faults = check_cases(baleen, args.cases)
    print("\n".join(faults) or "all as expected")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
