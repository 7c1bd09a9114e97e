// Vector exp and the kernels that go through one row of activations.
#pragma once

#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

// exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2) / 2; ln 2 in two parts, so that n times the
// first is exact. Polynomial of Cephes' expf. NaN stays: min and max give their second operand when there is
// one. Below e^-87, where float32's subnormal numbers begin, the result is 0: making one takes an x86 CPU as
// long as forty instructions, and a softmax is full of them.
template <class V>
typename V::F exp(typename V::F x) {
  using F = typename V::F;
  const F least = V::set1(-87.0f);
  const F wanted = x;
  x = V::max(least, V::min(V::set1(89.0f), x));  // above, the result is infinity
  const F n = V::round(V::mul(x, V::set1(1.44269504088896341f)));
  F r = V::fma(n, V::set1(-0.693145751953125f), x);
  r = V::fma(n, V::set1(-1.428606765330187e-06f), r);
  F p = V::set1(1.9875691500e-4f);
  p = V::fma(p, r, V::set1(1.3981999507e-3f));
  p = V::fma(p, r, V::set1(8.3334519073e-3f));
  p = V::fma(p, r, V::set1(4.1665795894e-2f));
  p = V::fma(p, r, V::set1(1.6666665459e-1f));
  p = V::fma(p, r, V::set1(5.0000001201e-1f));
  p = V::fma(p, V::mul(r, r), r);
  return V::zero_where_less(wanted, least, V::scale_by_power(V::add(p, V::set1(1.0f)), n));
}

// silu(gate) * up
template <class V>
[[gnu::always_inline]] inline typename V::F gated(typename V::F gate, typename V::F up) {
  const typename V::F silu = V::div(gate, V::add(V::set1(1.0f), exp<V>(V::sub(V::set1(0), gate))));
  return V::mul(silu, up);
}

template <class V>
void silu_mul(float* gate, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; i += V::lanes) {
    const std::size_t lanes = smaller(n - i, V::lanes);
    V::store(gate + i, gated<V>(V::load(gate + i, lanes), V::load(up + i, lanes)), lanes);
  }
}

template <class V>
void axpy(float a, const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; i += V::lanes) {
    const std::size_t lanes = smaller(n - i, V::lanes);
    V::store(y + i, V::fma(V::set1(a), V::load(x + i, lanes), V::load(y + i, lanes)), lanes);
  }
}

template <class V, Format gain_format>
void scale_by_gain(const float* x, const std::byte* gain, std::size_t width, float inverse, float* out) {
  const Group<V> unscaled = {};
  for (std::size_t i = 0; i < width; i += V::chunk) {
    const std::size_t count = smaller(width - i, V::chunk);
    typename V::F g[2];
    decode_tail<V, gain_format>(gain + value_bytes(gain_format, i), count, unscaled, g);
    for (std::size_t u = 0, at = i; u < 2 && at < i + count; ++u, at += V::lanes) {
      const std::size_t lanes = smaller(i + count - at, V::lanes);
      V::store(out + at, V::mul(g[u], V::mul(V::load(x + at, lanes), V::set1(inverse))), lanes);
    }
  }
}

template <class V>
void rms_norm(const float* x, const std::byte* gain, Format gain_format, std::size_t width, float eps,
              float* out) {
  typename V::F squares = V::set1(0);
  for (std::size_t i = 0; i < width; i += V::lanes) {
    const typename V::F v = V::load(x + i, smaller(width - i, V::lanes));
    squares = V::fma(v, v, squares);
  }
  const float inverse = 1.0f / V::sqrt(V::sum(squares) / static_cast<float>(width) + eps);
  if (gain_format == Format::f16) {
    scale_by_gain<V, Format::f16>(x, gain, width, inverse, out);
  } else if (gain_format == Format::bf16) {
    scale_by_gain<V, Format::bf16>(x, gain, width, inverse, out);
  } else {
    scale_by_gain<V, Format::f32>(x, gain, width, inverse, out);
  }
}

}  // namespace
}  // namespace baleen::kernels
