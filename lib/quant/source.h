// The checkpoint that is to be quantized, as what becomes of it is decided: module by module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/page_cache.h"
#include "checkpoint/quantized.h"
#include "model/model.h"

namespace baleen {

inline constexpr std::size_t no_number = static_cast<std::size_t>(-1);

// A weight matrix with all tensors that stand for it, or any other tensor alone.
struct SourceModule {
  std::string name;       // of a matrix: the linear layer's, without ".weight"; else the tensor's
  std::string_view part;  // as the architecture's table calls it; "other" for what is not in it
  std::size_t layer = no_number;
  std::size_t expert = no_number;
  bool quantizable = false;      // a matrix of attention, experts or dense layers
  std::optional<Weight> weight;  // of a matrix
  DType plain = DType::bf16;     // of a matrix: its type if it is stored plainly, else bf16
  std::vector<const Tensor*> tensors;

  bool is_quantized() const { return weight && weight->matrix.scales != nullptr; }
  std::uint64_t bytes() const;
};

// Scales and whatever else stands beside a module's values, while they are streamed: brought in at once, and
// given up at its end.
class CompanionReading {
 public:
  CompanionReading(const SourceModule&, StreamedReading&);
  ~CompanionReading();
  CompanionReading(const CompanionReading&) = delete;
  CompanionReading& operator=(const CompanionReading&) = delete;

 private:
  const SourceModule& module_;
  StreamedReading& reading_;
};

class Source {
 public:
  // Opens a Hugging Face folder and checks every tensor, as Model::open does. Multi-token-prediction layers
  // behind the model's last one count as layers. A matrix that is not in the architecture's table stays as it
  // is, with all that is stored beside it. Throws Error listing what is missing or wrong.
  static Source open(const std::filesystem::path& dir);

  const std::filesystem::path& dir() const { return dir_; }
  const std::string& config_json() const { return config_json_; }
  const Model& model() const { return model_; }
  const Quantization& quantization() const { return quantization_; }
  // In the order of the files.
  const std::vector<SourceModule>& modules() const { return modules_; }

 private:
  Source(std::filesystem::path dir, std::string config_json, Model model);

  std::filesystem::path dir_;
  std::string config_json_;
  Model model_;
  Quantization quantization_;
  std::vector<SourceModule> modules_;
};

}  // namespace baleen
