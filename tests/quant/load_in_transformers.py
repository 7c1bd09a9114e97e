#!/usr/bin/env python3
"""Does what `baleen quantize` writes load elsewhere, and mean the same there?

    load_in_transformers.py BALEEN                   every case of tests/golden/models in every format
    load_in_transformers.py BALEEN FOLDER SOURCE     one quantized folder and what it was made from

A line a folder. FOLDER is loaded three times: dequantized by stored.py, which is the reference; by transformers with
compressed-tensors just as it is; and so once more with its scales widened to float32, since transformers rounds
routed experts to the scales' type while loading. Then baleen runs it. The last two must agree with the reference
within what "Numbers" of the specification allows: logits within 1e-3 in float32 arithmetic, a mean Kullback-Leibler
divergence of 1e-3 nats in the fast one (up to the first token with two experts nearly tied: rounding may choose
the other there, and all later tokens see it).

transformers 5.23 holds the routed experts of a model in one way of storing only: if they differ, because the group
does not divide the columns of one of their matrices, it fails or takes random weights in their place. Such a folder
is made plain by compressed-tensors' own converter, and then loaded. And it takes the sides of fp8 blocks from
the shapes, wrongly where a block is partial: such folders have only the reference.

Needs torch, transformers, compressed-tensors and safetensors (fp8 in transformers also accelerate); exit status 77
without them. $BALEEN_PYTHON names the interpreter in ctest."""
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
sys.path[:0] = [HERE, os.path.join(GOLDEN, "switches")]
from make_golden import EAGER, routing_margin  # noqa: E402
from stored import config_faults, matrices, merged_faults, plain_tensors, read_config, read_tensors  # noqa: E402

FORMATS = [["int4"], ["int8"], ["fp8"], ["mxfp4"], ["int4", "--group", "channel"], ["int8", "--group", "64"]]
IDS = torch.randint(3, 512, (24,), generator=torch.Generator().manual_seed(7)).tolist()


def divergence(p, q):
    """KL of each position, nats; both log-probabilities."""
    return (p.exp() * (p - q)).sum(-1)


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
    """[positions, vocabulary], and by position the least distance of an expert chosen to one that was not."""
    margins, hooks = torch.full((len(IDS),), float("inf")), []

    def watch(gate, _, out):
        rows = out[0].reshape(len(IDS), -1)
        margin = [routing_margin(gate, model.config.model_type, row[None]) for row in rows]
        torch.minimum(margins, torch.tensor(margin), out=margins)

    for _, module in model.named_modules():
        if type(module).__name__.lower().endswith(("router", "gate")):
            hooks.append(module.register_forward_hook(watch))
    result = model(torch.tensor([IDS])).logits[0].float()
    for hook in hooks:
        hook.remove()
    return result, margins


def write_folder(path, config, tensors):
    os.makedirs(path)
    save_file(tensors, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)


def plain_model(folder, linear, path):
    config = read_config(folder)
    config.pop("quantization_config", None)
    write_folder(path, config, plain_tensors(folder, linear))
    return load(path)[0]


def wide_scales(folder, path):
    tensors = {key: t.float() if key.endswith("weight_scale") and t.is_floating_point() else t
               for key, t in read_tensors(folder).items()}
    write_folder(path, read_config(folder), tensors)


def convert(folder, path):
    with contextlib.redirect_stderr(io.StringIO()):
        dequantizer = CompressedTensorsDequantizer(folder, dtype=torch.float32)
        convert_checkpoint(folder, path, dequantizer, max_workers=1)


def way_to_load(linear):
    """How transformers gets the folder: itself, by the converter, or None."""
    if any(m.kind.startswith("fp8") for m in linear.values()):
        fits = all(getattr(m, "sides_derived", True) for m in linear.values())
        return "transformers" if fits and importlib.util.find_spec("accelerate") else None
    experts = {m.kind for module, m in linear.items() if ".experts." in module}
    return "converter" if len(experts) > 1 or experts == {"plain"} else "transformers"


# ---- baleen

def baleen_log_probs(baleen, folder, isa):
    """[positions, vocabulary] of the same prompt; the last position is that of the first token generated."""
    command = [baleen, "run", "-m", folder, "--isa", isa, "--ids", "-n", "1", "--greedy", "--ignore-eos", "--echo",
               "--logprobs", str(read_config(folder)["vocab_size"]), "--format", "jsonl", "--kv-type", "f32"]
    out = subprocess.run(command, input=" ".join(map(str, IDS)), capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(out.stderr.strip())
    rows = [sorted(token["top"]) for token in json.loads(out.stdout)["logprobs"][1:]]
    return torch.tensor([[log_prob for _, log_prob in row] for row in rows])


# ---- one folder

def check(baleen, name, folder, source, scratch):
    """Prints the folder's line; the faults found, a line each."""
    linear, origin = matrices(folder), matrices(source)
    faults = config_faults(read_config(folder), linear) + merged_faults(linear)
    reference = plain_model(folder, linear, os.path.join(scratch, "plain"))
    expected, margins = logits(reference)
    goal, clear = expected.log_softmax(-1), int((margins > 1e-3).cumprod(0).sum())
    line = [f"{name}: {sum(m.kind != 'plain' for m in linear.values())} of {len(linear)} matrices quantized"]

    def expect(what, value, limit):
        line.append(f"{what} {value:.1e}")
        if not value <= limit:
            faults.append(f"{what} {value:.3e}, expected at most {limit:.0e}")

    way = way_to_load(linear)
    if way:
        wide, loaded = os.path.join(scratch, "wide"), os.path.join(scratch, "converted")
        wide_scales(folder, wide)
        if way == "converter":
            convert(wide, loaded)
        model, problems = load(loaded if way == "converter" else wide)
        faults += problems + weight_faults(model, reference)
        line.append(f"loads by {'compressed-tensors’ converter' if way == 'converter' else way}")
        loaded_logits = logits(model)[0]
        expect("logits from the reference", float((loaded_logits - expected).abs().max()), 1e-4)
        if way == "transformers":
            model, problems = load(folder)
            faults += problems
            expect("KL as it is", float(divergence(goal, logits(model)[0].log_softmax(-1)).mean()), 1e-3)
    else:
        line.append("loads by the float32 dequantizer alone")
        loaded_logits = expected

    exact = baleen_log_probs(baleen, folder, "scalar")
    expect("baleen's logits from theirs", float((exact - loaded_logits.log_softmax(-1)).abs().max()), 1e-3)
    fast = divergence(goal, baleen_log_probs(baleen, folder, "auto"))
    expect(f"KL of its fast path before a tie of experts ({clear} positions)", float(fast[:clear].mean()), 1e-3)
    origin_logits = logits(plain_model(source, origin, os.path.join(scratch, "source")))[0]
    line.append(f"KL from the source {float(divergence(origin_logits.log_softmax(-1), goal).mean()):.1e}")
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


def has_use(how, source):
    """Whether the group divides the columns of anything: else there is nothing to quantize."""
    group = int(how[-1]) if how[-1].isdigit() else 32 if len(how) == 1 and how[0] != "fp8" else 1
    return any(m.value.shape[1] % group == 0 for name, m in matrices(source).items() if "lm_head" not in name
               and not name.endswith(".gate"))


def all_cases(baleen):
    faults = []
    for case in sorted(os.listdir(os.path.join(GOLDEN, "models"))):
        with tempfile.TemporaryDirectory() as work:
            source = shutil.copytree(os.path.join(GOLDEN, "models", case), os.path.join(work, case))
            os.remove(os.path.join(source, "expected.safetensors"))
            shutil.copytree(os.path.join(GOLDEN, "tiny-tokenizer"), source, dirs_exist_ok=True)
            for how in FORMATS:
                if not has_use(how, source):
                    continue
                name, folder = f"{case} {' '.join(how)}", os.path.join(work, "-".join(how))
                failed = quantize(baleen, source, folder, how)
                faults += [f"{name}: {f}" for f in failed] or check_in_scratch(baleen, name, folder, source)
    return faults


def main(arguments):
    if len(arguments) not in (1, 3):
        sys.exit(__doc__)
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    loguru.logger.remove()  # compressed-tensors' own
    baleen = os.path.abspath(arguments[0])
    if len(arguments) == 1:
        faults = all_cases(baleen)
    else:
        faults = check_in_scratch(baleen, os.path.basename(arguments[1].rstrip("/")), *arguments[1:])
    print("\n".join(faults) or "all as expected")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
