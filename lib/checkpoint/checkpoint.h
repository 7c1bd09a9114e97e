// A Hugging Face folder, opened: its files mapped read-only, every tensor found by name, nothing copied.
// What the tensors mean (which must exist, of which shape) is the architecture's table, in model/.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baleen {

enum class DType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean
};

std::string_view dtype_name(DType);  // as safetensors spells it: "BF16"
std::size_t dtype_bytes(DType);

// Dimensions of a tensor, outermost first; safetensors allows more, model weights have at most four.
struct Shape {
  std::array<std::uint64_t, 4> dim{};
  std::uint8_t rank = 0;
};
std::string to_string(const Shape&);  // "[256, 7168]"
bool operator==(const Shape&, const Shape&);

// One tensor where it lies in its file. Non-owning: valid while the Checkpoint lives. `data` has any
// alignment.
struct Tensor {
  std::string_view name;
  std::string_view file;  // file name without folder
  DType dtype = DType::f32;
  Shape shape;
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;
};

// A file of weights, whole, as it is mapped.
struct WeightFile {
  std::string_view name;  // without folder
  std::span<const std::byte> bytes;
};

class Checkpoint {
 public:
  // Opens model.safetensors, or all files that model.safetensors.index.json names, in `dir`. Reads headers
  // only. Throws FormatError (or Error for what the system refuses), naming the file.
  static Checkpoint open(const std::filesystem::path& dir);

  // Tensors that lie in memory instead of in files, which `memory` keeps alive. Names must differ.
  struct MemoryTensor {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    const std::byte* data = nullptr;
    std::uint64_t bytes = 0;
  };
  static Checkpoint in_memory(std::span<const MemoryTensor> tensors, std::shared_ptr<const void> memory);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const Tensor* find(std::string_view name) const;  // nullptr if there is none
  std::span<const Tensor> tensors() const;          // in the order of files and offsets
  std::uint64_t bytes() const;                      // of all tensors
  std::size_t files() const;
  WeightFile file(std::size_t index) const;  // in the order of their names

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

}  // namespace baleen
