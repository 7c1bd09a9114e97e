#!/usr/bin/env python3
"""Make the reference data of this folder with the libraries that define it: transformers, compressed-tensors.

    make_golden.py CASES.json OUTDIR [NAME ...]      all cases, or those named

Every case becomes OUTDIR/NAME/ with config.json, model.safetensors (published tensor names; or shards and an index)
and expected.safetensors, computed by transformers in float32 from the stored weights:
  input_ids      I64 [T]             the prompt
  logits         F32 [T, vocab]      one full forward pass over the prompt
  greedy_ids     I64 [G]             greedy continuation, end-of-sequence ignored
  greedy_logits  F32 [G, vocab]      the logits each continuation token was taken from
  hidden.I       F32 [T, hidden]     the residual stream that enters layer I; hidden.L is after the final norm
  router.I.experts  I64 [T, k]       experts of MoE layer I, ascending ids
  router.I.weights  F32 [T, k]       their combine weights, in the same order

A case: name, why, config (what transformers is given), and optionally
  seed, prompt, greedy    the weights' seed (the prompt's is one more), tokens in the prompt, tokens to continue
  published               keys that config.json has instead (null deletes nothing: it is written), where the published
                          spelling differs from what transformers reads; "drop" lists keys left out of config.json
  unlike                  what a program that ignored the switch would compute: the difference is printed, not stored
  store                   bf16 (default), f16, f32, mixed, or an object, below
  shards                  number of files
  mtp                     true: random tensors of a multi-token prediction layer are stored too
  bias_shift              added to e_score_correction_bias
store objects: {"fp8": {"block": [rows, cols] or null, "scale": "f32"|"bf16"|"ue8m0", "keep": [module, ...]}} and
{"int": [{"targets": [...], "bits": b, "group": g|"channel"|"tensor", "symmetric": true, "actorder": null,
"scale": "bf16"}, {"targets": [...], "mxfp4": true}, ...], "ignore": [...]}: compressed-tensors pack-quantized and
mxfp4-pack-quantized, one config group an entry.
Needs: torch, transformers, compressed-tensors, safetensors.
"""
import copy, json, os, re, sys, tempfile

import torch, transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = dict(bf16=torch.bfloat16, f16=torch.float16, f32=torch.float32)
# eager experts: the grouped kernel refuses rows that are no multiple of 16 bytes
EAGER = dict(dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")


def make(case, path):
    """One case's folder; returns what the summary line says of it."""
    seed, how = case.get("seed", 0), case.get("store", "bf16")
    os.makedirs(path, exist_ok=True)
    config = AutoConfig.for_model(**copy.deepcopy(case["config"]))  # it completes the rope dictionary in place
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, **EAGER)
    for key, t in model.state_dict().items():
        t.copy_(randomize(key, t, case))
    with tempfile.TemporaryDirectory() as tmp:  # published names come from transformers' own saving
        model.save_pretrained(tmp)
        architectures = json.load(open(os.path.join(tmp, "config.json")))["architectures"]
        stored, meant = {}, {}
        for key, t in load_file(os.path.join(tmp, "model.safetensors")).items():
            pieces, meant[key] = store(key, t, how, len(meant))
            stored.update(pieces)
        save_file(meant, os.path.join(tmp, "model.safetensors"), metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(tmp, **EAGER).eval()
        data, margins = run(model, case, seed + 1)
        moved = None
        if "unlike" in case:
            other = AutoConfig.for_model(**copy.deepcopy({**case["config"], **case["unlike"]}))
            other = AutoModelForCausalLM.from_pretrained(tmp, config=other, **EAGER).eval()
            other = run(other, case, seed + 1)[0]
            moved = (other["logits"] - data["logits"]).abs().max() or (other["greedy_logits"] - data["greedy_logits"]).abs().max()
    if case.get("mtp"):
        stored.update(mtp(stored, config))
    if case.get("published", {}).get("n_shared_experts", 1) is None:  # the authors' spelling of none: no tensors
        stored = {k: t for k, t in stored.items() if "shared_experts" not in k}
    write(path, stored, case.get("shards", 1))
    published = dict(case["config"], architectures=architectures)
    if "dtype" not in published:
        published["torch_dtype"] = dict(f16="float16", f32="float32").get(how if isinstance(how, str) else "", "bfloat16")
    published.update(case.get("published", {}))
    for key in case.get("drop", []):
        del published[key]
    if isinstance(how, dict):
        published["quantization_config"] = quantization_config(how)
    json.dump(published, open(os.path.join(path, "config.json"), "w"), indent=2)
    save_file({k: v.contiguous().clone() for k, v in data.items()}, os.path.join(path, "expected.safetensors"),
              metadata=dict(transformers=transformers.__version__, torch=torch.__version__))
    return dict(margins, std=float(data["logits"].std()), moved=moved and float(moved), finite=bool(data["logits"].isfinite().all()),
                tokens=len(set(data["greedy_ids"].tolist())),
                experts=[len(set(v.flatten().tolist())) for k, v in data.items() if k.endswith(".experts")])


def run(model, case, seed):
    """What transformers computes, and how near the nearest greedy and routing decisions were to a tie."""
    routed, margins, hooks = {}, dict(greedy=float("inf"), router=float("inf")), []
    for key, module in model.named_modules():
        if type(module).__name__.lower().endswith(("router", "gate")):
            layer = int(key.split("layers.")[1].split(".")[0])

            def hook(m, a, o, layer=layer):
                routed.setdefault(layer, []).append((o[1], o[2]))
                margins["router"] = min(margins["router"], routing_margin(m, model.config.model_type, o[0]))
            module.register_forward_hook(hook)
    gen = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, model.config.vocab_size, (case.get("prompt", 14),), generator=gen)
    step = model(ids[None], output_hidden_states=True, use_cache=True)
    data = dict(input_ids=ids, logits=step.logits[0].float())
    for i, h in enumerate(step.hidden_states):
        data[f"hidden.{i}"] = h[0].float()
    for layer, calls in routed.items():
        weights, experts = calls[0]
        if weights.shape != experts.shape:
            weights = weights.gather(-1, experts)
        experts, order = experts.sort(-1)
        data[f"router.{layer}.experts"] = experts
        data[f"router.{layer}.weights"] = weights.gather(-1, order).float()
    cache, logits, greedy, rows = step.past_key_values, step.logits[0, -1], [], []
    for _ in range(case.get("greedy", 8)):
        rows.append(logits.float())
        greedy.append(int(logits.argmax()))
        step = model(torch.tensor([[greedy[-1]]]), past_key_values=cache, use_cache=True)
        cache, logits = step.past_key_values, step.logits[0, -1]
    data["greedy_ids"], data["greedy_logits"] = torch.tensor(greedy), torch.stack(rows)
    top2 = data["greedy_logits"].topk(2).values
    margins["greedy"] = float((top2[:, 0] - top2[:, 1]).min())
    return data, margins


def routing_margin(gate, kind, logits):
    """The smallest difference between a score that was chosen and one that was not, groups included."""
    def gap(scores, k):
        return float("inf") if k >= scores.shape[-1] else float((lambda s: s[:, k - 1] - s[:, k])(scores.sort(-1, descending=True).values).min())
    logits = logits.float()
    groups = 0
    if kind == "deepseek_v3":
        scores, groups, best = logits.sigmoid() + gate.e_score_correction_bias, gate.num_group, 2
    else:
        scores = logits.softmax(-1)
        if kind == "deepseek_v2" and gate.topk_method == "group_limited_greedy":
            groups, best = gate.num_group, 1
    if groups < 2:
        return gap(scores, gate.top_k)
    split = scores.view(len(scores), groups, -1)
    ranks = split.topk(best).values.sum(-1)
    mask = torch.zeros_like(ranks).scatter_(1, ranks.topk(gate.topk_group).indices, 1)[..., None]
    rest = split.masked_fill(mask == 0, float("-inf")).flatten(1)
    within = rest.shape[-1] * gate.topk_group // groups
    return min(gap(ranks, gate.topk_group), gap(rest, gate.top_k) if gate.top_k < within else float("inf"))


def randomize(key, t, case):
    """Weights on a scale at which every layer, expert and bias moves the logits."""
    x = torch.randn(t.shape)
    if "correction_bias" in key:
        return x * 0.05 + case.get("bias_shift", 0)
    if t.dim() == 1:
        return 1 + 0.2 * x if "norm" in key else 0.1 * x
    if "embed_tokens" in key:
        return x * 0.7
    gain = case.get("router_gain", 1.5) if (".gate.weight" in key or "router.weight" in key) else 1.2
    return x * gain * max(t.shape[-1], 1) ** -0.5


def store(key, t, how, number):
    """The tensors that hold `t` on disk, and the float32 value that they mean."""
    if isinstance(how, str):
        kind = ("bf16", "f16", "f32")[number % 3] if how == "mixed" else how
        if "correction_bias" in key and how != "mixed":
            kind = "f32"
        b = t.to(DTYPES[kind]).contiguous()
        return {key: b}, b.float()
    linear = t.dim() == 2 and t.numel() and "embed_tokens" not in key and not key.endswith(".gate.weight")
    module = key.removesuffix(".weight")
    if linear and "fp8" in how and not any(module.endswith(k) for k in ["lm_head"] + how["fp8"]["keep"]):
        return fp8(key, t, how["fp8"])
    if linear and "int" in how and not matches(module, how["ignore"]):
        for group in how["int"]:
            if matches(module, group["targets"]):
                return mxfp4(module, t, group) if "mxfp4" in group else packed(module, t, group)
    return store(key, t, "bf16", number)


def matches(module, patterns):
    """compressed-tensors' rule, for a linear layer."""
    return any(re.match(p[3:], module) if p.startswith("re:") else p in (module, "Linear") for p in patterns)


def fp8(key, t, how):
    rows, cols = t.shape
    b0, b1 = how["block"] or (rows, cols)
    pad = torch.nn.functional.pad(t, (0, -cols % b1, 0, -rows % b0))
    blocks = pad.view(pad.shape[0] // b0, b0, pad.shape[1] // b1, b1)
    scale = blocks.abs().amax((1, 3)) / 448
    if how["scale"] == "ue8m0":
        scale = scale.log2().ceil().exp2().to(torch.float8_e8m0fnu)
    else:
        scale = scale.to(DTYPES[how["scale"]])
    wide = scale.float().repeat_interleave(b0, 0).repeat_interleave(b1, 1)[:rows, :cols]
    q = (t / wide).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {key: q, key + "_scale_inv": scale if how["block"] else scale.reshape(())}, q.float() * wide


def packed(module, t, how):
    """pack-quantized, by compressed-tensors' own functions; the meant value is its dequantization in float32."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    rows, cols = t.shape
    bits, group, symmetric = how["bits"], how["group"], how.get("symmetric", True)
    args = QuantizationArgs(**weight_args(dict(how, actorder=None)))
    order = torch.arange(cols)
    if how.get("actorder") == "group":  # columns keep their places, groups are scattered over them
        order = torch.randperm(cols, generator=torch.Generator().manual_seed(rows * 1000 + cols))
    x = t[:, order]
    view = x.reshape(rows, -1, group) if isinstance(group, int) else x.reshape((1, 1, -1) if group == "tensor" else (rows, 1, cols))
    top = 2 ** (bits - 1)
    dtype = DTYPES[how.get("scale", "bf16")]
    if symmetric:
        scale, zero = (view.abs().amax(-1) / (top - 0.5)).to(dtype), None
    else:
        low, high = view.amin(-1).clamp(max=0), view.amax(-1).clamp(min=0)
        scale = ((high - low) / (2 * top - 1)).to(dtype)
        zero = (-top - low / scale.float()).round().clamp(-top, top - 1).to(torch.int8)
    if group == "tensor":
        scale, zero = scale.reshape(1), None if symmetric else zero.reshape(1)
    q = quantize(x, scale.float(), zero, args, dtype=torch.int8)[:, order.argsort()]
    pieces = {module + ".weight_packed": pack_to_int32(q, bits), module + ".weight_scale": scale,
              module + ".weight_shape": torch.tensor([rows, cols])}
    if zero is not None:
        pieces[module + ".weight_zero_point"] = zero if group == "tensor" else pack_to_int32(zero, bits, packed_dim=0)
    if how.get("actorder") == "group":
        pieces[module + ".weight_g_idx"] = (order.argsort() // group).to(torch.int32)
    back = unpack_from_int32(pieces[module + ".weight_packed"], bits, (rows, cols))
    return pieces, dequantize(back[:, order], scale.float(), zero, args)[:, order.argsort()]


def mxfp4(module, t, how):
    """mxfp4-pack-quantized, likewise. Scales are the OCP Microscaling specification's: the largest exponent less e2m1's."""
    from compressed_tensors.compressors.mxfp4 import MXFP4PackedCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationScheme
    scheme = QuantizationScheme(targets=how["targets"], weights=weight_args(how))
    scale = (t.reshape(len(t), -1, 32).abs().amax(-1).log2().floor() - 2).exp2()
    pieces = MXFP4PackedCompressor.compress({"weight": t, "weight_scale": scale}, scheme)
    values = unpack_fp4_from_uint8(pieces["weight_packed"], *t.shape, dtype=torch.float32)
    wide = (pieces["weight_scale"].float() - 127).exp2().repeat_interleave(32, 1)
    return {f"{module}.{k}": v for k, v in pieces.items()}, values * wide


def weight_args(how):
    if "mxfp4" in how:
        return dict(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, dynamic=False,
                    scale_dtype="torch.uint8")
    group = how["group"]
    return dict(num_bits=how["bits"], type="int", symmetric=how.get("symmetric", True),
                strategy="group" if isinstance(group, int) else group, group_size=group if isinstance(group, int) else None,
                dynamic=False, actorder=how.get("actorder"), observer="minmax", block_structure=None)


def quantization_config(how):
    if "fp8" in how:
        f = how["fp8"]
        config = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=f["block"])
        if f["keep"]:
            config["modules_to_not_convert"] = f["keep"]
        return dict(config, scale_fmt="ue8m0") if f["scale"] == "ue8m0" else config
    formats = ["mxfp4-pack-quantized" if "mxfp4" in g else "pack-quantized" for g in how["int"]]
    mixed = len(set(formats)) > 1
    return dict(quant_method="compressed-tensors", format="mixed-precision" if mixed else formats[0],
                quantization_status="compressed", ignore=how["ignore"], config_groups={
                    f"group_{i}": dict(targets=g["targets"], weights=weight_args(g), input_activations=None,
                                       output_activations=None, **(dict(format=formats[i]) if mixed or "mxfp4" in g else {}))
                    for i, g in enumerate(how["int"])})


def mtp(stored, config):
    """A layer after the last, as DeepSeek-V3 publishes its multi-token prediction module."""
    last, new = f"model.layers.{config.num_hidden_layers - 1}.", f"model.layers.{config.num_hidden_layers}."
    layer = {new + k[len(last):]: t.clone() for k, t in stored.items() if k.startswith(last)}
    h = torch.randn(config.hidden_size, 2 * config.hidden_size).bfloat16()
    return dict(layer, **{new + "embed_tokens.weight": stored["model.embed_tokens.weight"].clone(),
                          new + "shared_head.head.weight": stored["lm_head.weight"].clone(),
                          new + "shared_head.norm.weight": stored["model.norm.weight"].clone(),
                          new + "enorm.weight": stored["model.norm.weight"].clone(),
                          new + "hnorm.weight": stored["model.norm.weight"].clone(), new + "eh_proj.weight": h})


def write(path, stored, shards):
    for f in os.listdir(path):
        if f.startswith("model"):
            os.remove(os.path.join(path, f))
    if shards == 1:
        return save_file(stored, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    weight_map = {}
    for i in range(shards):
        part = {k: t for n, (k, t) in enumerate(sorted(stored.items())) if n * shards // len(stored) == i}
        name = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file(part, os.path.join(path, name), metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, name))
    total = sum(t.numel() * t.element_size() for t in stored.values())
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump(dict(metadata=dict(total_size=total), weight_map=weight_map), f, indent=2)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cases = json.load(open(sys.argv[1]))["models"]
    for case in cases:
        if len(sys.argv) == 3 or case["name"] in sys.argv[3:]:
            s = make(case, os.path.join(sys.argv[2], case["name"]))
            print(f"{case['name']}: logits std {s['std']:.3f}, smallest greedy margin {s['greedy']:.4f}, smallest routing "
                  f"margin {s['router']:.5f}, distinct greedy tokens {s['tokens']}, experts used {s['experts']}"
                  + ("" if s["moved"] is None else f", without the switch logits move by {s['moved']:.3f}"), flush=True)
