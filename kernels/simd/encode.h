// Encoders of encode.h; scalar_encode.cpp is the definition, in the same order and with the same results.
// Sixteen columns at a time, whatever a vector holds, and a search tries encode_batch scales in one pass.
#pragma once

#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t sum_lanes = 16;

constexpr std::uint32_t bits_of(float v) {
  return __builtin_bit_cast(std::uint32_t, v);
}
constexpr float float_of(std::uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}
constexpr float power_of_two(int n) {
  return float_of(static_cast<std::uint32_t>(n + 127) << 23);
}

template <class V>
constexpr std::size_t parts = sum_lanes / V::lanes;

// use(load, p, c) for each vector of columns c in [0, n), where load(array + c) loads it, with zeros behind
// n, and p tells which part of sum_lanes it is.
template <class V, class Use>
[[gnu::always_inline]] inline void for_vectors(std::size_t n, const Use& use) {
  std::size_t c = 0;
  for (; c + sum_lanes <= n; c += sum_lanes) {
    unrolled<parts<V>>([&](auto p) __attribute__((always_inline)) {
      use(
          [](const float* at) __attribute__((always_inline)) { return V::load(at); }, p, c + p * V::lanes,
          V::lanes);
    });
  }
  if (c == n) return;
  unrolled<parts<V>>([&](auto p) __attribute__((always_inline)) {
    const std::size_t at = c + p * V::lanes;
    if (at >= n) return;
    const std::size_t count = smaller(n - at, V::lanes);
    use(
        [count](const float* from) __attribute__((always_inline)) { return V::load(from, count); }, p, at,
        count);
  });
}

// The sums of encode_batch times parts vectors.
template <class V>
[[gnu::always_inline]] inline void batch_sums(const typename V::F* sum, float* out) {
  typename V::F whole[encode_batch];
  unrolled<encode_batch>([&](auto k) {
    whole[k] = parts<V> == 1 ? sum[k] : V::add(sum[k * parts<V>], sum[k * parts<V> + parts<V> - 1]);
  });
  V::sum4(whole[0], whole[1], whole[2], whole[3], out);
}

// Rounded to the plain type.
template <class V, Format plain>
[[gnu::always_inline]] inline typename V::F plain_rounded(typename V::F v) {
  if constexpr (plain == Format::bf16) {
    const auto bits = V::bits(v);
    const auto odd = V::and_bits(V::template shift_right<16>(bits), V::ints(1));
    const auto rounded = V::add_ints(V::add_ints(bits, V::ints(0x7fff)), odd);
    return V::from_bits(V::and_bits(rounded, V::ints(static_cast<int>(0xffff0000u))));
  } else if constexpr (plain == Format::f16) {
    return V::rounded_f16(v);
  } else {
    return v;
  }
}

constexpr float epsilon(Format plain) {
  return plain == Format::bf16 ? 0x1p-7f : plain == Format::f16 ? 0x1p-10f : 0x1p-23f;
}

template <class V, Format plain>
[[gnu::always_inline]] inline float plain_rounded_one(float v) {
  return V::first(plain_rounded<V, plain>(V::set1(v)));
}

template <class V, Format plain>
[[gnu::always_inline]] inline void store_plain(float v, std::byte* to) {
  if constexpr (plain == Format::f32) {
    std::memcpy(to, &v, sizeof v);
  } else {
    const std::uint16_t bits =
        plain == Format::bf16 ? static_cast<std::uint16_t>(bits_of(v) >> 16) : V::f16_bits(v);
    std::memcpy(to, &bits, sizeof bits);
  }
}

// The nearest number with `mantissa` bits behind the point and an exponent of at least `least`, ties to even:
// adding 1.5 * 2^(23 - mantissa) times its power of two leaves no room for more bits.
template <class V, int mantissa, int least>
[[gnu::always_inline]] inline typename V::F rounded_to(typename V::F v) {
  const auto exponent =
      V::max_ints(V::and_bits(V::bits(v), V::ints(0x7f800000)), V::ints((127 + least) << 23));
  const auto shift = V::add_ints(exponent, V::ints(((23 - mantissa) << 23) + 0x400000));
  const typename V::F room = V::from_bits(shift);
  return V::sub(V::add(v, room), room);
}

// Its code without the sign: exponent and mantissa, moved together. What has no exponent gets one by adding.
template <class V, int mantissa, int least>
[[gnu::always_inline]] inline typename V::I code_of(typename V::F value) {
  using F = typename V::F;
  const F magnitude = V::from_bits(V::and_bits(V::bits(value), V::ints(0x7fffffff)));
  const F smallest = V::set1(power_of_two(least));
  const F normal = V::where_less(magnitude, smallest, V::add(magnitude, smallest), magnitude);
  const F bias = V::where_less(magnitude, smallest, V::from_bits(V::ints((127 + least) << mantissa)),
                               V::from_bits(V::ints((126 + least) << mantissa)));
  return V::sub_ints(V::template shift_right<23 - mantissa>(V::bits(normal)), V::bits(bias));
}

template <class V>
[[gnu::always_inline]] inline typename V::F clamped(typename V::F v, float low, float high) {
  return V::min(V::max(v, V::set1(low)), V::set1(high));
}

// A scale and its inverse, in every lane.
template <class V>
struct Scale {
  typename V::F scale;
  typename V::F inverse;
};

template <class V>
[[gnu::always_inline]] inline Scale<V> scale_of(float scale) {
  return {V::set1(scale), V::set1(1.0f / scale)};
}

template <class V, Format plain_type, unsigned bits>
struct Integer {
  using F = typename V::F;
  static constexpr Format plain = plain_type;
  static constexpr float half = static_cast<float>((1 << bits) - 1) / 2;
  static constexpr EncodeRatios ratios = bits == 4 ? int4_ratios : int8_ratios;
  static constexpr bool nibbles = bits == 4;
  static constexpr bool steps = false;
  static constexpr std::size_t scale_bytes = plain == Format::f32 ? 4 : 2;
  static constexpr auto encode_odd = bits == 4 ? encode_odd_int4 : encode_odd_int8;

  static float base(float top) { return top / half; }
  static float first_scale(float top) {
    const float scale = plain_rounded_one<V, plain>(base(top));
    return scale == 0 ? epsilon(plain) : scale;
  }
  static F rounded_scale(F scale) { return plain_rounded<V, plain>(scale); }
  // A quotient of two numbers of 8 bits is no tie of bf16 and far from the next one: x * (1 / scale) rounds
  // to the same.
  static F first_value(F x, const Scale<V>& s) {
    const F quotient = plain == Format::bf16 ? V::mul(x, s.inverse) : V::div(x, s.scale);
    return clamp(V::round(plain_rounded<V, plain>(quotient)));
  }
  static F value(F x, const Scale<V>& s) {
    const F room = V::set1(0x1.8p23f);
    return clamp(V::sub(V::fma(x, s.inverse, room), room));
  }
  static typename V::I code(F, F value, const Scale<V>&) {
    return V::add_ints(V::to_ints(value), V::ints(1 << (bits - 1)));
  }
  static void store(float scale, std::byte* to) { store_plain<V, plain>(scale, to); }

 private:
  static F clamp(F v) { return clamped<V>(v, -half - 0.5f, half - 0.5f); }
};

template <class V, Format plain_type>
struct Fp8 {
  using F = typename V::F;
  static constexpr Format plain = plain_type;
  static constexpr EncodeRatios ratios = fp8_ratios;
  static constexpr bool nibbles = false;
  static constexpr bool steps = false;
  static constexpr std::size_t scale_bytes = 4;
  static constexpr auto encode_odd = encode_odd_fp8;

  static float base(float top) { return top / 448.0f; }
  static float first_scale(float top) { return base(top); }
  static F rounded_scale(F scale) { return scale; }
  static F first_value(F x, const Scale<V>& s) { return rounded(V::div(x, s.scale)); }
  static F value(F x, const Scale<V>& s) { return rounded(V::mul(x, s.inverse)); }
  static typename V::I code(F x, F value, const Scale<V>&) {
    const auto sign = V::and_bits(V::template shift_right<24>(V::bits(x)), V::ints(0x80));
    return V::add_ints(code_of<V, 3, -6>(value), sign);
  }
  static void store(float scale, std::byte* to) { std::memcpy(to, &scale, sizeof scale); }

 private:
  static F rounded(F v) { return rounded_to<V, 3, -6>(clamped<V>(v, -448.0f, 448.0f)); }
};

template <class V, Format plain_type>
struct Mxfp4 {
  using F = typename V::F;
  static constexpr Format plain = plain_type;
  static constexpr bool nibbles = true;
  static constexpr bool steps = true;
  static constexpr std::size_t scale_bytes = 1;
  static constexpr auto encode_odd = encode_odd_mxfp4;

  static float first_scale(float top) {
    if (plain == Format::f16) {
      const int exponent = (V::f16_bits(top) + 0x100) >> 10;
      return exponent == 0 ? 1.0f : power_of_two(exponent - 17);
    }
    return power_of_two(static_cast<int>((bits_of(top) + 0x200000u) >> 23) - 129);
  }
  static F first_value(F x, const Scale<V>& s) { return value(x, s); }  // dividing by 2^n is exact
  static F value(F x, const Scale<V>& s) { return rounded(V::mul(x, s.inverse)); }
  static typename V::I code(F x, F value, const Scale<V>& s) {
    constexpr float least = plain == Format::f16 ? 0x1p-25f : plain == Format::bf16 ? 0x1p-134f : 0.0f;
    const F sign = V::where_less(V::mul(x, s.inverse), V::set1(-least), V::from_bits(V::ints(8)), V::set1(0));
    return V::add_ints(code_of<V, 1, 0>(value), V::bits(sign));
  }
  static void store(float scale, std::byte* to) { *to = static_cast<std::byte>(bits_of(scale) >> 23); }

 private:
  static F rounded(F v) { return rounded_to<V, 1, 0>(clamped<V>(v, -6.0f, 6.0f)); }
};

// The weights that share a scale.
template <class V, class Code, bool weighed>
class WeightGroup {
  using F = typename V::F;

 public:
  WeightGroup(const EncodeArgs& args, std::size_t first) : a(args), begin(first) {}

  [[gnu::always_inline]] void encode() const {
    alignas(64) float sums[encode_batch];
    const float top = measure(sums);
    EncodeSums& result = a.sums[begin / a.group];
    if (!(top >= encode_least && top <= encode_most)) return Code::encode_odd(a, begin, top);
    float scale = Code::first_scale(top);
    F error[encode_batch * parts<V>];
    clear(error);
    write<true>(scale_of<V>(scale), error);
    const float norm = sums[0];
    batch_sums<V>(error, sums);
    Best best{sums[0], scale};
    if (a.search) {
      search(top, best);
      if (best.other) {
        scale = best.scale;
        write<false>(scale_of<V>(scale), error);
      }
    }
    Code::store(scale, a.scales + begin / a.group * Code::scale_bytes);
    result = {best.error, norm};
  }

 private:
  const EncodeArgs& a;
  const std::size_t begin;

  struct Best {
    float error;
    float scale;
    bool other = false;  // than the first
    float ratio = 1;
  };

  [[gnu::always_inline]] static void clear(F* sums) {
    unrolled<encode_batch * parts<V>>([&](auto i) { sums[i] = V::set1(0); });
  }

  // use(x, importance, p, at, lanes) for each vector, `at` being its row and column.
  template <class Use>
  [[gnu::always_inline]] void each(const Use& use) const {
    for (std::size_t r = 0; r < a.rows; ++r) {
      const float* x = a.x + r * a.x_stride + begin;
      for_vectors<V>(
          a.group, [&](const auto& load, auto p, std::size_t c, std::size_t count)
                       __attribute__((always_inline)) {
                         F weight = V::set1(1);
                         if constexpr (weighed) weight = load(a.importance + begin + c);
                         use(load(x + c), weight, p, r, begin + c, count);
                       });
    }
  }

  // sum + weight * v^2
  [[gnu::always_inline]] static F add_square(F v, F weight, F sum) {
    return V::fma(weighed ? V::mul(weight, v) : v, v, sum);
  }

  // The largest magnitude; sums[0] = the sum of squares. NaN's bits are larger than infinity's.
  [[gnu::always_inline]] float measure(float* sums) const {
    typename V::I top[parts<V>];
    F squares[encode_batch * parts<V>];
    clear(squares);
    unrolled<parts<V>>([&](auto p) { top[p] = V::ints(0); });
    each([&](F x, F weight, auto p, std::size_t, std::size_t, std::size_t) __attribute__((always_inline)) {
      top[p] = V::max_ints(top[p], V::and_bits(V::bits(x), V::ints(0x7fffffff)));
      squares[p] = add_square(x, weight, squares[p]);
    });
    batch_sums<V>(squares, sums);
    return float_of(V::largest_int(V::max_ints(top[0], top[parts<V> - 1])));
  }

  // Codes by a scale; for the first one also sums of squared errors into error[0, parts).
  template <bool first>
  [[gnu::always_inline]] void write(const Scale<V>& s, F* error) const {
    each([&](F x, F weight, auto p, std::size_t r, std::size_t c, std::size_t count)
             __attribute__((always_inline)) {
               const F value = first ? Code::first_value(x, s) : Code::value(x, s);
               if constexpr (first) error[p] = add_square(V::fnma(value, s.scale, x), weight, error[p]);
               std::uint8_t* codes =
                   Code::nibbles ? a.scratch : reinterpret_cast<std::uint8_t*>(a.values + r * a.value_stride);
               V::store_codes(codes + c, Code::code(x, value, s), count);
             });
  }

  // errors[k] of encode_batch scales.
  [[gnu::always_inline]] void batch_errors(const float* scales, const float* inverses, float* errors) const {
    F sum[encode_batch * parts<V>];
    Scale<V> s[encode_batch];
    clear(sum);
    unrolled<encode_batch>([&](auto k) { s[k] = {V::set1(scales[k]), V::set1(inverses[k])}; });
    each([&](F x, F weight, auto p, std::size_t, std::size_t, std::size_t) __attribute__((always_inline)) {
      unrolled<encode_batch>([&](auto k) __attribute__((always_inline)) {
        const F error = V::fnma(Code::value(x, s[k]), s[k].scale, x);
        F& total = sum[k * parts<V> + p];
        total = add_square(error, weight, total);
      });
    });
    batch_sums<V>(sum, errors);
  }

  // Tries `count` scales, in whole vectors, and keeps the first of the best.
  template <std::size_t count>
  [[gnu::always_inline]] void try_scales(const float* scales, const float* inverses, const float* ratios,
                                         Best& best) const {
    constexpr std::size_t room = (count + V::lanes - 1) / V::lanes * V::lanes;
    alignas(64) float errors[room];
    if constexpr (room != count) {
      for (std::size_t i = 0; i < room; i += V::lanes) V::store(errors + i, V::set1(__builtin_inff()));
    }
    for (std::size_t k = 0; k < count; k += encode_batch) batch_errors(scales + k, inverses + k, errors + k);
    // A scale that vanished is none.
    const F none = V::set1(__builtin_inff());
    F least = none;
    for (std::size_t i = 0; i < room; i += V::lanes) {
      const F possible = V::where_less(V::set1(0), V::load(scales + i), V::load(errors + i), none);
      V::store(errors + i, possible);
      least = V::min(possible, least);
    }
    const float error = V::minimum(least);
    if (!(error < best.error)) return;
    std::size_t k = 0;
    while (V::equal(V::load(errors + k), error) == 0) k += V::lanes;
    k += static_cast<std::size_t>(__builtin_ctz(V::equal(V::load(errors + k), error)));
    best = {error, scales[k], true, ratios ? ratios[k] : 1.0f};
  }

  // Scales of `count` ratios, in whole vectors, and their inverses.
  template <std::size_t count>
  [[gnu::always_inline]] static void scales_of(const float* ratios, float base, float* scales,
                                               float* inverses) {
    for (std::size_t i = 0; i < count; i += V::lanes) {
      const F scale = Code::rounded_scale(V::mul(V::load(ratios + i), V::set1(base)));
      V::store(scales + i, scale);
      V::store(inverses + i, V::div(V::set1(1), scale));
    }
  }

  [[gnu::always_inline]] void search(float top, Best& best) const {
    alignas(64) float scales[sum_lanes];
    alignas(64) float inverses[sum_lanes];
    if constexpr (Code::steps) {
      for (std::size_t k = 0; k < sum_lanes; ++k) {
        scales[k] = best.scale * power_of_two(mxfp4_steps[k % encode_batch]);
        inverses[k] = 1.0f / scales[k];
      }
      try_scales<encode_batch>(scales, inverses, nullptr, best);
    } else {
      constexpr EncodeRatios tried = Code::ratios;
      constexpr std::size_t count = tried.batches * encode_batch;
      static_assert(count <= sum_lanes);
      alignas(64) static constexpr auto coarse = coarse_ratios(tried);
      const float base = Code::base(top);
      scales_of<sum_lanes>(coarse.ratio, base, scales, inverses);
      try_scales<count>(scales, inverses, coarse.ratio, best);
      if constexpr (tried.fine == 0) return;
      alignas(64) float fine[sum_lanes];
      for (std::size_t k = 0; k < sum_lanes; ++k)
        fine[k] = best.ratio + fine_steps[k % encode_batch] * tried.fine;
      scales_of<sum_lanes>(fine, base, scales, inverses);
      try_scales<encode_batch>(scales, inverses, fine, best);
    }
  }

  struct Coarse {
    float ratio[sum_lanes];
  };
  static constexpr Coarse coarse_ratios(const EncodeRatios& tried) {
    Coarse made{};
    for (std::size_t i = 0; i < sum_lanes; ++i)
      made.ratio[i] = tried.first - static_cast<float>(i) * tried.step;
    return made;
  }
  static constexpr float fine_steps[encode_batch] = {2, 1, -1, -2};
};

template <class V, class Code, bool weighed>
void encode_groups(const EncodeArgs& a) {
  for (std::size_t c = 0; c < a.cols; c += a.group) WeightGroup<V, Code, weighed>(a, c).encode();
}

template <class V, template <class, Format> class Code>
void encode(const EncodeArgs& a) {
  const auto run = [&]<Format plain>() {
    return a.importance ? encode_groups<V, Code<V, plain>, true>(a)
                        : encode_groups<V, Code<V, plain>, false>(a);
  };
  if (a.plain == Format::bf16) {
    run.template operator()<Format::bf16>();
  } else if (a.plain == Format::f16) {
    run.template operator()<Format::f16>();
  } else {
    run.template operator()<Format::f32>();
  }
  if constexpr (Code<V, Format::f32>::nibbles) V::pack_nibbles(a);
}

template <class V, Format plain>
using Int4 = Integer<V, plain, 4>;
template <class V, Format plain>
using Int8 = Integer<V, plain, 8>;

template <class V>
void encode_int8(const EncodeArgs& a) {
  encode<V, Int8>(a);
  std::memset(a.values + a.cols, 0, a.value_stride - a.cols);
}

template <class V>
constexpr Encoders encoders = {
    .int4 = encode<V, Int4>, .int8 = encode_int8<V>, .fp8 = encode<V, Fp8>, .mxfp4 = encode<V, Mxfp4>};

}  // namespace
}  // namespace baleen::kernels
