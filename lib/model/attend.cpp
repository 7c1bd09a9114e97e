#include "model/attend.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace baleen {
namespace {

using kernels::SoftmaxState;

// Queries of a task are a multiple of these, at most so many.
constexpr std::size_t tile = 16;
constexpr std::size_t most_queries = 512;
// Queries that one task merges the segments of.
constexpr std::size_t merge_block = 8;

// exp(x) for x <= 0, and 0 where it would be subnormal, as in the kernels: products with such numbers are
// slow.
float share_of(float x) {
  return x < -87.0f ? 0.0f : std::exp(x);
}

// Queries [begin, end) of one key head over one segment of one sequence.
struct Task {
  std::size_t head, begin, end, segment;
  const KvCache* cache;
  kernels::Path path;
};

// A run of neighbouring tokens of one sequence and path.
struct Run {
  const KvCache* cache;
  kernels::Path path;
  std::size_t begin, end;  // tokens of the block
};

class Attend {
 public:
  Attend(const Pass& pass, std::size_t window, const Queries& queries, const RowsOf& rows_of)
      : pass_(pass), queries_(queries), rows_of_(rows_of) {
    const std::size_t n = queries.count();
    first_ = pass.workspace.first.get(n);
    last_ = pass.workspace.last.get(n);
    state_ = pass.workspace.state.get(n);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t token = i / queries.group % queries.tokens;
      const std::uint32_t position = pass.tokens[queries.first_token + token].position;
      first_[i] = window && position + 1 > window ? static_cast<std::uint32_t>(position + 1 - window) : 0;
      last_[i] = position + 1;
    }
    find_runs();
    const std::size_t fitting = pass.kernels.attention_floats / (queries.k_dim + queries.v_dim);
    query_block_ = std::clamp(fitting / tile * tile, tile, most_queries);
  }

  // Where queries are many, a task takes some of them through all segments. Otherwise segments are shared
  // among the threads, in ascending groups whose results fit the room for them. Either way a query's segments
  // are merged in ascending order, so its sums are the same.
  void run() {
    std::size_t segments = 0;
    for (std::size_t i = 0; i < queries_.count(); ++i)
      segments = std::max<std::size_t>(segments, (last_[i] - 1) / kernels::attention_segment + 1);
    if (queries_.count() >= 2 * pass_.pool.size() * query_block_) {
      attend_whole(segments);
      return;
    }
    const std::size_t together =
        std::clamp<std::size_t>(attention_buffer_floats / (queries_.count() * queries_.v_dim), 1, segments);
    for (std::size_t begin = 0; begin < segments; begin += together)
      attend_segments(begin, std::min(segments, begin + together));
    pass_.pool.parallel_for(blocks(merge_block), [&](std::size_t block, std::size_t) {
      for_queries(block, merge_block, [&](std::size_t query) { normalize(query); });
    });
  }

 private:
  void find_runs() {
    for (std::size_t t = 0; t < queries_.tokens; ++t) {
      const KvCache* cache = pass_.tokens[queries_.first_token + t].cache;
      const kernels::Path path = pass_.tokens[queries_.first_token + t].path;
      if (runs_.empty() || runs_.back().cache != cache || runs_.back().path != path)
        runs_.push_back({cache, path, t, t});
      runs_.back().end = t + 1;
    }
  }

  std::size_t blocks(std::size_t size) const { return (queries_.count() + size - 1) / size; }

  template <typename Body>
  void for_queries(std::size_t block, std::size_t size, const Body& body) const {
    for (std::size_t query = block * size; query < std::min(queries_.count(), (block + 1) * size); ++query)
      body(query);
  }

  // Tasks of one segment. step(queries) says how many of a run's queries a task takes.
  template <typename Step>
  std::vector<Task> tasks(std::size_t segment, const Step& step) const {
    std::vector<Task> tasks;
    for (const Run& run : runs_)
      for (std::size_t head = 0; head < queries_.key_heads; ++head) {
        const std::size_t begin = head * queries_.of_head() + run.begin * queries_.group;
        const std::size_t end = head * queries_.of_head() + run.end * queries_.group;
        const std::size_t queries = step(end - begin);
        for (std::size_t q = begin; q < end; q += queries)
          tasks.push_back({head, q, std::min(end, q + queries), segment, run.cache, run.path});
      }
    return tasks;
  }

  // Queries of a task: few enough that two tasks a thread come out, but a tile of them at least, since each
  // task reads the segment anew; half a tile where a thread would have none.
  std::size_t block(std::size_t queries, std::size_t segments) const {
    const std::size_t all = queries * queries_.key_heads * runs_.size() * segments;
    const std::size_t least = all < tile * pass_.pool.size() ? tile / 2 : tile;
    const std::size_t share = all / (2 * pass_.pool.size());
    return std::clamp<std::size_t>((share + least - 1) / least * least, least, query_block_);
  }

  // Results of a task's later segments are merged while they are in its thread's cache. The last tokens see
  // most positions and come first, so that the threads end together.
  void attend_whole(std::size_t segments) {
    std::vector<Task> work = tasks(0, [&](std::size_t) { return query_block_; });
    std::reverse(work.begin(), work.end());
    const std::size_t results = query_block_ * queries_.v_dim;
    float* partial = pass_.workspace.partial.get(pass_.pool.size() * results);
    SoftmaxState* partial_state = pass_.workspace.partial_state.get(pass_.pool.size() * query_block_);
    pass_.pool.parallel_for(work.size(), [&](std::size_t i, std::size_t thread) {
      Task task = work[i];
      float* part = partial + thread * results;
      SoftmaxState* part_state = partial_state + thread * query_block_;
      attend(task, state_ + task.begin, queries_.result(task.begin), queries_.out_stride, thread);
      const std::size_t seen = *std::max_element(last_ + task.begin, last_ + task.end);
      for (task.segment = 1; task.segment < segments && task.segment * kernels::attention_segment < seen;
           ++task.segment) {
        attend(task, part_state, part, queries_.v_dim, thread);
        for (std::size_t query = task.begin; query < task.end; ++query)
          merge(query, part_state[query - task.begin], part + (query - task.begin) * queries_.v_dim);
      }
      for (std::size_t query = task.begin; query < task.end; ++query) normalize(query);
    });
  }

  // The first segment is attended in place.
  void attend_segments(std::size_t segment_begin, std::size_t segment_end) {
    const std::size_t n = queries_.count();
    const std::size_t in_place = segment_begin == 0 ? 1 : 0;
    const std::size_t segments = segment_end - segment_begin - in_place;
    float* partial = pass_.workspace.partial.get(segments * n * queries_.v_dim);
    SoftmaxState* partial_state = pass_.workspace.partial_state.get(segments * n);
    std::vector<Task> work;
    for (std::size_t segment = segment_begin; segment < segment_end; ++segment) {
      const std::vector<Task> more =
          tasks(segment, [&](std::size_t queries) { return block(queries, segment_end - segment_begin); });
      work.insert(work.end(), more.begin(), more.end());
    }
    pass_.pool.parallel_for(work.size(), [&](std::size_t i, std::size_t thread) {
      const std::size_t query = work[i].begin;
      if (work[i].segment == 0) {
        attend(work[i], state_ + query, queries_.result(query), queries_.out_stride, thread);
      } else {
        const std::size_t slot = (work[i].segment - segment_begin - in_place) * n + query;
        attend(work[i], partial_state + slot, partial + slot * queries_.v_dim, queries_.v_dim, thread);
      }
    });
    if (segments == 0) return;
    pass_.pool.parallel_for(blocks(merge_block), [&](std::size_t block, std::size_t) {
      for_queries(block, merge_block, [&](std::size_t query) {
        for (std::size_t s = 0; s < segments; ++s)
          merge(query, partial_state[s * n + query], partial + (s * n + query) * queries_.v_dim);
      });
    });
  }

  void attend(const Task& task, SoftmaxState* state, float* out, std::size_t out_stride,
              std::size_t thread) const {
    const KeyRows rows = rows_of_(*task.cache, task.head);
    kernels::AttentionArgs args;
    args.q = queries_.query(task.begin);
    args.q_stride = queries_.q_stride;
    args.queries = task.end - task.begin;
    args.first = first_ + task.begin;
    args.last = last_ + task.begin;
    args.kv_format = rows.format;
    args.keys = rows.keys;
    args.key_row_bytes = rows.key_stride;
    args.k_dim = queries_.k_dim;
    args.values = rows.values;
    args.value_row_bytes = rows.value_stride;
    args.v_dim = queries_.v_dim;
    // What none of the queries sees is not even read.
    const std::size_t begin = task.segment * kernels::attention_segment;
    const std::size_t end = begin + kernels::attention_segment;
    args.begin =
        std::clamp<std::size_t>(*std::min_element(args.first, args.first + args.queries), begin, end);
    args.end =
        std::clamp<std::size_t>(*std::max_element(args.last, args.last + args.queries), args.begin, end);
    args.scale = queries_.scale;
    args.state = state;
    args.out = out;
    args.out_stride = out_stride;
    args.scratch = pass_.workspace.thread_scratch[thread].get(
        kernels::attention_scratch(args.queries, args.k_dim, args.v_dim));
    pass_.kernels.attention[static_cast<std::size_t>(task.path)](args);
  }

  // Joins two softmax sums over different positions (FlashAttention, arXiv:2205.14135, section 3.1).
  void merge(std::size_t query, const SoftmaxState& part, const float* values) const {
    if (part.sum == 0) return;  // no position of the segment is visible
    SoftmaxState& state = state_[query];
    const float maximum = std::max(state.maximum, part.maximum);
    const float keep = share_of(state.maximum - maximum);
    const float take = share_of(part.maximum - maximum);
    float* out = queries_.result(query);
    if (keep != 1) multiply_by(keep, out);
    pass_.kernels.axpy(take, values, out, queries_.v_dim);
    state = {maximum, state.sum * keep + part.sum * take};
  }

  void normalize(std::size_t query) const { multiply_by(1.0f / state_[query].sum, queries_.result(query)); }

  // Chunks of a known length are what the compiler makes vectors of.
  void multiply_by(float factor, float* out) const {
    constexpr std::size_t chunk = 16;
    std::size_t d = 0;
    for (; d + chunk <= queries_.v_dim; d += chunk)
      for (std::size_t i = 0; i < chunk; ++i) out[d + i] *= factor;
    for (; d < queries_.v_dim; ++d) out[d] *= factor;
  }

  const Pass& pass_;
  const Queries& queries_;
  const RowsOf& rows_of_;
  std::uint32_t* first_;
  std::uint32_t* last_;
  SoftmaxState* state_;
  std::vector<Run> runs_;
  std::size_t query_block_ = 0;  // of one task, at most
};

}  // namespace

void attend(const Pass& pass, std::size_t window, const Queries& queries, const RowsOf& rows_of) {
  Attend(pass, window, queries, rows_of).run();
}

}  // namespace baleen
