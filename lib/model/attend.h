// The core of attention, the same for all kinds of it: queries that share key heads, over rows of keys and
// values. Private to lib/model.
#pragma once

#include <cstddef>
#include <functional>

#include "kernels/kernels.h"
#include "model/pass.h"
#include "runtime/kv_cache.h"

namespace baleen {

// Queries of neighbouring tokens of a pass, k_dim wide, and their results, v_dim wide. Those of a key head
// follow each other in the order [token][member of the group].
struct Queries {
  std::size_t key_heads = 1;
  std::size_t group = 1;  // query heads that share a key head
  std::size_t k_dim = 0;
  std::size_t v_dim = 0;
  float scale = 1;
  std::size_t first_token = 0;  // of the pass
  std::size_t tokens = 0;
  const float* q = nullptr;
  std::size_t q_stride = 0;  // floats from one query to the next
  std::size_t q_head = 0;    // floats from one key head's first query to the next one's
  float* out = nullptr;
  std::size_t out_stride = 0;
  std::size_t out_head = 0;

  std::size_t of_head() const { return tokens * group; }
  std::size_t count() const { return key_heads * of_head(); }
  // Query `index` = (head * tokens + token) * group + member.
  const float* query(std::size_t index) const {
    return q + index / of_head() * q_head + index % of_head() * q_stride;
  }
  float* result(std::size_t index) const {
    return out + index / of_head() * out_head + index % of_head() * out_stride;
  }
};

// Queries and results that lie without gaps, [key head][token][member].
inline Queries arranged(Queries queries) {
  queries.q_stride = queries.k_dim;
  queries.q_head = queries.of_head() * queries.k_dim;
  queries.out_stride = queries.v_dim;
  queries.out_head = queries.of_head() * queries.v_dim;
  return queries;
}

// A key head's rows of a sequence, from position 0 on.
struct KeyRows {
  kernels::KvFormat format = kernels::KvFormat::f32;
  const std::byte* keys = nullptr;
  std::size_t key_stride = 0;  // bytes
  const std::byte* values = nullptr;
  std::size_t value_stride = 0;
};
using RowsOf = std::function<KeyRows(const KvCache&, std::size_t key_head)>;

// Attends each query to the positions up to its token's, `window` of them at most if that is not 0: results
// are softmax(scale * q . keys) times values.
void attend(const Pass&, std::size_t window, const Queries&, const RowsOf&);

}  // namespace baleen
