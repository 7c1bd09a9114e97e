#include "quant/folder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include "checkpoint/checksum.h"
#include "checkpoint/files.h"
#include "checkpoint/page_cache.h"
#include "error.h"
#include "model/forward.h"
#include "quant/manifest.h"

namespace baleen {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t largest_copy = std::size_t{256} << 20;
constexpr std::size_t largest_manifest = std::size_t{1} << 30;
constexpr std::size_t block_bytes = std::size_t{4} << 20;
constexpr std::string_view templates_folder = "additional_chat_templates";
constexpr std::string_view index_name = "model.safetensors.index.json";

// Weights in whatever form, and what is written anew.
bool is_weight_file(const fs::path& path) {
  static constexpr std::array<std::string_view, 10> extensions = {
      ".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ckpt", ".part"};
  const std::string name = path.filename().string();
  return name.starts_with('.') || name == "config.json" || name == manifest_name || name == journal_name ||
         name.ends_with(".index.json") ||
         std::count(extensions.begin(), extensions.end(), path.extension().string()) > 0;
}

// Names, relative to the folder, of the files that a model has beside its weights.
std::vector<std::string> side_files(const fs::path& dir) {
  std::vector<std::string> names;
  const auto add = [&](const fs::path& folder, const std::string& prefix) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      if (it->is_regular_file(error) && !is_weight_file(it->path()))
        names.push_back(prefix + it->path().filename().string());
    if (error && prefix.empty()) throw_system_error(folder, "", error.value());
  };
  add(dir, "");
  add(dir / templates_folder, std::string(templates_folder) + "/");
  std::sort(names.begin(), names.end());
  return names;
}

std::uint64_t checksum_of(std::string_view bytes) {
  return Checksum().add(std::as_bytes(std::span(bytes))).value();
}

std::uint64_t checksum_of(const Tensor& tensor, StreamedReading& reading, const std::atomic<bool>* cancel) {
  Checksum checksum;
  StreamedRange range(reading, {tensor.data, tensor.bytes});
  for (std::size_t at = 0; at < tensor.bytes; at += block_bytes) {
    check_cancelled(cancel);
    checksum.add(range.ready(at, std::min<std::size_t>(tensor.bytes, at + block_bytes)));
  }
  return checksum.value();
}

std::string place(const Tensor& tensor) {
  return std::string(tensor.file) + ": " + std::string(tensor.name);
}

// The first scale of a quantized matrix that is not finite or below zero, in words; "" if there is none.
std::string bad_scale(const SourceModule& module, const kernels::Kernels& kernels) {
  const kernels::Matrix& m = module.weight->matrix;
  if (m.scales == nullptr) return "";
  const bool exponents = m.scale_format == kernels::Format::e8m0;
  const std::size_t rows = (m.rows + m.block_rows - 1) / m.block_rows;
  const Tensor* tensor = module.tensors[0];
  for (const Tensor* const t : module.tensors)
    if (t->data == m.scales) tensor = t;
  std::vector<float> scales(m.scale_cols);
  kernels::Matrix as_matrix;  // scales, read as a plain matrix is
  as_matrix.format = m.scale_format;
  as_matrix.rows = rows;
  as_matrix.cols = m.scale_cols;
  as_matrix.row_bytes = m.scale_cols * (m.scale_format == kernels::Format::f32 ? 4 : 2);
  as_matrix.values = m.scales;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; exponents && c < m.scale_cols; ++c)
      scales[c] = m.scales[r * m.scale_cols + c] == std::byte{255} ? std::nanf("") : 1;
    if (!exponents) kernels.widen_row[static_cast<std::size_t>(m.scale_format)](as_matrix, r, scales.data());
    for (std::size_t c = 0; c < m.scale_cols; ++c)
      if (!std::isfinite(scales[c]) || scales[c] < 0)
        return place(*tensor) + ": the scale in row " + std::to_string(r) + ", column " + std::to_string(c) +
               " is " + std::to_string(scales[c]) + ", expected a finite number from 0";
  }
  return "";
}

void check_side_files(const fs::path& dir, const Manifest& manifest, std::vector<std::string>& problems) {
  for (const auto& [name, checksum] : manifest.files) {
    try {
      if (checksum_of(read_small_file(dir / name, largest_manifest)) != checksum)
        problems.push_back(name + ": its checksum is another one than when it was written");
    } catch (const Error& error) {
      problems.emplace_back(error.what());
    }
  }
}

}  // namespace

std::uint64_t bytes_beside(const Source& source, const Plan& plan) {
  // config.json's list of modules, the index and the manifest: each has a line for a tensor at most.
  constexpr std::uint64_t line_bytes = 100;
  std::uint64_t bytes = source.config_json().size() + (std::uint64_t{1} << 20);
  for (const PlannedTensor& tensor : plan.tensors) bytes += 3 * (tensor.name.size() + line_bytes);
  for (const std::string& name : side_files(source.dir()))
    if (const std::size_t size = open_regular_file(source.dir() / name).size; size <= largest_copy)
      bytes += size;
  return bytes;
}

std::vector<std::string> complete_folder(const Source& source, const Plan& plan, Output& output,
                                         std::string_view config_json) {
  Manifest manifest;
  manifest.identity = output.identity();
  std::vector<std::string> left_out;
  const auto add = [&](const std::string& name, std::string_view bytes) {
    output.add_file(name, bytes);
    manifest.files[name] = checksum_of(bytes);
  };
  for (const std::string& name : side_files(source.dir())) {
    const fs::path path = source.dir() / name;
    if (open_regular_file(path).size > largest_copy)
      left_out.push_back(name);
    else
      add(name, read_small_file(path, largest_copy));
  }
  add("config.json", config_json);
  if (const std::string index = index_json(plan); !index.empty()) add(std::string(index_name), index);
  for (std::size_t i = 0; i < plan.modules.size(); ++i)
    for (std::size_t t = 0; t < plan.modules[i].tensor_count; ++t)
      manifest.tensors[plan.tensors_of(i)[t].name] = output.result(i)->checksums[t];
  output.add_file(manifest_name, manifest_json(manifest));
  return left_out;
}

bool is_complete(const fs::path& out, std::string_view identity) {
  const fs::path file = out / manifest_name;
  return path_exists(file) &&
         parse_manifest(read_small_file(file, largest_manifest), file.string()).identity == identity;
}

CheckResult check_folder(const fs::path& dir, const kernels::Kernels& kernels, ThreadPool& pool,
                         const std::atomic<bool>* cancel, const OnBytes& on_bytes) {
  CheckResult result;
  const Source source = Source::open(dir);
  Manifest manifest;
  const fs::path manifest_file = dir / manifest_name;
  result.has_checksums = path_exists(manifest_file);
  if (result.has_checksums)
    manifest = parse_manifest(read_small_file(manifest_file, largest_manifest), manifest_file.string());
  check_side_files(dir, manifest, result.problems);
  const Checkpoint& checkpoint = source.model().checkpoint();
  StreamedReading reading(dir, checkpoint);
  BytesDone done(on_bytes);
  std::vector<std::string> by_module(source.modules().size());
  pool.parallel_for(source.modules().size(), [&](std::size_t i, std::size_t) {
    const SourceModule& module = source.modules()[i];
    const CompanionReading scales(module, reading);
    for (const Tensor* const tensor : module.tensors) {
      if (!result.has_checksums) break;
      const auto known = manifest.tensors.find(std::string(tensor->name));
      if (known == manifest.tensors.end())
        by_module[i] += place(*tensor) + ": not in " + std::string(manifest_name) + "\n";
      else if (checksum_of(*tensor, reading, cancel) != known->second)
        by_module[i] += place(*tensor) + ": its checksum is another one than when it was written\n";
    }
    if (module.is_quantized()) by_module[i] += bad_scale(module, kernels);
    done.add(module.bytes());
  });
  for (std::string& text : by_module) {
    if (!text.empty() && text.back() == '\n') text.pop_back();
    if (!text.empty()) result.problems.push_back(std::move(text));
  }
  for (const auto& [name, checksum] : manifest.tensors)
    if (checkpoint.find(name) == nullptr) result.problems.push_back(name + ": missing");
  result.tensors = checkpoint.tensors().size();
  result.bytes = checkpoint.bytes();
  return result;
}

std::vector<EncodeError> read_back(const Source& source, const Plan& plan, const Source& written,
                                   const kernels::Kernels& kernels, ThreadPool& pool,
                                   const std::atomic<bool>* cancel, const OnBytes& on_bytes) {
  std::unordered_map<std::string_view, const SourceModule*> by_name;
  for (const SourceModule& module : written.modules()) by_name[module.name] = &module;
  StreamedReading source_reading(source.dir(), source.model().checkpoint());
  StreamedReading written_reading(written.dir(), written.model().checkpoint());
  BytesDone done(on_bytes);
  std::vector<EncodeError> errors(plan.modules.size());
  const auto read_row = [&](const kernels::Matrix& m, std::size_t row, StreamedRange& range,
                            std::vector<float>& out) {
    range.ready(row * m.row_bytes, (row + 1) * m.row_bytes);
    kernels.widen_row[static_cast<std::size_t>(m.format)](m, row, out.data());
  };
  pool.parallel_for(plan.modules.size(), [&](std::size_t i, std::size_t) {
    const SourceModule& module = source.modules()[i];
    if (plan.modules[i].work == Work::encode) {
      const SourceModule& result = *by_name.at(module.name);
      const kernels::Matrix& before = module.weight->matrix;
      const kernels::Matrix& after = result.weight->matrix;
      const CompanionReading source_scales(module, source_reading);
      const CompanionReading written_scales(result, written_reading);
      StreamedRange source_rows(source_reading, {before.values, before.rows * before.row_bytes});
      StreamedRange written_rows(written_reading, {after.values, after.rows * after.row_bytes});
      std::vector<float> a(before.cols);
      std::vector<float> b(before.cols);
      for (std::size_t row = 0; row < before.rows; ++row) {
        check_cancelled(cancel);
        read_row(before, row, source_rows, a);
        read_row(after, row, written_rows, b);
        double error = 0;
        double norm = 0;
        for (std::size_t c = 0; c < before.cols; ++c) {
          const double difference = static_cast<double>(b[c]) - static_cast<double>(a[c]);
          error += difference * difference;
          norm += static_cast<double>(a[c]) * static_cast<double>(a[c]);
        }
        errors[i].error += error;
        errors[i].norm += norm;
      }
    }
    done.add(module.bytes());
  });
  return errors;
}

}  // namespace baleen
