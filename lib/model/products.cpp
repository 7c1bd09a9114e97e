#include "model/products.h"

#include <algorithm>

namespace baleen {
namespace {

using kernels::Matmul;
using kernels::Matrix;
using kernels::Packing;
using kernels::Path;

// Weight bytes that make a task in a stream: at its start nothing is prefetched yet, so it should be long, but
// several for each thread, so that they end together. The least is for one token; where more share the bytes,
// fewer take a thread as long.
constexpr std::size_t least_task_bytes = 64 * 1024;
constexpr std::size_t most_task_bytes = 512 * 1024;
constexpr std::size_t tasks_per_thread = 8;
// Tasks are whole multiples of the columns that can be packed alone: a task's rows may be the next product's
// columns.
constexpr std::size_t row_multiple = kernels::pack_cols;
// Rows of a task on the batch path: tiles in both directions, and results that fit a cache.
constexpr std::size_t batch_rows = 256;
// Packed activations that should stay in a core's second-level cache: 128 tokens of 2048 columns in float32, with
// what their rows lie apart beyond that.
constexpr std::size_t block_bytes = std::size_t{1152} << 10;
// Tokens that one task packs.
constexpr std::size_t pack_tokens = 64;

std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

std::array<Part, 2> parts_of(const Pass& pass) {
  return {Part{Path::batch, 0, pass.prefill}, Part{Path::stream, pass.prefill, pass.count() - pass.prefill}};
}

std::size_t slot_offset(const Packing& packing, std::size_t cols, std::size_t first) {
  return first / packing.slot_tokens * packing.slot_bytes(cols);
}

std::size_t packed_bytes(const Packing& packing, std::size_t cols, std::size_t tokens) {
  return slot_offset(packing, cols, round_up(tokens, packing.slot_tokens));
}

std::size_t Operands::add(const Operand& operand) {
  const auto known = std::find_if(operands_.begin(), operands_.end(), [&](const Operand& o) {
    return o.packing == operand.packing && o.x == operand.x && o.rows == operand.rows && o.tokens == operand.tokens &&
           o.cols == operand.cols;
  });
  if (known != operands_.end()) return static_cast<std::size_t>(known - operands_.begin());
  operands_.push_back(operand);
  begin_.push_back(bytes_);
  bytes_ += packed_bytes(*operand.packing, operand.cols, operand.tokens);
  return operands_.size() - 1;
}

void Operands::pack() {
  struct Task {
    std::size_t operand, first;
  };
  std::byte* memory = pass_.workspace.packed.get(bytes_);
  memory_ = memory;
  std::vector<Task> tasks;
  for (std::size_t i = 0; i < operands_.size(); ++i)
    for (std::size_t first = 0; first < operands_[i].tokens; first += pack_tokens) tasks.push_back({i, first});
  pass_.pool.parallel_for(tasks.size(), [&](std::size_t task, std::size_t) {
    const auto [index, first] = tasks[task];
    const Operand& o = operands_[index];
    kernels::PackArgs args;
    args.x = o.rows ? o.x : o.x + first * o.stride;
    args.x_stride = o.stride;
    args.x_rows = o.rows ? o.rows + first : nullptr;
    args.tokens = std::min(pack_tokens, o.tokens - first);
    args.cols = o.cols;
    args.col_end = o.cols;
    args.packed = memory + begin_[index] + slot_offset(*o.packing, o.cols, first);
    o.packing->pack(args);
  });
}

std::size_t tokens_per_block(const Packing& packing, std::size_t cols) {
  const std::size_t slots = block_bytes / packing.slot_bytes(cols);
  return round_up(std::max<std::size_t>(slots * packing.slot_tokens, pack_tokens), packing.slot_tokens);
}

std::size_t rows_per_task(const Pass& pass, const Matrix& matrix, const Part& part) {
  if (part.path == Path::batch) return batch_rows;
  const std::size_t share = matrix.rows * matrix.row_bytes / (tasks_per_thread * pass.pool.size());
  const std::size_t bytes = std::clamp(share, least_task_bytes / part.count, most_task_bytes);
  return round_up(std::max<std::size_t>(1, bytes / std::max<std::size_t>(1, matrix.row_bytes)), row_multiple);
}

void multiply(const Pass& pass, std::span<const Product> products) {
  // A product's tokens of one path.
  struct Piece {
    const Product* product;
    Part part;
    const Matmul* kernel;
    std::size_t operand;
    std::vector<float> bias;
  };
  struct Task {
    std::size_t piece;
    Block block;
  };
  Operands operands(pass);
  std::vector<Piece> pieces;
  std::vector<Task> tasks;
  for (const Product& product : products) {
    const Matrix& matrix = *product.matrix;
    auto parts = parts_of(pass);
    if (product.exact) parts = {Part{Path::exact, 0, pass.count()}, Part{Path::exact, 0, 0}};
    for (const Part& part : parts) {
      if (part.count == 0) continue;
      const Matmul& kernel = pass.kernels.matmul(part.path, matrix);
      const std::size_t operand = operands.add({kernel.packing, product.x + part.begin * matrix.cols, matrix.cols,
                                                nullptr, part.count, matrix.cols});
      for_each_block(pass, matrix, *kernel.packing, part,
                     [&](const Block& block) { tasks.push_back({pieces.size(), block}); });
      pieces.push_back({&product, part, &kernel, operand, widen_vector(pass.kernels, product.bias)});
    }
  }
  operands.pack();

  pass.pool.parallel_for(tasks.size(), [&](std::size_t index, std::size_t thread) {
    const auto& [piece_index, task] = tasks[index];
    const Piece& piece = pieces[piece_index];
    const Matrix& matrix = *piece.product->matrix;
    const std::size_t tokens = task.token_end - task.token_begin;
    const std::size_t rows = task.row_end - task.row_begin;
    const std::size_t kernel_scratch = kernels::matmul_scratch(matrix.cols);
    const bool add = piece.product->add;
    float* scratch = pass.workspace.thread_scratch[thread].get(kernel_scratch + (add ? tokens * rows : 0));
    float* out = piece.product->out + (piece.part.begin + task.token_begin) * matrix.rows + task.row_begin;
    kernels::MatmulArgs args;
    args.matrix = &matrix;
    args.row_begin = task.row_begin;
    args.row_end = task.row_end;
    args.packed = operands[piece.operand] + slot_offset(*piece.kernel->packing, matrix.cols, task.token_begin);
    args.tokens = tokens;
    args.out = add ? scratch + kernel_scratch : out;
    args.out_stride = add ? rows : matrix.rows;
    args.scratch = scratch;
    piece.kernel->multiply(args);
    if (!piece.bias.empty())
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t r = 0; r < rows; ++r) args.out[t * args.out_stride + r] += piece.bias[task.row_begin + r];
    for (std::size_t t = 0; add && t < tokens; ++t)
      pass.kernels.axpy(1.0f, args.out + t * rows, out + t * matrix.rows, rows);
  });
}

void multiply_here(const Pass& pass, const LocalProduct& p, std::size_t thread) {
  if (p.tokens == 0) return;
  const Matrix& matrix = *p.matrix;
  const Matmul& kernel = pass.kernels.matmul(p.path, matrix);
  std::byte* packed = pass.workspace.thread_packed[thread].get(packed_bytes(*kernel.packing, matrix.cols, p.tokens));
  kernels::PackArgs pack;
  pack.x = p.x;
  pack.x_stride = p.x_stride;
  pack.tokens = p.tokens;
  pack.cols = matrix.cols;
  pack.col_end = matrix.cols;
  pack.packed = packed;
  kernel.packing->pack(pack);
  kernels::MatmulArgs args;
  args.matrix = &matrix;
  args.row_begin = p.row_begin;
  args.row_end = p.row_end;
  args.packed = packed;
  args.tokens = p.tokens;
  args.out = p.out;
  args.out_stride = p.out_stride;
  args.scratch = pass.workspace.thread_scratch[thread].get(kernels::matmul_scratch(matrix.cols));
  kernel.multiply(args);
}

}  // namespace baleen
