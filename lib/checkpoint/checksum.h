// XXH3 in 64 bits (github.com/Cyan4973/xxHash): fast enough to look at every byte of a file. It finds
// accidents, not forgeries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace baleen {

class Checksum {
 public:
  Checksum();
  Checksum& add(std::span<const std::byte> bytes);
  // Its length goes in front, so that texts behind one another cannot be cut elsewhere.
  Checksum& add_text(std::string_view text);
  Checksum& add_number(std::uint64_t number);
  std::uint64_t value() const;

 private:
  struct Free {
    void operator()(XXH3_state_s*) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

// Sixteen hexadecimal digits, and back; nothing for any other text.
std::string to_hex(std::uint64_t number);
std::optional<std::uint64_t> from_hex(std::string_view text);

}  // namespace baleen
