// How much the steps of a tokenizer.json may add to a text. Each alone is harmless, but those of a hostile
// file multiply: nine that make ten letters of one would fill any memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "error.h"

namespace baleen {

class Growth {
 public:
  // What `who` may add to a text of `size` bytes. Published files make at most 33 bytes of a character's 3
  // (NFKD of U+FDFA), and then 2 of each byte (ByteLevel). Positions in a text have 32 bits, with sign.
  Growth(const char* who, std::size_t size)
      : who_(who), left_(std::min(64 * size + kAlways, std::max(size, kLargest) - size)) {}

  void change(std::size_t before, std::size_t after) {
    if (after <= before) return;
    if (after - before > left_) {
      throw Error("the " + std::string(who_) + " of tokenizer.json lets this text grow too much: " +
                  "by more than 64 times its size\nand 1 MiB, or beyond 2 GiB");
    }
    left_ -= after - before;
  }

 private:
  static constexpr std::size_t kAlways = std::size_t{1} << 20, kLargest = 0x7FFFFFFF;
  const char* who_;
  std::size_t left_;
};

}  // namespace baleen
