#!/usr/bin/env python3
"""Makes tests/golden/quant: what compressed-tensors' own quantizer stores of weights of every plain type.

    python3 make_quant_cases.py [--seed N] [--rows N] [OUT]      (compressed-tensors 0.20)

OUT/TYPE/expected.safetensors has the weights "even" [rows, 384] and "odd" [rows, 75], in TYPE, and of each what
every format that divides it stores: "even.int4.32.values" and "even.int4.32.scales"; and "blocks" [130, 150] for
fp8. The scales are those of calculate_qparams for the smallest and largest weight of a group, the values those of
the format's compressor. fp8, which compressed-tensors stores otherwise, is DeepSeek's rule by torch: scale =
maximum / 448 in float32 for blocks of 128 x 128, values cast to e4m3.
"""
import argparse
import pathlib

import torch
from compressed_tensors.compressors.mxfp4 import MXFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def weights(rows, cols, dtype, random):
    """Rows of many kinds: what a checkpoint holds, and what a quantizer may stumble over."""
    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def whole(low, high, *shape):
        return torch.randint(low, high + 1, shape, generator=random).double()

    info = torch.finfo(dtype)
    least = info.smallest_normal * info.eps  # the smallest number above zero
    kinds = [
        lambda: normal(cols) * 0.02,
        lambda: normal(cols) * torch.exp(normal(cols)),
        lambda: whole(-15, 15, cols) / 2,  # ties of int4: the scale is 1 where 7.5 is among them
        lambda: whole(-255, 255, cols) / 2,  # of int8
        lambda: whole(-24, 24, cols) / 4,  # of e2m1
        lambda: whole(-15, 15, cols) * torch.pow(2.0, whole(-8, 8, cols)),
        lambda: whole(-40, 40, cols) * least,
        lambda: whole(-3, 3, cols) * least,
        lambda: normal(cols) * info.smallest_normal,
        lambda: normal(cols).clamp(-4, 4) / 4 * info.max,
        lambda: torch.where(whole(0, 40, cols) == 0, normal(cols), torch.zeros(cols, dtype=torch.float64)),
        lambda: -torch.zeros(cols, dtype=torch.float64),
        lambda: normal(cols) * torch.pow(2.0, whole(-24, 4, cols)),  # far below the largest
        lambda: torch.pow(2.0, whole(-12, 12, 1)) * (1.75 + whole(-1, 1, cols) * info.eps),  # mxfp4's step
        lambda: normal(cols) * torch.pow(10.0, whole(-30, 30, 1)),
    ]
    made = torch.stack([kinds[r % len(kinds)]() for r in range(rows)])
    most = 0.85 * info.max  # beyond 0.875 the exponents of mxfp4 overflow
    return made.clamp(-most, most).to(dtype)


def groups(weight, size):
    values = weight.unflatten(-1, (-1, size))
    return values.amin(-1), values.amax(-1)


def integers(weight, bits, size):
    channel = size == weight.shape[1]
    args = QuantizationArgs(num_bits=bits, strategy="channel" if channel else "group",
                            group_size=None if channel else size)
    scales, zeros = calculate_qparams(*groups(weight, size), args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    stored = PackedQuantizationCompressor.compress(
        {"weight": weight, "weight_scale": scales, "weight_zero_point": zeros}, scheme)
    return stored["weight_packed"], stored["weight_scale"]


def mxfp4(weight):
    args = QuantizationArgs(num_bits=4, type="float", strategy="group", group_size=32, scale_dtype=torch.uint8)
    scales, _ = calculate_qparams(*groups(weight, 32), args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    stored = MXFP4PackedCompressor.compress({"weight": weight, "weight_scale": scales}, scheme)
    return stored["weight_packed"], stored["weight_scale"]


def fp8(weight):
    weight = weight.float()
    values = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    scales = torch.empty([(n + 127) // 128 for n in weight.shape])
    for r in range(scales.shape[0]):
        for c in range(scales.shape[1]):
            block = (slice(128 * r, 128 * r + 128), slice(128 * c, 128 * c + 128))
            scale = weight[block].abs().max() / 448
            scales[r, c] = scale if scale > 0 else torch.finfo(torch.float32).eps
            values[block] = (weight[block] / scales[r, c]).clamp(-448, 448).to(torch.float8_e4m3fn)
    return values.view(torch.uint8), scales


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=15)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent / "quant")
    options = parser.parse_args()
    random = torch.Generator().manual_seed(options.seed)
    for name, dtype in TYPES.items():
        tensors = {}
        for kind, cols, sizes in [("even", 384, [4, 24, 32, 64, 128, 384]), ("odd", 75, [5, 25, 75])]:
            weight = tensors[kind] = weights(options.rows, cols, dtype, random)
            for size in sizes:
                for bits in (4, 8):
                    stored = integers(weight, bits, size)
                    label = f"{kind}.int{bits}.{'channel' if size == cols else size}"
                    tensors[label + ".values"], tensors[label + ".scales"] = stored
        # Rows of one magnitude, or the largest would rule them all.
        tensors["blocks"] = weights(1, 150, dtype, random) * torch.linspace(0.5, 1, 130)[:, None].to(dtype)
        tensors["blocks.fp8.values"], tensors["blocks.fp8.scales"] = fp8(tensors["blocks"])
        tensors["even.mxfp4.values"], tensors["even.mxfp4.scales"] = mxfp4(tensors["even"])
        (options.out / name).mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in tensors.items()}, options.out / name / "expected.safetensors")


if __name__ == "__main__":
    main()
