// Weights that were copied out of their files: the same results, nothing left in the page cache, and errors
// that leave the model as it was.
#include "model/resident.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/files.h"
#include "checkpoint/fixture.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/forward.h"
#include "model/memory_plan.h"
#include "runtime/session.h"

namespace baleen {
namespace {

using kernels::Matrix;
using test::contains;
using test::error_of;
using test::TempDir;

constexpr std::size_t page = 4096;

// A golden model in a folder of its own, on its disk.
void copy_model(const std::string& name, const TempDir& dir) {
  for (const auto& entry : std::filesystem::directory_iterator(testing::golden_dir() / name)) {
    if (entry.path().filename() == "expected.safetensors") continue;
    const auto to = dir.path() / entry.path().filename();
    std::filesystem::copy_file(entry.path(), to);
    const FileDescriptor file(::open(to.c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(::fsync(file.get()) == 0);  // dirty pages do not leave the page cache
  }
}

std::vector<float> logits_of(const Model& model, std::size_t tokens = 40) {
  ThreadPool pool(2);
  SessionOptions options;
  options.context = 64;
  options.kernels = kernels::find_kernels("auto");
  Session session(model, pool, options);
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < tokens; ++i)
    ids.push_back(static_cast<TokenId>(i * 37 % model.config().vocab_size));
  std::vector<float> rows;
  session.feed(ids, kernels::Path::batch, Session::Want::all, [&](std::size_t, std::span<const float> row) {
    rows.insert(rows.end(), row.begin(), row.end());
  });
  return rows;
}

// Pages of a mapping, or of other memory, that are there.
std::size_t pages_there(std::span<const std::byte> bytes) {
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::size_t before = address % size;
  std::vector<unsigned char> pages((before + bytes.size() + size - 1) / size);
  REQUIRE(::mincore(reinterpret_cast<void*>(address - before), before + bytes.size(), pages.data()) == 0);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](auto p) { return (p & 1) != 0; }));
}

std::size_t pages_there(const Checkpoint& checkpoint) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < checkpoint.files(); ++i) count += pages_there(checkpoint.file(i).bytes);
  return count;
}

// Some file systems live in the page cache.
bool can_be_dropped(const Model& model, const WeightFiles& files) {
  for (std::size_t i = 0; i < files.paths().size(); ++i)
    drop_pages(files.paths()[i], 0, model.checkpoint().file(i).bytes);
  if (pages_there(model.checkpoint()) == 0) return true;
  MESSAGE("files stay in the page cache here: what is dropped cannot be seen");
  return false;
}

std::uint64_t offset_of(const Model& model, std::string_view name) {
  return static_cast<std::uint64_t>(model.checkpoint().find(name)->data -
                                    model.checkpoint().file(0).bytes.data());
}

TEST_CASE("a model that holds its residents: the same bits, and they lie in no file") {
  ReadEngine engine = ReadEngine::pread;
  for (const char* name :
       {"models/deepseek_v3-moonlight", "models/deepseek_v3-int4", "models/deepseek_v3-fp8", "models/mixtral",
        "switches/deepseek_v3-tied", "switches/deepseek_v3-shards", "switches/deepseek_v3-all_dense",
        "switches/deepseek_v3-int4_actorder_group_asym"}) {
    CAPTURE(name);
    const TempDir dir;
    copy_model(name, dir);
    Model model = Model::open(dir.path());
    const WeightFiles files(model.checkpoint(), dir.path());
    const auto before = logits_of(model);
    const bool droppable = can_be_dropped(model, files);
    REQUIRE(logits_of(model) == before);
    CHECK(pages_there(model.checkpoint()) > 0);

    const MemoryPlan plan = plan_memory(model, files, std::uint64_t{1} << 40);
    ResidentOptions options;
    options.reader.engine = std::exchange(engine, ReadEngine::automatic);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> told;
    std::size_t beside = 0;  // pages of the checkpoint beside the copies
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
      told.emplace_back(done, total);
      beside = std::max(beside, pages_there(model.checkpoint()));
    };
    const ResidentWeights loaded = hold_resident(model, files, options);
    CHECK(loaded.bytes == plan.resident_bytes);
    CHECK(loaded.engine != ReadEngine::automatic);
    if (droppable) CHECK(pages_there(model.checkpoint()) == 0);
    if (droppable && loaded.direct) CHECK(beside == 0);
    REQUIRE_FALSE(told.empty());
    CHECK(std::is_sorted(told.begin(), told.end()));
    CHECK(told.back().first == told.back().second);

    CHECK(logits_of(model) == before);
    for (const Layer& layer : model.layers()) {
      for (const Matrix& matrix : layer.weights.all())
        for (const auto pointer : {&Matrix::values, &Matrix::scales, &Matrix::zeros, &Matrix::group_index})
          CHECK(files.tensor_of(matrix.*pointer) == nullptr);
      for (const Mlp& expert : layer.experts) CHECK(files.tensor_of(expert.down_proj.values) != nullptr);
    }
    const Weights& global = model.global();
    const bool tied = model.config().tie_word_embeddings;
    CHECK(files.tensor_of(global[Role::lm_head].values) == nullptr);
    CHECK(files.tensor_of(global[Role::norm].values) == nullptr);
    CHECK((files.tensor_of(global[Role::embed_tokens].values) == nullptr) == tied);
    CHECK((model.embedding_rows() == nullptr) == tied);
    CHECK((global[Role::lm_head].values == global[Role::embed_tokens].values) == tied);
  }
}

TEST_CASE("a second call is refused, and the model still works") {
  const auto dir = testing::golden_dir() / "models/olmoe";
  Model model = Model::open(dir);
  const WeightFiles files(model.checkpoint(), dir);
  const auto before = logits_of(model);
  hold_resident(model, files);
  CHECK_THROWS_AS(hold_resident(model, files), std::logic_error);
  CHECK(logits_of(model) == before);
}

TEST_CASE("a head that is rounded before or after: the same logits, and no second head in memory") {
  for (const char* name : {"models/deepseek_v3-moonlight", "switches/deepseek_v3-tied"}) {
    CAPTURE(name);
    const auto dir = testing::golden_dir() / name;
    ThreadPool pool(2);
    const auto round = [&](Model& model) {
      REQUIRE(model.round_head(pool, *kernels::find_kernels("auto")).bytes > 0);
    };
    Model mapped = Model::open(dir);
    round(mapped);
    const auto expected = logits_of(mapped);

    Model first = Model::open(dir);
    const WeightFiles first_files(first.checkpoint(), dir);
    const std::uint64_t with_head = plan_memory(first, first_files, std::uint64_t{1} << 40).resident_bytes;
    round(first);
    const std::uint64_t without_head = hold_resident(first, first_files).bytes;
    // A tied head of a few blocks is read through as what lies between others.
    if (first.config().tie_word_embeddings)
      CHECK(without_head <= with_head);
    else
      CHECK(without_head < with_head);
    CHECK(first_files.tensor_of(first.global()[Role::embed_tokens].values) != nullptr);
    CHECK(logits_of(first) == expected);

    Model last = Model::open(dir);
    const WeightFiles last_files(last.checkpoint(), dir);
    hold_resident(last, last_files);
    const Matrix stored = last.global()[Role::lm_head];
    const std::span<const std::byte> bytes{stored.values, stored.rows * stored.row_bytes};
    CHECK(pages_there(bytes) >= bytes.size() / page);
    round(last);
    // A tied one is the embedding still.
    if (last.config().tie_word_embeddings)
      CHECK(pages_there(bytes) >= bytes.size() / page);
    else
      CHECK(pages_there(bytes) <= 2);  // the pages that it shares
    CHECK(logits_of(last) == expected);
  }
}

TEST_CASE("a file that shrank: an error with file, tensor and offset") {
  const TempDir dir;
  copy_model("models/deepseek_v3-moonlight", dir);
  Model model = Model::open(dir.path());
  const WeightFiles files(model.checkpoint(), dir.path());
  // The last one: pieces of others that end behind it would fail too, in any order.
  const std::string tensor(model.checkpoint().tensors().back().name);
  REQUIRE(tensor == "model.norm.weight");
  const std::uint64_t end = offset_of(model, tensor) + 100;
  std::filesystem::resize_file(files.paths()[0], end);
  for (const bool direct : {true, false}) {
    ResidentOptions options;
    options.reader.direct = direct;
    const std::string error = error_of([&] { hold_resident(model, files, options); });
    CAPTURE(error);
    CHECK(error.starts_with(files.paths()[0].string() + ": " + tensor + ": offset " + std::to_string(end) +
                            ": the file ends, expected "));
  }
}

TEST_CASE("a read error and a cancelled load leave the model as it was") {
  const TempDir dir;
  copy_model("models/deepseek_v3-moonlight", dir);
  Model model = Model::open(dir.path());
  const WeightFiles files(model.checkpoint(), dir.path());
  const auto before = logits_of(model);
  const std::uint64_t broken = (offset_of(model, "lm_head.weight") / page + 2) * page;
  ResidentOptions options;
  options.reader.piece = page;
  options.reader.spoil = [&](const ReadAttempt& read, ssize_t result) {
    return read.offset <= broken && broken < read.offset + read.memory.size() ? -EIO : result;
  };
  const std::string error = error_of([&] { hold_resident(model, files, options); });
  CAPTURE(error);
  CHECK(error.starts_with(files.paths()[0].string() + ": lm_head.weight: offset "));
  CHECK(contains(error, "Input/output error"));
  CHECK(files.tensor_of(model.global()[Role::lm_head].values) != nullptr);

  // The header belongs to the first tensor that is read with it.
  const ReadError in_header(files.paths()[0], 0, 0, "why");
  CHECK(files.explained(in_header).what() == files.paths()[0].string() + ": " +
                                                 std::string(model.checkpoint().tensors()[0].name) +
                                                 ": offset 0: why");

  options.reader.spoil = {};
  std::atomic<bool> cancel{true};
  options.cancel = &cancel;
  CHECK_THROWS_AS(hold_resident(model, files, options), Cancelled);
  CHECK(files.tensor_of(model.global()[Role::lm_head].values) != nullptr);
  CHECK(logits_of(model) == before);

  cancel = false;
  hold_resident(model, files, options);
  CHECK(logits_of(model) == before);
}

TEST_CASE("rows of an embedding that do not all fit come in groups, and no more than allowed stay") {
  const TempDir dir;
  copy_model("models/deepseek_v3-fp8", dir);  // 192 KiB of rows: four or five pieces of 64 KiB
  Model model = Model::open(dir.path());
  const WeightFiles files(model.checkpoint(), dir.path());
  const auto before = logits_of(model);
  const Tensor& embedding = *model.checkpoint().find("model.embed_tokens.weight");
  const std::span<const std::byte> bytes{embedding.data, embedding.bytes};
  const bool droppable = can_be_dropped(model, files);
  for (const std::size_t allowance : {std::size_t{0}, std::size_t{64} << 10, std::size_t{1} << 20}) {
    CAPTURE(allowance);
    Model bounded = Model::open(dir.path());
    const std::span<const std::byte> rows{bounded.checkpoint().find("model.embed_tokens.weight")->data,
                                          bytes.size()};
    bounded.hold(nullptr, std::make_unique<BoundedRows>(files.paths()[0], offset_of(model, embedding.name),
                                                        rows, allowance));
    CHECK(logits_of(bounded) == before);
    // One row may lie in two pieces.
    CHECK(bounded.embedding_rows()->held() <= std::max(allowance, std::size_t{128} << 10));
    CHECK(bounded.embedding_rows()->held() > 0);
    drop_pages(files.paths()[0], offset_of(model, embedding.name), rows);

    // One after another, and all of them again.
    std::vector<std::span<const std::byte>> all;
    const std::size_t row_bytes = rows.size() / bounded.config().vocab_size;
    for (std::size_t i = 0; i < bounded.config().vocab_size; ++i)
      all.push_back(rows.subspan(i * 211 % bounded.config().vocab_size * row_bytes, row_bytes));
    for (std::size_t begin = 0; begin < all.size();) {
      const std::size_t count = bounded.embedding_rows()->bring(std::span(all).subspan(begin));
      REQUIRE(count > 0);
      begin += count;
      if (droppable && begin < 100)
        CHECK(pages_there(rows) <= std::max(allowance, std::size_t{128} << 10) / page + 2);
    }
  }
}

}  // namespace
}  // namespace baleen
