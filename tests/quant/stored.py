"""What a quantized folder holds, read without the libraries that define the formats: a dequantizer to float32, and
what quantization_config promises against the tensors that are there."""
import json
import os
import re

import torch
from safetensors.torch import load_file

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
# Layers that engines merge into one matrix: their parts need one way of storing.
MERGED = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("w1", "w3"), ("q_a_proj", "kv_a_proj_with_mqa")]


def read_config(folder):
    with open(os.path.join(folder, "config.json")) as f:
        return json.load(f)


def read_tensors(folder):
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors") and name != "expected.safetensors":
            tensors.update(load_file(os.path.join(folder, name)))
    return tensors


def integers(packed, bits, cols):
    """Values of `bits` each, the lowest bits of a word first; stored with an offset, as compressed-tensors does."""
    words = packed.to(torch.int64) & 0xFFFFFFFF
    values = torch.stack([words >> shift & 2**bits - 1 for shift in range(0, 32, bits)], dim=-1)
    return values.flatten(1)[:, :cols] - 2 ** (bits - 1)


def e2m1(packed):
    """Two values a byte, the low half first: a sign and an index of E2M1."""
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(1).long()
    return E2M1[codes & 7] * torch.where(codes > 7, -1.0, 1.0)


def widen(scales, shape, block):
    """Scales of blocks [rows, cols], one for each value; the last blocks may be partial."""
    return scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:shape[0], :shape[1]]


class Matrix:
    """One linear layer as it is stored: `kind` as in "int4 group 32", or "plain"; `value` float32."""

    def __init__(self, module, tensors, config):
        self.module = module
        part = lambda suffix: tensors.get(module + suffix)
        if part(".weight_packed") is None:
            self._plain_or_fp8(part(".weight"), part(".weight_scale_inv"), config)
        elif part(".weight_packed").dtype == torch.uint8:
            self.kind = "mxfp4"
            values, exponents = e2m1(part(".weight_packed")), part(".weight_scale").float() - 127
            self.value = values * widen(exponents.exp2(), values.shape, (1, 32))
        else:
            self._integers(part(".weight_packed"), part(".weight_scale").float(), part(".weight_shape").tolist())

    def _plain_or_fp8(self, weight, scales, config):
        self.kind, self.value = "plain", weight.float()
        if scales is not None:
            block = config["quantization_config"]["weight_block_size"]
            self.kind = "fp8 {}x{}".format(*block)
            self.value = self.value * widen(scales.float(), weight.shape, block)
            # transformers takes the sides of a block from the shapes, so they must come out as these
            self.sides_derived = all(grid == 1 or side % 128 == 0 for side, grid in zip(weight.shape, scales.shape))

    def _integers(self, packed, scales, shape):
        bits = 4 if packed.shape[1] == -(-shape[1] // 8) else 8
        group = shape[1] // scales.shape[1]
        self.kind = f"int{bits} group {group}"
        self.value = integers(packed, bits, shape[1]) * widen(scales, shape, (1, group))


def matrices(folder):
    """The linear layers of a folder, routers and the output head included, embeddings not."""
    config, tensors = read_config(folder), read_tensors(folder)
    modules = {key.removesuffix(".weight").removesuffix(".weight_packed") for key, t in tensors.items()
               if t.dim() == 2 and key.endswith((".weight", ".weight_packed")) and "embed_tokens" not in key}
    return {module: Matrix(module, tensors, config) for module in sorted(modules)}


def plain_tensors(folder, linear):
    """All tensors of the folder as float32 and without quantization; `linear` from matrices()."""
    parts = (".weight_packed", ".weight_scale", ".weight_shape", ".weight_scale_inv")
    plain = {key: t.float() for key, t in read_tensors(folder).items() if not key.endswith(parts)}
    plain.update({module + ".weight": m.value.contiguous() for module, m in linear.items()})
    return plain


def matches(module, patterns):
    """compressed-tensors' rule for a linear layer: its name, "re:" and a pattern of the name's beginning, its class."""
    return any(re.match(p[3:], module) if p.startswith("re:") else p in (module, "Linear") for p in patterns)


def config_group(config, module):
    """The config group that a linear layer is stored by; None: it is plain."""
    quantization = config["quantization_config"]
    if matches(module, quantization["ignore"]):
        return None
    return next((name for name, g in quantization["config_groups"].items() if matches(module, g["targets"])), None)


def kind_by_config(config, module, cols):
    name = config_group(config, module)
    if name is None:
        return "plain"
    weights = config["quantization_config"]["config_groups"][name]["weights"]
    if weights["type"] == "float":
        return "mxfp4"
    return f"int{weights['num_bits']} group {cols if weights['strategy'] == 'channel' else weights['group_size']}"


def config_faults(config, linear):
    """Lines about what quantization_config says and the tensors do not, or the reverse."""
    quantization = config["quantization_config"]
    if quantization["quant_method"] == "fp8":
        kept = quantization.get("modules_to_not_convert") or []
        return [f"{m}: plain, and not in modules_to_not_convert" for m, matrix in linear.items() if matrix.kind == "plain"
                and not m.endswith(("lm_head", "mlp.gate", "block_sparse_moe.gate")) and m not in kept]
    faults = []
    for module, matrix in linear.items():
        said = kind_by_config(config, module, matrix.value.shape[1])
        if matrix.kind != said:
            faults.append(f"{module}: {matrix.kind}, by quantization_config {said}")
    return faults


def merged_faults(linear):
    """Lines about parts of one merged matrix that are stored in different ways."""
    faults = []
    for module in linear:
        parent, _, name = module.rpartition(".")
        for parts in MERGED:
            kinds = {linear[f"{parent}.{p}"].kind for p in parts if f"{parent}.{p}" in linear}
            if name == parts[0] and len(kinds) > 1:
                faults.append(f"{parent}: {', '.join(parts)} are stored as {', '.join(sorted(kinds))}")
    return faults
