// Attention and transposed products on tiles: both are sums over rows of something stored row by row (values,
// weights), which a tile product wants as pairs of rows interleaved.
//
// Attention has two kernels, for prompts and for generated tokens, whose rounding differs: one softens a
// segment as a whole, the other window by window. Either takes three steps: scores of all positions, their
// softmax, a weighted sum of values. Queries, keys, values and the softmax's weights are rounded to bf16,
// sums are float32. A position that a query does not see has weight 0, and blocks and windows of positions
// lie at fixed multiples, so what a query gets depends on its own positions alone.
#include "kernels/amx.h"
#include "kernels/amx_layout.h"
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

// Two vectors of 32 columns of bf16, x above y, as rows of two tiles of pairs: each column of x beside the
// same one of y; columns [0, 16) and [16, 32).
struct Pairs {
  __m512i low;
  __m512i high;
};

Pairs pair_up(__m512i x, __m512i y) {
  const __m512i low_order = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i high_order = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512i low = _mm512_unpacklo_epi16(x, y);  // by 128-bit lanes: columns 0 to 3, 8 to 11, ...
  const __m512i high = _mm512_unpackhi_epi16(x, y);
  return {_mm512_permutex2var_epi64(low, low_order, high), _mm512_permutex2var_epi64(low, high_order, high)};
}

// ---- Products of tiles in memory.

// The tiles of an operand, 16 rows (left) or columns (right) of it each.
struct Tiles {
  const std::byte* first;
  std::size_t other;  // bytes to the tile of the next 16 rows or columns
  std::size_t step;   // bytes to the next step of k
};

// Of `steps` steps that lie one after another, and the next 16 rows or columns behind them.
Tiles in_rows(const std::byte* tiles, std::size_t steps) {
  return {tiles, steps * tile_bytes, tile_bytes};
}
// Two times 16 rows or columns side by side: of these, a stream of steps, some are prefetched.
Tiles in_twos(const std::byte* tiles) {
  return {tiles, tile_bytes, 2 * tile_bytes};
}

// Steps ahead of its loads that a stream is brought from the second-level cache into the first.
constexpr std::size_t steps_ahead = 2;

inline void prefetch_tiles(const std::byte* stream) {
  for (std::size_t line = 0; line < 2 * tile_bytes; line += 64)
    __builtin_prefetch(stream + steps_ahead * 2 * tile_bytes + line);
}

// c [16 * down, 16 * across] = a b, rows of float32 c_stride floats apart. down and across are 1 or 2. Loads
// stand before products: where nothing overlaps, it saves a tenth.
template <std::size_t down, std::size_t across, bool a_streams>
void multiply_block(Tiles a, Tiles b, std::size_t steps, float* c, std::size_t c_stride) {
  zero_tile<0>();
  if constexpr (across > 1) zero_tile<1>();
  if constexpr (down > 1) zero_tile<2>();
  if constexpr (down > 1 && across > 1) zero_tile<3>();
  for (std::size_t k = 0; k < steps; ++k, a.first += a.step, b.first += b.step) {
    load_tile<4>(a.first);
    load_tile<6>(b.first);
    if constexpr (across > 1) load_tile<7>(b.first + b.other);
    if constexpr (down > 1) load_tile<5>(a.first + a.other);
    prefetch_tiles(a_streams ? a.first : b.first);
    multiply_tiles<0, 4, 6>();
    if constexpr (across > 1) multiply_tiles<1, 4, 7>();
    if constexpr (down > 1) multiply_tiles<2, 5, 6>();
    if constexpr (down > 1 && across > 1) multiply_tiles<3, 5, 7>();
  }
  const std::size_t c_bytes = c_stride * sizeof(float);
  store_tile<0>(c, c_bytes);
  if constexpr (across > 1) store_tile<1>(c + 16, c_bytes);
  if constexpr (down > 1) store_tile<2>(c + 16 * c_stride, c_bytes);
  if constexpr (down > 1 && across > 1) store_tile<3>(c + 16 * c_stride + 16, c_bytes);
}

// out[t][0, cols) = c[t][...] for count tokens; rows of c, in scratch, are whole vectors.
void store_block(const float* c, std::size_t c_stride, std::size_t count, std::size_t cols, float* out,
                 std::size_t out_stride) {
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t i = 0; i < cols; i += 16) {
      const std::size_t n = smaller(cols - i, 16);
      V::store(out + t * out_stride + i, V::load(c + t * c_stride + i), n);
    }
  }
}

// out [count, cols] = a b for up to 32 rows; b's tiles of 32 columns side by side, a's in rows. block: 32 *
// 32 floats.
void weigh_rows(const std::byte* a, std::size_t count, const std::byte* b, std::size_t steps,
                std::size_t cols, float* out, std::size_t out_stride, float* block) {
  for (std::size_t c = 0; c < cols; c += 32) {
    const bool direct = count % 16 == 0 && cols - c >= 32;
    float* to = direct ? out + c : block;
    const std::size_t stride = direct ? out_stride : 32;
    const Tiles values = in_twos(b + c / 32 * steps * 2 * tile_bytes);
    count > 16 ? multiply_block<2, 2, false>(in_rows(a, steps), values, steps, to, stride)
               : multiply_block<1, 2, false>(in_rows(a, steps), values, steps, to, stride);
    if (!direct) store_block(block, 32, count, smaller(cols - c, 32), out + c, out_stride);
  }
}

// ---- The KV cache.

// Columns [c, c + count) of a row of the KV cache, up to 32 of them, as bf16; zeros behind.
template <KvFormat format>
__m512i load_kv(const std::byte* row, std::size_t c, std::size_t count) {
  const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  const auto low = static_cast<__mmask16>(mask);
  const auto high = static_cast<__mmask16>(mask >> 16);
  if constexpr (format == KvFormat::bf16) {
    return _mm512_maskz_loadu_epi16(mask, row + c * 2);
  } else if constexpr (format == KvFormat::f32) {
    const std::byte* x = row + c * sizeof(float);
    return to_bf16(_mm512_maskz_loadu_ps(low, x), _mm512_maskz_loadu_ps(high, x + 16 * sizeof(float)));
  } else {
    static_assert(kv_group == 32);
    const std::byte* group = row + c / kv_group * kv_group_bytes;
    const __m512 scale = _mm512_broadcastss_ps(_mm_maskz_loadu_ps(static_cast<__mmask8>(mask & 1), group));
    const __m256i codes = _mm256_maskz_loadu_epi8(mask, group + sizeof(float));
    const auto widen = [&](__m128i code, __mmask16 some) {
      const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(code));
      return _mm512_maskz_mul_ps(some, _mm512_sub_ps(value, V::set1(128)), scale);
    };
    return to_bf16(widen(_mm256_castsi256_si128(codes), low),
                   widen(_mm256_extracti128_si256(codes, 1), high));
  }
}

// ---- Softmax.

// 2^x for a weight that will be rounded to bf16, off by 3e-6 of itself at most; 0 below 2^-126. NaN stays.
// The polynomial is that of degree 4 with the least relative error on [-1/2, 1/2].
__m512 rough_exp2(__m512 x) {
  const __m512 n = V::round(x);
  const __m512 r = V::sub(x, n);
  __m512 p = V::fma(r, V::set1(0.00957010034f), V::set1(0.0559178591f));
  p = V::fma(p, r, V::set1(0.240247443f));
  p = V::fma(p, r, V::set1(0.693121791f));
  p = V::fma(p, r, V::set1(0.999999285f));
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, V::set1(-126), _CMP_NLT_UQ), p, n);
}

// Positions that are softened together.
struct Window {
  std::size_t begin;      // multiple of attention_block
  std::size_t positions;  // multiple of attention_block
  float* scores;          // [positions, 32 queries]
  std::byte* weights;     // tiles of [32 queries, positions]
};

// Scores of 16 queries to their softmax's weights, weights[query][position] in bf16, that continue the
// running softmax in a.state. Returns what the sums so far are to be multiplied by. The sum is of the rounded
// weights, those that will be multiplied.
__m512 soften_tile(const AttentionArgs& a, const Window& w, std::size_t q, std::size_t count,
                   std::size_t tile) {
  float* scores = w.scores + tile * 16;
  const auto lanes = V::low_lanes(count);
  const __m512i first = _mm512_maskz_loadu_epi32(lanes, a.first + q);
  const __m512i last = _mm512_mask_loadu_epi32(_mm512_set1_epi32(-1), lanes, a.last + q);
  const std::size_t all_begin = larger(a.begin, _mm512_reduce_max_epu32(first));  // what every query sees
  const std::size_t all_end = smaller(a.end, _mm512_reduce_min_epu32(last));
  float before[2][16];
  for (std::size_t i = 0; i < 16; ++i) {
    before[0][i] = i < count ? a.state[q + i].maximum : minus_infinity;
    before[1][i] = i < count ? a.state[q + i].sum : 0;
  }
  const __m512 scale = V::set1(a.scale);
  const __m512 none = V::set1(minus_infinity);
  __m512 maxima[4] = {V::load(before[0]), none, none, none};
  for (std::size_t p = 0; p < w.positions; p += 4) {
    const std::size_t position = w.begin + p;
    const bool all_see = all_begin <= position && position + 4 <= all_end;
    for (std::size_t i = 0; i < 4; ++i) {
      float* at = scores + (p + i) * query_block;
      __m512 score = V::mul(V::load(at), scale);
      if (!all_see) {
        const __m512i here = _mm512_set1_epi32(static_cast<int>(position + i));
        __mmask16 sees = _mm512_cmple_epu32_mask(first, here) & _mm512_cmpgt_epu32_mask(last, here);
        if (position + i < a.begin || position + i >= a.end) sees = 0;
        score = _mm512_mask_mov_ps(none, sees, score);
      }
      V::store(at, score);
      maxima[i] = V::max(score, maxima[i]);
    }
  }
  const __m512 maximum = V::max(V::max(maxima[0], maxima[1]), V::max(maxima[2], maxima[3]));
  const __m512 shift = _mm512_mask_mov_ps(maximum, _mm512_cmpeq_ps_mask(maximum, none), V::set1(0));
  const __m512 log2_e = V::set1(1.44269504088896341f);
  const auto share = [&](const float* score) {
    return rough_exp2(V::mul(V::sub(V::load(score), shift), log2_e));
  };
  __m512 sums[2] = {V::set1(0), V::set1(0)};
  for (std::size_t p = 0; p < w.positions; p += 32) {
    __m512i pairs[16];  // [pair of positions][query]
    for (std::size_t i = 0; i < 16; ++i) {
      const float* two = scores + (p + 2 * i) * query_block;
      pairs[i] = interleave(share(two), share(two + query_block));
      sums[0] = V::add(sums[0], _mm512_castsi512_ps(_mm512_slli_epi32(pairs[i], 16)));
      sums[1] = V::add(sums[1], _mm512_castsi512_ps(_mm512_and_si512(pairs[i], _mm512_set1_epi32(~0xffff))));
    }
    transpose_16x16(pairs, pairs);
    std::byte* out = w.weights + (tile * (w.positions / 32) + p / 32) * tile_bytes;
    for (std::size_t i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * 64, pairs[i]);
  }
  const __m512 factor = exp<V>(V::sub(V::load(before[0]), shift));
  float after[2][16];
  V::store(after[0], maximum);
  V::store(after[1], V::fma(V::load(before[1]), factor, V::add(sums[0], sums[1])));
  for (std::size_t i = 0; i < count; ++i) a.state[q + i] = {after[0][i], after[1][i]};
  return factor;
}

// ---- What both kernels share.

// Rows of a call and their tiles.
struct Rows {
  KvRows keys;
  KvRows values;
  bool one_row;           // values are the keys' first columns
  std::size_t key_steps;  // tiles that hold a key row
  std::byte* queries;     // tiles of pairs of columns of [k_dim, 32 queries]
};

// Hands out scratch in whole cache lines.
class Room {
 public:
  explicit Room(const AttentionArgs& a) : free_(bytes_of(aligned(a.scratch))) {}
  std::byte* tiles(std::size_t count) {
    std::byte* begin = free_;
    free_ += count * tile_bytes;
    return begin;
  }
  float* floats(std::size_t count) {
    return reinterpret_cast<float*>(
        tiles(round_up(count, tile_bytes / sizeof(float)) * sizeof(float) / tile_bytes));
  }

 private:
  std::byte* free_;
};

Rows rows_of(const AttentionArgs& a, Room& room) {
  Rows rows = {};
  rows.keys = {a.keys, a.key_row_bytes, a.k_dim, kv_row_bytes(a.kv_format, a.k_dim), a.begin, a.end};
  rows.values = {a.values, a.value_row_bytes, a.v_dim, kv_row_bytes(a.kv_format, a.v_dim), a.begin, a.end};
  rows.one_row = a.values == a.keys && a.value_row_bytes == a.key_row_bytes && a.v_dim <= a.k_dim;
  rows.key_steps = round_up(a.k_dim, 32) / 32;
  rows.queries = room.tiles(query_block / 16 * rows.key_steps);
  return rows;
}

void pack_queries(const AttentionArgs& a, const Rows& rows, std::size_t q, std::size_t count) {
  tile_packing.pack({.x = a.q + q * a.q_stride,
                     .x_stride = a.q_stride,
                     .tokens = count,
                     .cols = a.k_dim,
                     .col_end = a.k_dim,
                     .packed = rows.queries});
}

// Tiles of pairs of positions of values, `across` tiles of columns side by side, then the next 32 positions.
template <std::size_t across>
class ValueTiles {
 public:
  ValueTiles(Room& room, std::size_t cols, std::size_t positions)
      : steps_(positions / 32), tiles_(room.tiles(round_up(cols, larger(across * 16, 32)) / 16 * steps_)) {}

  // Columns [c, c + across * 16) of positions from 32 * step on; c is a multiple of across * 16.
  const std::byte* at(std::size_t c, std::size_t step) const {
    return tiles_ + (c / (across * 16) * steps_ + step) * across * tile_bytes;
  }
  std::size_t steps() const { return steps_; }

  // Columns [c, c + 32) of positions p and p + 1, p even.
  void put(std::size_t p, std::size_t c, __m512i x, __m512i y) {
    const Pairs pairs = pair_up(x, y);
    std::byte* out = tiles_ + (c / (across * 16) * steps_ + p / 32) * across * tile_bytes +
                     c % (across * 16) / 16 * tile_bytes + p % 32 / 2 * tile_row_bytes;
    _mm512_store_si512(out, pairs.low);
    _mm512_store_si512(out + tile_bytes, pairs.high);
  }

 private:
  std::size_t steps_;
  std::byte* tiles_;
};

// Whether no number of `count` rows is infinite or NaN.
bool are_finite(const float* x, std::size_t stride, std::size_t count, std::size_t cols) {
  constexpr int infinite_or_nan = 0x99;
  __mmask16 odd = 0;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < cols; c += 16)
      odd |= _mm512_fpclass_ps_mask(V::load(x + i * stride + c, smaller(cols - c, 16)), infinite_or_nan);
  }
  return odd == 0;
}

// The first `count` of 32 numbers, then zeros.
__m512i keep_bf16(__m512i x, std::size_t count) {
  return _mm512_maskz_mov_epi16(static_cast<__mmask32>((std::uint64_t{1} << count) - 1), x);
}

// Two rows of values, p positions from the tiles' first.
template <KvFormat format, std::size_t across>
void put_values(const KvRows& rows, std::size_t position, std::size_t p, ValueTiles<across>& tiles) {
  const std::byte* row = rows.at(position);
  for (std::size_t c = 0; c < rows.width; c += 32) {
    tiles.put(p, c, load_kv<format>(row, c, rows.cols(position, c)),
              load_kv<format>(row + rows.stride, c, rows.cols(position + 1, c)));
  }
}

// ---- Prompts: a segment's rows are made into tiles once for many queries, and softened as a whole: nothing
// is rescaled on the way.

template <KvFormat format>
void fill_segment(const Rows& rows, const Window& w, std::byte* key_tiles, ValueTiles<2>& value_tiles) {
  const std::size_t shared = rows.one_row ? rows.values.width : 0;
  for (std::size_t p = 0; p < w.positions; p += 2) {
    const std::size_t position = w.begin + p;
    const std::byte* key = rows.keys.at(position);
    std::byte* tile =
        key_tiles + (p / 32 * rows.key_steps * 2 + p % 32 / 16) * tile_bytes + p % 16 * tile_row_bytes;
    for (std::size_t c = 0; c < rows.keys.width; c += 32, tile += 2 * tile_bytes) {
      const __m512i x = load_kv<format>(key, c, rows.keys.cols(position, c));
      const __m512i y = load_kv<format>(key + rows.keys.stride, c, rows.keys.cols(position + 1, c));
      _mm512_store_si512(tile, x);
      _mm512_store_si512(tile + tile_row_bytes, y);
      if (c + 32 <= shared) {
        value_tiles.put(p, c, x, y);
      } else if (c < shared) {
        value_tiles.put(p, c, keep_bf16(x, shared - c), keep_bf16(y, shared - c));
      }
    }
    if (!rows.one_row) put_values<format>(rows.values, position, p, value_tiles);
  }
}

// Returns whether every result is finite.
template <KvFormat format>
bool attend_segment(const AttentionArgs& a) {
  Room room(a);
  const Rows rows = rows_of(a, room);
  Window w = {};
  w.begin = a.begin / attention_block * attention_block;
  w.positions = round_up(a.end - w.begin, attention_block);
  w.scores = room.floats(query_block * w.positions);
  w.weights = room.tiles(query_block / 16 * w.positions / 32);
  float* block = room.floats(32 * 32);
  std::byte* key_tiles = room.tiles(w.positions / 16 * rows.key_steps);  // 32 positions side by side
  ValueTiles<2> value_tiles(room, a.v_dim, w.positions);
  fill_segment<format>(rows, w, key_tiles, value_tiles);
  for (std::size_t q = 0; q < a.queries; ++q) a.state[q] = {minus_infinity, 0};
  bool finite = true;
  for (std::size_t q = 0; q < a.queries; q += query_block) {
    const std::size_t count = smaller(query_block, a.queries - q);
    pack_queries(a, rows, q, count);
    const Tiles queries = in_rows(rows.queries, rows.key_steps);
    for (std::size_t p = 0; p < w.positions; p += 32) {
      const Tiles keys = in_twos(key_tiles + p / 16 * rows.key_steps * tile_bytes);
      float* scores = w.scores + p * query_block;
      count > 16 ? multiply_block<2, 2, true>(keys, queries, rows.key_steps, scores, query_block)
                 : multiply_block<2, 1, true>(keys, queries, rows.key_steps, scores, query_block);
    }
    for (std::size_t tile = 0; tile * 16 < count; ++tile)
      soften_tile(a, w, q + tile * 16, smaller(16, count - tile * 16), tile);
    float* out = a.out + q * a.out_stride;
    weigh_rows(w.weights, count, value_tiles.at(0, 0), w.positions / 32, a.v_dim, out, a.out_stride, block);
    finite = are_finite(out, a.out_stride, count, a.v_dim) && finite;
  }
  return finite;
}

// ---- Generated tokens: a token meets each layer's rows once and has read all of its weights between, so
// rows come from memory, and so would any scratch that is as large. A window of positions at a time is made
// into tiles beside the products that they take part in, while the next window's rows are on their way.

// The best of 64, 128 and 256: the room for a window's tiles has left the cache since the last layer, too.
constexpr std::size_t window_positions = 64;
static_assert(attention_segment % window_positions == 0 && window_positions % 64 == 0);
// Sums that are made side by side, and so tiles of keys or values that a step multiplies by a tile of queries
// or of weights; half as many by two.
constexpr std::size_t step_tiles = 4;

// One step of k. `few` are one or two (S) tiles of queries or of weights, `many` step_tiles / S of keys (left
// operands) or values (right ones). Sum many * S + few. beside(i) is called for i = 0, ..., 3.
template <std::size_t S, bool keys, class Work>
[[gnu::always_inline]] inline void multiply_step(Tiles few, const std::byte* many, const Work& beside) {
  const auto product = []<int sum, int f, int m>() __attribute__((always_inline)) {
    keys ? multiply_tiles<sum, m, f>() : multiply_tiles<sum, f, m>();
  };
  load_tile<4>(few.first);
  if constexpr (S == 1) {
    load_tile<5>(many);
    load_tile<6>(many + tile_bytes);
    load_tile<7>(many + 2 * tile_bytes);
    product.template operator()<0, 4, 5>();
    beside(0);
    product.template operator()<1, 4, 6>();
    beside(1);
    load_tile<5>(many + 3 * tile_bytes);
    product.template operator()<2, 4, 7>();
    beside(2);
    product.template operator()<3, 4, 5>();
    beside(3);
  } else {
    load_tile<5>(few.first + few.other);
    load_tile<6>(many);
    load_tile<7>(many + tile_bytes);
    product.template operator()<0, 4, 6>();
    beside(0);
    product.template operator()<1, 5, 6>();
    beside(1);
    product.template operator()<2, 4, 7>();
    beside(2);
    product.template operator()<3, 5, 7>();
    beside(3);
  }
}

// f for the numbers of all four sums: f<tile>().
template <class F>
void for_sums(const F& f) {
  f.template operator()<0>();
  f.template operator()<1>();
  f.template operator()<2>();
  f.template operator()<3>();
}

template <KvFormat format, std::size_t S>
class Generated {
 public:
  // For up to 16 * S queries of a.
  explicit Generated(const AttentionArgs& a)
      : a_(a),
        room_(a),
        rows_(rows_of(a, room_)),
        scores_(room_.floats(query_block * window_positions)),
        weights_(room_.tiles(query_block / 16 * window_positions / 32)),
        pairs_(room_.tiles(2 * step_tiles)),
        value_tiles_(room_, a.v_dim, window_positions),
        sum_tiles_(round_up(a.v_dim, across * 16) / 16),
        sums_(room_.floats(S * sum_tiles_ * 256)) {}

  // Returns whether every result is finite.
  bool attend() {
    pack_queries(a_, rows_, 0, a_.queries);
    for (std::size_t q = 0; q < a_.queries; ++q) a_.state[q] = {minus_infinity, 0};
    const std::size_t first = a_.begin / window_positions * window_positions;
    for (std::size_t begin = first; begin < a_.end; begin += window_positions) {
      Window w = {};
      w.begin = larger(begin, a_.begin / attention_block * attention_block);
      w.positions = smaller(begin + window_positions, round_up(a_.end, attention_block)) - w.begin;
      w.scores = scores_;
      w.weights = weights_;
      const std::size_t next = begin + window_positions;
      Ahead keys(rows_.keys, next, window_positions);
      Ahead values(rows_.values, next, rows_.one_row ? 0 : window_positions);
      if (begin == first) {
        Ahead now(rows_.keys, w.begin, w.positions);
        now.bring(now.turns());
      }
      score(w, keys);
      if (!rows_.one_row) {
        for (std::size_t p = 0; p < w.positions; p += 2)
          put_values<format>(rows_.values, w.begin + p, p, value_tiles_);
      }
      for (std::size_t tile = 0; tile < S; ++tile) {
        const std::size_t count = smaller(16, a_.queries - tile * 16);
        const __m512 factor = soften_tile(a_, w, tile * 16, count, tile);
        if (begin != first) rescale(tile, factor);
      }
      weigh(w, begin == first, rows_.one_row ? keys : values);
    }
    return write();
  }

 private:
  static constexpr std::size_t across = step_tiles / S;  // tiles of positions, or of columns of values
  static constexpr std::size_t share = across * 16 / 4;  // positions that are rounded beside a product

  // Scores of all positions, and the values that lie in the keys' rows made into tiles. Half of what is ahead
  // is brought.
  void score(const Window& w, Ahead& ahead) {
    constexpr std::size_t block = across * 16;
    const std::size_t parts = window_positions / block * rows_.key_steps * 4;
    const std::size_t turns = ahead.turns() / (rows_.one_row ? 2 : 1) / parts + 1;
    for (std::size_t p = 0; p < w.positions; p += block) {
      for_sums([]<int tile>() { zero_tile<tile>(); });
      for (std::size_t part = 0; part < 4; ++part) round_keys(w, p, 0, part);
      for (std::size_t step = 0; step < rows_.key_steps; ++step) {
        const Tiles queries = {rows_.queries + step * tile_bytes, rows_.key_steps * tile_bytes, 0};
        multiply_step<S, true>(
            queries, step_at(step), [&](std::size_t part) __attribute__((always_inline)) {
              if (step + 1 < rows_.key_steps) round_keys(w, p, step + 1, part);
              ahead.bring(turns);
            });
      }
      float* out = w.scores + p * query_block;
      for_sums([&]<int tile>() {
        store_tile<tile>(out + tile / S * 16 * query_block + tile % S * 16, query_block * sizeof(float));
      });
    }
  }

  std::byte* step_at(std::size_t step) const { return pairs_ + step % 2 * step_tiles * tile_bytes; }

  // A quarter of a step's keys, those from position p of the window on.
  [[gnu::always_inline]] void round_keys(const Window& w, std::size_t p, std::size_t step, std::size_t part) {
    const KvRows& keys = rows_.keys;
    const std::size_t from = p + part * share;
    const std::size_t c = step * 32;
    const std::byte* row = keys.at(w.begin + from);
    std::byte* out = step_at(step) + part * share * tile_row_bytes;
    const std::size_t shared = rows_.one_row ? rows_.values.width : 0;
    if (keys.has(w.begin + from, share) && keys.width - c >= 32 && (c >= shared || shared - c >= 32)) {
      for (std::size_t i = 0; i < share; i += 2, row += 2 * keys.stride) {
        const __m512i x = load_kv<format>(row, c, 32);
        const __m512i y = load_kv<format>(row + keys.stride, c, 32);
        _mm512_store_si512(out + i * tile_row_bytes, x);
        _mm512_store_si512(out + (i + 1) * tile_row_bytes, y);
        if (c < shared) value_tiles_.put(from + i, c, x, y);
      }
    } else {
      for (std::size_t i = 0; i < share; i += 2, row += 2 * keys.stride) {
        const std::size_t position = w.begin + from + i;
        const __m512i x = load_kv<format>(row, c, keys.cols(position, c));
        const __m512i y = load_kv<format>(row + keys.stride, c, keys.cols(position + 1, c));
        _mm512_store_si512(out + i * tile_row_bytes, x);
        _mm512_store_si512(out + (i + 1) * tile_row_bytes, y);
        if (c >= shared) continue;
        const std::size_t count = smaller(32, shared - c);
        value_tiles_.put(from + i, c, keep_bf16(x, count), keep_bf16(y, count));
      }
    }
  }

  float* sum_tile(std::size_t query_tile, std::size_t c) const {
    return sums_ + (query_tile * sum_tiles_ + c / 16) * 256;
  }

  void rescale(std::size_t tile, __m512 factor) {
    if (_mm512_cmpneq_ps_mask(factor, V::set1(1)) == 0) return;
    float factors[16];
    V::store(factors, factor);
    for (std::size_t i = 0; i < sum_tiles_; ++i) {
      float* rows = sum_tile(tile, i * 16);
      for (std::size_t q = 0; q < 16; ++q)
        V::store(rows + q * 16, V::mul(V::load(rows + q * 16), V::set1(factors[q])));
    }
  }

  // Adds the weighted values to the sums.
  void weigh(const Window& w, bool first, Ahead& ahead) {
    const std::size_t steps = w.positions / 32;
    const std::size_t turns = ahead.turns() / (sum_tiles_ / across * steps * 4) + 1;
    for (std::size_t c = 0; c < sum_tiles_ * 16; c += across * 16) {
      const auto sum = [&]<int tile>() { return sum_tile(tile % S, c + tile / S * 16); };
      for_sums(
          [&]<int tile>() { first ? zero_tile<tile>() : load_tile<tile>(sum.template operator()<tile>()); });
      for (std::size_t step = 0; step < steps; ++step) {
        const Tiles weights = {w.weights + step * tile_bytes, steps * tile_bytes, 0};
        multiply_step<S, false>(
            weights, value_tiles_.at(c, step), [&](std::size_t) __attribute__((always_inline)) {
              ahead.bring(turns);
            });
      }
      for_sums([&]<int tile>() { store_tile<tile>(sum.template operator()<tile>()); });
    }
  }

  bool write() const {
    for (std::size_t q = 0; q < a_.queries; ++q) {
      const float* sums = sum_tile(q / 16, 0) + q % 16 * 16;
      float* out = a_.out + q * a_.out_stride;
      for (std::size_t c = 0; c < a_.v_dim; c += 16, sums += 256)
        V::store(out + c, V::load(sums), smaller(a_.v_dim - c, 16));
    }
    return are_finite(a_.out, a_.out_stride, a_.queries, a_.v_dim);
  }

  const AttentionArgs& a_;
  Room room_;
  Rows rows_;
  float* scores_;
  std::byte* weights_;
  std::byte* pairs_;  // a step's tiles of keys, and the next one's
  ValueTiles<across> value_tiles_;
  std::size_t sum_tiles_;
  float* sums_;  // tiles of [16 * S queries, v_dim]
};

template <KvFormat format>
bool attend_generated(const AttentionArgs& a) {
  return a.queries > 16 ? Generated<format, 2>(a).attend() : Generated<format, 1>(a).attend();
}

AttentionArgs some_queries(const AttentionArgs& a, std::size_t q, std::size_t count) {
  AttentionArgs some = a;
  some.q += q * a.q_stride;
  some.queries = count;
  some.first += q;
  some.last += q;
  some.state += q;
  some.out += q * a.out_stride;
  return some;
}

// Calls a kernel for `block` queries at a time at most, and one by one where not all results are finite: 0
// times infinity is NaN, so a query must not be near a value that is infinite or NaN and that it does not
// see.
void attend_by(bool (*const kernel)(const AttentionArgs&), const AttentionArgs& a, std::size_t block) {
  configure_tiles();
  for (std::size_t q = 0; q < a.queries; q += block) {
    const std::size_t count = smaller(block, a.queries - q);
    if (a.begin < a.end && (kernel(some_queries(a, q, count)) || count == 1)) continue;
    for (std::size_t i = q; i < q + count; ++i) {
      AttentionArgs one = some_queries(a, i, 1);
      one.begin = larger(a.begin, a.first[i]);
      one.end = smaller(a.end, a.last[i]);
      if (one.begin < one.end) {
        kernel(one);
      } else {
        one.state[0] = {minus_infinity, 0};
        for (std::size_t c = 0; c < a.v_dim; ++c) one.out[c] = 0;
      }
    }
  }
  release_tiles();
}

}  // namespace

void prompt_attention_on_tiles(const AttentionArgs& a) {
  switch (a.kv_format) {
    case KvFormat::bf16:
      return attend_by(attend_segment<KvFormat::bf16>, a, a.queries);
    case KvFormat::int8:
      return attend_by(attend_segment<KvFormat::int8>, a, a.queries);
    default:
      return attend_by(attend_segment<KvFormat::f32>, a, a.queries);
  }
}

void generated_attention_on_tiles(const AttentionArgs& a) {
  switch (a.kv_format) {
    case KvFormat::bf16:
      return attend_by(attend_generated<KvFormat::bf16>, a, query_block);
    case KvFormat::int8:
      return attend_by(attend_generated<KvFormat::int8>, a, query_block);
    default:
      return attend_by(attend_generated<KvFormat::f32>, a, query_block);
  }
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
  std::byte* even_row = bytes_of(widened + larger(round_up(cols, 32), 32 * 32));  // in bf16
  std::byte* tiles = even_row + round_up(cols, 32) * 2;
  std::byte* x = tiles + steps * round_up(cols, 32) * 64;  // tiles of [32, rows]
  for (std::size_t r = 0; r < steps * 32; ++r) {
    const bool there = r < rows;
    if (there) widen_row<V, format>(*a.matrix, a.row_begin + r, widened);
    for (std::size_t c = 0; c < cols; c += 32) {
      const __m512i row = load_bf16(widened + c, there ? smaller(cols - c, 32) : 0);
      if (r % 2 == 0) {
        _mm512_store_si512(even_row + c * 2, row);
        continue;
      }
      const Pairs pairs = pair_up(_mm512_load_si512(even_row + c * 2), row);
      std::byte* tile = tiles + (c / 32 * steps + r / 32) * 2 * tile_bytes + r % 32 / 2 * 64;
      _mm512_store_si512(tile, pairs.low);
      _mm512_store_si512(tile + tile_bytes, pairs.high);
    }
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
