// A long sequence of numbers in bounded memory: what does not fit goes to a temporary file, for computations
// that must see the future before the present (a second pass from the end).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace baleen {

class Spool {
 public:
  // Holds at most two blocks of so many numbers in memory.
  explicit Spool(std::size_t block);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // These throw Error if the temporary file cannot be made, written or read. It lies in TMPDIR or /tmp
  // without a name, so that nothing is left behind however the program ends.
  void append(std::uint64_t);
  // Hands over the numbers in pieces, the last piece first; what `change` writes there is kept.
  void backward(const std::function<void(std::span<std::uint64_t>)>& change);
  // The same pieces, the first first.
  void forward(const std::function<void(std::span<const std::uint64_t>)>& use);

  // Bytes in the temporary file; 0: there is none.
  std::uint64_t file_bytes() const { return blocks_ * block_ * sizeof(std::uint64_t); }

 private:
  void write(std::size_t block_index, std::span<const std::uint64_t>);
  void read(std::size_t block_index, std::span<std::uint64_t>);

  std::size_t block_;
  std::vector<std::uint64_t> tail_;  // the numbers behind the last block in the file
  std::size_t blocks_ = 0;           // whole blocks in the file
  int file_ = -1;
};

}  // namespace baleen
