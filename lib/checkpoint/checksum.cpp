#include "checkpoint/checksum.h"

#include <xxhash.h>

#include <array>
#include <charconv>
#include <new>

namespace baleen {

Checksum::Checksum() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_64bits_reset(state_.get());
}

void Checksum::Free::operator()(XXH3_state_s* state) const {
  XXH3_freeState(state);
}

Checksum& Checksum::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  return *this;
}

Checksum& Checksum::add_text(std::string_view text) {
  return add_number(text.size()).add(std::as_bytes(std::span(text)));
}

Checksum& Checksum::add_number(std::uint64_t number) {
  std::array<std::byte, sizeof number> bytes;  // little-endian everywhere
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(number & 0xFF);
    number >>= 8;
  }
  return add(bytes);
}

std::uint64_t Checksum::value() const {
  return XXH3_64bits_digest(state_.get());
}

std::string to_hex(std::uint64_t number) {
  std::string text(16, '0');
  for (std::size_t i = text.size(); number != 0; number >>= 4) text[--i] = "0123456789abcdef"[number & 15];
  return text;
}

std::optional<std::uint64_t> from_hex(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number, 16);
  if (text.size() != 16 || error != std::errc() || stopped != end) return std::nullopt;
  return number;
}

}  // namespace baleen
