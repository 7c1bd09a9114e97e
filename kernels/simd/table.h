// The table of an instruction set that has its own V.
#pragma once

#include "kernels/simd/attention.h"
#include "kernels/simd/elementwise.h"
#include "kernels/simd/matmul.h"
#include "kernels/simd/peak.h"

namespace baleen::kernels {
namespace {

// The kernel that an instruction set has of its own for a matrix and a path; nullptr: the shared one.
using OwnKernel = const Matmul* (*)(Path, const Matrix&);

// kv_store and kv_load are the scalar reference's: a row is stored once, and loaded once for many products.
template <class V, OwnKernel own, Format... formats>
Kernels make_table() {
  return {.name = V::name,
          .matmul = [](Path path, const Matrix& m) -> const Matmul& {
            if constexpr (own != nullptr) {
              if (const Matmul* kernel = own(path, m)) return *kernel;
            }
            static constexpr Matmul list[] = {{&f32_packing, matmul<V, formats>}...};
            return list[static_cast<std::size_t>(m.format)];
          },
          .matmul_transposed = {{matmul_transposed<V, formats>...},
                                {matmul_transposed<V, formats>...},
                                {matmul_transposed<V, formats>...}},
          .widen_row = {widen_row<V, formats>...},
          .rms_norm = rms_norm<V>,
          .silu_mul = silu_mul<V>,
          .axpy = axpy<V>,
          .attention = {attention<V>, attention<V>, attention<V>},
          .attention_floats = block_attention_floats,
          .kv_store = scalar_kernels().kv_store,
          .kv_load = scalar_kernels().kv_load,
          .encode = V::encode,
          .peak = peak<V>};
}

// In the order of enum Format.
template <class V, OwnKernel own = nullptr>
Kernels table_of() {
  return make_table<V, own, Format::f32, Format::f16, Format::bf16, Format::fp8_e4m3, Format::int8,
                    Format::int4, Format::mxfp4>();
}

}  // namespace
}  // namespace baleen::kernels
