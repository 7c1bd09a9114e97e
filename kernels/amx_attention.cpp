// Attention and transposed products on tiles: both are sums over rows of something stored row by row (values,
// weights), which a tile product wants as pairs of rows interleaved.
//
// Attention goes through a segment in three steps: scores of all its positions, one softmax, one weighted sum
// of values; nothing is rescaled on the way. Queries, keys, values and the softmax's weights are rounded to
// bf16, sums are float32. A position that a query does not see has weight 0, and blocks of positions lie at
// multiples of attention_block, so what a query gets depends on its own positions alone.
#include "kernels/amx.h"
#include "kernels/amx_tiles.h"
#include "kernels/simd/attention.h"
#include "kernels/simd/avx512.h"

namespace baleen::kernels {
namespace {

using V = Avx512;

// Queries that go through a segment together: two tiles of them.
constexpr std::size_t query_block = 32;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

std::byte* bytes_of(float* p) {
  return reinterpret_cast<std::byte*>(p);
}

// [n, 32] bf16 of two rows of 16 floats: the first row's in the even places, as a tile of pairs wants them.
__m512i interleave(__m512 first, __m512 second) {
  const __m512i halves = to_bf16(first, second);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

// A row's 64 bytes in each of the tiles that hold it.
struct TileRow {
  std::byte* first;

  std::byte* at(std::size_t col) const { return first + col / 32 * tile_bytes; }
};

// Row `row` of rows of `steps` tiles each.
TileRow tile_row(std::byte* tiles, std::size_t row, std::size_t steps) {
  return {tiles + row / 16 * steps * tile_bytes + row % 16 * 64};
}

// n floats as bf16, then zeros up to whole tiles.
void round_row(const float* x, std::size_t n, TileRow out) {
  for (std::size_t c = 0; c < n; c += 32)
    _mm512_storeu_si512(out.at(c), load_bf16(x + c, smaller(n - c, 32)));
}

void clear_row(std::size_t n, TileRow out) {
  for (std::size_t c = 0; c < n; c += 32) _mm512_storeu_si512(out.at(c), _mm512_setzero_si512());
}

// Rows of bf16 as tiles of pairs: rows 2i and 2i + 1 become pair i. Tiles [16 pairs][16 columns][2] of the
// same columns lie one after another, `steps` of them; this writes one pair.
void put_pair(TileRow first, TileRow second, std::size_t width, std::size_t pair, std::size_t steps,
              std::byte* tiles) {
  std::byte* out = tiles + pair * 64;
  const __m512i low_order = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i high_order = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (std::size_t c = 0; c < width; c += 32, out += 2 * steps * tile_bytes) {
    const __m512i x = _mm512_loadu_si512(first.at(c));
    const __m512i y = _mm512_loadu_si512(second.at(c));
    const __m512i low = _mm512_unpacklo_epi16(x, y);  // by 128-bit lanes: columns 0 to 3, 8 to 11, ...
    const __m512i high = _mm512_unpackhi_epi16(x, y);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi64(low, low_order, high));
    if (width - c > 16)
      _mm512_storeu_si512(out + steps * tile_bytes, _mm512_permutex2var_epi64(low, high_order, high));
  }
}

// c [16 * down, 16 * across] = a b, both in tiles: of each block of 16 rows (a) or columns (b) `steps` tiles
// one after another, and the blocks likewise. c: rows of float32, c_stride floats apart. down and across are
// 1 or 2.
template <std::size_t down, std::size_t across>
void multiply_block(const std::byte* a, const std::byte* b, std::size_t steps, float* c,
                    std::size_t c_stride) {
  zero_tile<0>();
  if constexpr (across > 1) zero_tile<1>();
  if constexpr (down > 1) zero_tile<2>();
  if constexpr (down > 1 && across > 1) zero_tile<3>();
  const std::size_t block_bytes = steps * tile_bytes;
  for (std::size_t k = 0; k < steps; ++k, a += tile_bytes, b += tile_bytes) {
    load_tile<4>(a);
    load_tile<6>(b);
    multiply_tiles<0, 4, 6>();
    if constexpr (across > 1) {
      load_tile<7>(b + block_bytes);
      multiply_tiles<1, 4, 7>();
    }
    if constexpr (down > 1) {
      load_tile<5>(a + block_bytes);
      multiply_tiles<2, 5, 6>();
      if constexpr (across > 1) multiply_tiles<3, 5, 7>();
    }
  }
  const std::size_t c_bytes = c_stride * sizeof(float);
  store_tile<0>(c, c_bytes);
  if constexpr (across > 1) store_tile<1>(c + 16, c_bytes);
  if constexpr (down > 1) store_tile<2>(c + 16 * c_stride, c_bytes);
  if constexpr (down > 1 && across > 1) store_tile<3>(c + 16 * c_stride + 16, c_bytes);
}

void multiply_block(const std::byte* a, const std::byte* b, std::size_t steps, float* c, std::size_t c_stride,
                    bool two_down, bool two_across) {
  if (two_down) {
    two_across ? multiply_block<2, 2>(a, b, steps, c, c_stride)
               : multiply_block<2, 1>(a, b, steps, c, c_stride);
  } else {
    two_across ? multiply_block<1, 2>(a, b, steps, c, c_stride)
               : multiply_block<1, 1>(a, b, steps, c, c_stride);
  }
}

// out[t][0, cols) = c[t][...] for count tokens; the scratch rows of c are 32 floats apart.
void store_block(const float* c, std::size_t count, std::size_t cols, float* out, std::size_t out_stride) {
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t i = 0; i < cols; i += 16) {
      const std::size_t n = smaller(cols - i, 16);
      V::store(out + t * out_stride + i, V::load(c + t * 32 + i), n);
    }
  }
}

// out [count, cols] = a b for up to 32 rows, a and b in tiles. block: 32 * 32 floats.
void weigh_rows(const std::byte* a, std::size_t count, const std::byte* b, std::size_t steps,
                std::size_t cols, float* out, std::size_t out_stride, float* block) {
  for (std::size_t c = 0; c < cols; c += 32) {
    const bool direct = count % 16 == 0 && cols - c >= 32;
    multiply_block(a, b + c / 16 * steps * tile_bytes, steps, direct ? out + c : block,
                   direct ? out_stride : 32, count > 16, cols - c > 16);
    if (!direct) store_block(block, count, smaller(cols - c, 32), out + c, out_stride);
  }
}

// What a call to attention keeps in scratch.
struct Segment {
  std::size_t begin;      // multiple of attention_block
  std::size_t positions;  // multiple of attention_block
  std::size_t key_steps;  // tiles that hold a key row
  std::byte* keys;        // tiles of [positions, k_dim]
  std::byte* values;      // tiles of pairs of positions of [positions, v_dim]
  std::byte* queries;     // tiles of pairs of columns of [k_dim, 32 queries]
  std::byte* weights;     // tiles of [32 queries, positions]
  float* scores;          // [positions, 32 queries]
  std::byte* value_rows;  // tiles of two rows of values
  float* widened;         // one row
  float* block;           // [32, 32] results
};

Segment lay_out(const AttentionArgs& a) {
  Segment s = {};
  s.begin = a.begin / attention_block * attention_block;
  s.positions = round_up(a.end - s.begin, attention_block);
  s.key_steps = round_up(a.k_dim, 32) / 32;
  std::byte* free = bytes_of(aligned(a.scratch));
  const auto take = [&](std::size_t bytes) {
    std::byte* begin = free;
    free += round_up(bytes, 64);
    return begin;
  };
  s.keys = take(s.positions / 16 * s.key_steps * tile_bytes);
  s.values = take(s.positions * round_up(a.v_dim, 16) * 2);
  s.queries = take(query_block / 16 * s.key_steps * tile_bytes);
  s.weights = take(query_block * s.positions * 2);
  s.scores = reinterpret_cast<float*>(take(query_block * s.positions * sizeof(float)));
  s.value_rows = take(round_up(a.v_dim, 32) / 32 * tile_bytes);
  s.widened = reinterpret_cast<float*>(take(round_up(larger(a.k_dim, a.v_dim), 32) * sizeof(float)));
  s.block = reinterpret_cast<float*>(take(32 * 32 * sizeof(float)));
  return s;
}

// A row of the KV cache as bf16, then zeros up to whole tiles. widened: room for padded(width).
void round_kv_row(KvFormat format, const std::byte* row, std::size_t width, float* widened, TileRow out) {
  if (format == KvFormat::bf16) {
    for (std::size_t c = 0; c < width; c += 32) {
      const auto words = static_cast<__mmask32>(width - c < 32 ? (1u << (width - c)) - 1 : ~0u);
      _mm512_storeu_si512(out.at(c), _mm512_maskz_loadu_epi16(words, row + 2 * c));
    }
    return;
  }
  const float* x = widened;
  if (format == KvFormat::f32 && reinterpret_cast<std::uintptr_t>(row) % alignof(float) == 0) {
    x = reinterpret_cast<const float*>(row);
  } else {
    widen_kv_row<V>(format, row, width, widened);
  }
  round_row(x, width, out);
}

// Keys and values of positions [a.begin, a.end) as tiles want them, zeros around. Returns whether every value
// is finite.
bool fill_segment(const AttentionArgs& a, const Segment& s) {
  const bool one_row = a.values == a.keys && a.value_row_bytes == a.key_row_bytes && a.v_dim <= a.k_dim;
  const std::size_t value_steps = round_up(a.v_dim, 32) / 32;
  __m512i largest = _mm512_setzero_si512();
  const auto fill_pair = [&](std::size_t p) {
    TileRow values[2];
    for (std::size_t i = 0; i < 2; ++i) {
      const std::size_t position = s.begin + p + i;
      const TileRow key = tile_row(s.keys, p + i, s.key_steps);
      const TileRow value = one_row ? key : tile_row(s.value_rows, i, value_steps);
      values[i] = value;
      if (position < a.begin || position >= a.end) {
        clear_row(a.k_dim, key);
        clear_row(a.v_dim, value);
        continue;
      }
      round_kv_row(a.kv_format, a.keys + position * a.key_row_bytes, a.k_dim, s.widened, key);
      if (!one_row)
        round_kv_row(a.kv_format, a.values + position * a.value_row_bytes, a.v_dim, s.widened, value);
      for (std::size_t c = 0; c < a.v_dim; c += 32) {
        const auto words = static_cast<__mmask32>(a.v_dim - c < 32 ? (1u << (a.v_dim - c)) - 1 : ~0u);
        const __m512i magnitude =
            _mm512_and_si512(_mm512_maskz_loadu_epi16(words, value.at(c)), _mm512_set1_epi16(0x7fff));
        largest = _mm512_max_epu16(largest, magnitude);
      }
    }
    put_pair(values[0], values[1], a.v_dim, p / 2, s.positions / 32, s.values);
  };
  // Four streams through the cache, for the reason given in simd/stream.h.
  constexpr std::size_t streams = 4;
  static_assert(attention_block % (2 * streams) == 0);
  const std::size_t share = s.positions / streams;
  for (std::size_t p = 0; p < share; p += 2) {
    for (std::size_t stream = 0; stream < streams; ++stream) fill_pair(stream * share + p);
  }
  constexpr int infinity = 0x7f80;
  return _mm512_cmpge_epu16_mask(largest, _mm512_set1_epi16(infinity)) == 0;
}

// Scores of 16 queries to their softmax's weights: weights[query][position] in bf16. The sum is of the
// rounded weights, those that will be multiplied.
void soften_tile(const AttentionArgs& a, const Segment& s, std::size_t q, std::size_t count,
                 std::size_t tile) {
  float* scores = s.scores + tile * 16;
  const auto lanes = V::low_lanes(count);
  const __m512i first = _mm512_maskz_loadu_epi32(lanes, a.first + q);
  const __m512i last = _mm512_maskz_loadu_epi32(lanes, a.last + q);
  const std::size_t all_begin = larger(a.begin, _mm512_reduce_max_epu32(first));  // what every query sees
  const std::size_t all_end = smaller(a.end, _mm512_reduce_min_epu32(last));
  const __m512 scale = V::set1(a.scale);
  __m512 maximum = V::set1(minus_infinity);
  for (std::size_t p = 0; p < s.positions; ++p) {
    const std::size_t position = s.begin + p;
    __mmask16 sees = 0xffff;
    if (position < all_begin || position >= all_end) {
      const __m512i here = _mm512_set1_epi32(static_cast<int>(position));
      sees = _mm512_cmple_epu32_mask(first, here) & _mm512_cmpgt_epu32_mask(last, here);
      if (position < a.begin || position >= a.end) sees = 0;
    }
    const __m512 score =
        _mm512_mask_mul_ps(V::set1(minus_infinity), sees, V::load(scores + p * query_block), scale);
    V::store(scores + p * query_block, score);
    maximum = V::max(score, maximum);
  }
  const __mmask16 none = _mm512_cmpeq_ps_mask(maximum, V::set1(minus_infinity));
  const __m512 shift = _mm512_mask_mov_ps(maximum, none, V::set1(0));
  __m512 sums[2] = {V::set1(0), V::set1(0)};
  for (std::size_t p = 0; p < s.positions; p += 32) {
    __m512i pairs[16];  // [pair of positions][query]
    for (std::size_t i = 0; i < 16; ++i) {
      const float* two = scores + (p + 2 * i) * query_block;
      pairs[i] =
          interleave(exp<V>(V::sub(V::load(two), shift)), exp<V>(V::sub(V::load(two + query_block), shift)));
      sums[0] = V::add(sums[0], _mm512_castsi512_ps(_mm512_slli_epi32(pairs[i], 16)));
      sums[1] = V::add(sums[1], _mm512_castsi512_ps(_mm512_and_si512(pairs[i], _mm512_set1_epi32(~0xffff))));
    }
    transpose_16x16(pairs, pairs);
    std::byte* out = s.weights + (tile * (s.positions / 32) + p / 32) * tile_bytes;
    for (std::size_t i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * 64, pairs[i]);
  }
  float maxima[16];
  float sum[16];
  V::store(maxima, maximum);
  V::store(sum, V::add(sums[0], sums[1]));
  for (std::size_t i = 0; i < count; ++i) a.state[q + i] = {maxima[i], sum[i]};
}

void attend_segment(const AttentionArgs& a) {
  const Segment s = lay_out(a);
  if (!fill_segment(a, s) && a.queries > 1) {
    // 0 times infinity is NaN: a query must not even be near a position that it does not see.
    for (std::size_t q = 0; q < a.queries; ++q) {
      AttentionArgs one = a;
      one.q += q * a.q_stride;
      one.queries = 1;
      one.first += q;
      one.last += q;
      one.state += q;
      one.out += q * a.out_stride;
      one.begin = larger(a.begin, a.first[q]);
      one.end = smaller(a.end, a.last[q]);
      attention_on_tiles(one);
    }
    return;
  }
  for (std::size_t q = 0; q < a.queries; q += query_block) {
    const std::size_t count = smaller(query_block, a.queries - q);
    tile_packing.pack({.x = a.q + q * a.q_stride,
                       .x_stride = a.q_stride,
                       .tokens = count,
                       .cols = a.k_dim,
                       .col_end = a.k_dim,
                       .packed = s.queries});
    for (std::size_t p = 0; p < s.positions; p += 32) {
      multiply_block(s.keys + p / 16 * s.key_steps * tile_bytes, s.queries, s.key_steps,
                     s.scores + p * query_block, query_block, true, count > 16);
    }
    for (std::size_t tile = 0; tile * 16 < count; ++tile)
      soften_tile(a, s, q + tile * 16, smaller(16, count - tile * 16), tile);
    weigh_rows(s.weights, count, s.values, s.positions / 32, a.v_dim, a.out + q * a.out_stride, a.out_stride,
               s.block);
  }
}

}  // namespace

void attention_on_tiles(const AttentionArgs& a) {
  if (a.begin >= a.end) {
    for (std::size_t q = 0; q < a.queries; ++q) {
      a.state[q] = {minus_infinity, 0};
      for (std::size_t i = 0; i < a.v_dim; ++i) a.out[q * a.out_stride + i] = 0;
    }
    return;
  }
  configure_tiles();
  attend_segment(a);
  release_tiles();
}

namespace {

// out [tokens, cols] = x [tokens, rows] W: W's rows in place of an attention's values.
template <Format format>
void multiply_transposed(const TransposedArgs& a) {
  configure_tiles();
  const std::size_t cols = a.matrix->cols;
  const std::size_t rows = a.row_end - a.row_begin;
  const std::size_t steps = round_up(rows, 32) / 32;
  float* widened = aligned(a.scratch);  // a row, then [32, 32] results
  std::byte* two_rows = bytes_of(widened + larger(round_up(cols, 32), 32 * 32));
  std::byte* tiles = two_rows + round_up(cols, 32) / 32 * tile_bytes;
  std::byte* x = tiles + steps * round_up(cols, 16) / 16 * tile_bytes;  // tiles of [32, rows]
  for (std::size_t r = 0; r < steps * 32; ++r) {
    const TileRow row = tile_row(two_rows, r % 2, round_up(cols, 32) / 32);
    if (r < rows) {
      widen_row<V, format>(*a.matrix, a.row_begin + r, widened);
      round_row(widened, cols, row);
    } else {
      clear_row(cols, row);
    }
    if (r % 2) put_pair(tile_row(two_rows, 0, 1), row, cols, r / 2, steps, tiles);
  }
  for (std::size_t t = 0; t < a.tokens; t += 32) {
    const std::size_t count = smaller(32, a.tokens - t);
    for (std::size_t i = 0; i < round_up(count, 16); ++i) {
      const TileRow row = tile_row(x, i, steps);
      i < count ? round_row(a.x + (t + i) * a.x_stride, rows, row) : clear_row(rows, row);
    }
    weigh_rows(x, count, tiles, steps, cols, a.out + t * a.out_stride, a.out_stride, widened);
  }
  release_tiles();
}

}  // namespace

void (*const transposed_on_tiles[format_count])(const TransposedArgs&) = {
    multiply_transposed<Format::f32>,  multiply_transposed<Format::f16>,
    multiply_transposed<Format::bf16>, multiply_transposed<Format::fp8_e4m3>,
    multiply_transposed<Format::int8>, multiply_transposed<Format::int4>,
    multiply_transposed<Format::mxfp4>};

}  // namespace baleen::kernels
