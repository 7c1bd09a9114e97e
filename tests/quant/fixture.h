// What the tests of quantizing share: small checkpoints that can be changed before they are written, and a
// whole run on them.
#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/fingerprint.h"
#include "checkpoint/fixture.h"
#include "kernels/kernels.h"
#include "quant/choose.h"
#include "quant/folder.h"
#include "quant/job.h"
#include "quant/output.h"
#include "quant/plan.h"
#include "quant/source.h"
#include "runtime/thread_pool.h"

namespace baleen::test {

namespace fs = std::filesystem;

inline std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// A golden model's config.json and tensors, in memory.
struct TestModel {
  nlohmann::json config;
  std::vector<StoredTensor> tensors;

  explicit TestModel(const std::string& golden) : config(golden_config(golden)) {
    const Checkpoint checkpoint = Checkpoint::open(golden_model(golden));
    for (const Tensor& t : checkpoint.tensors())
      tensors.push_back({std::string(t.name),
                         std::string(dtype_name(t.dtype)),
                         {t.shape.dim.begin(), t.shape.dim.begin() + t.shape.rank},
                         {reinterpret_cast<const char*>(t.data), t.bytes}});
  }

  StoredTensor& operator[](std::string_view name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  }

  const fs::path& write(const fs::path& dir) const {
    fs::create_directories(dir);
    write_file(dir / "config.json", config.dump());
    write_file(dir / "model.safetensors", safetensors(tensors));
    return dir;
  }
};

// One run of the library's parts in the order of the command.
struct Run {
  ChooseOptions choose{.to = Target{Encoding::int8, 32}, .rules = {}, .keep = {}, .only = {}};
  std::uint64_t shard_size = std::uint64_t{1} << 30;
  std::size_t threads = 1;
  std::string isa = "scalar";
  OutputOptions output = {.settings = "settings"};
  ScaleRule rule = ScaleRule::minmax;  // the quick one
  std::atomic<bool>* cancel = nullptr;
  std::function<void(std::uint64_t)> on_progress = {};

  Plan plan(const Source& source) const {
    return make_plan(source, baleen::choose(source, choose), shard_size);
  }
  OutputOptions options(const Source& source) const {
    OutputOptions o = output;
    o.source = model_fingerprint(source.dir(), source.model().checkpoint());
    return o;
  }

  void operator()(const fs::path& in, const fs::path& out) const {
    const Source source = Source::open(in);
    const std::vector<Decision> decisions = baleen::choose(source, choose);
    const Plan made = make_plan(source, decisions, shard_size);
    ThreadPool pool(threads);
    Output target(out, source, made, options(source));
    write_modules(
        source, made, target, pool,
        {.kernels = kernels::find_kernels(isa), .rule = rule, .cancel = cancel, .on_progress = on_progress});
    complete_folder(source, made, target, config_json(source, decisions));
    target.commit();
  }
};

// Every file of a folder, by name.
inline std::map<std::string, std::string> files_of(const fs::path& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir))
    if (entry.is_regular_file()) files[entry.path().filename().string()] = read_file(entry.path());
  return files;
}

inline std::vector<std::string> check_problems(const fs::path& dir) {
  ThreadPool pool(2);
  return check_folder(dir, *kernels::find_kernels("scalar"), pool, nullptr, {}).problems;
}

}  // namespace baleen::test
