#include "tokenizer/vocabulary.h"

#include <bit>
#include <cstring>

namespace baleen {
namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint32_t tag_of(std::uint64_t hash) {
  return static_cast<std::uint32_t>(hash >> 32);
}

}  // namespace

// Multiply and fold, eight bytes at a time (the construction of wyhash).
std::uint64_t hash_bytes(std::string_view text) {
  constexpr std::uint64_t kOdd1 = 0xA0761D6478BD642FULL, kOdd2 = 0xE7037ED1A0B428DBULL;
  std::uint64_t hash = kOdd1 ^ text.size();
  const char* p = text.data();
  std::size_t left = text.size();
  for (; left > 8; left -= 8, p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    hash = mix(hash ^ word, kOdd2);
  }
  std::uint64_t word = 0;
  if (left != 0) std::memcpy(&word, p, left);
  return mix(hash ^ word, kOdd2 ^ hash);
}

void Vocabulary::reserve(std::size_t tokens, std::size_t bytes) {
  text_.reserve(bytes);
  entries_.reserve(tokens);
  grow(std::bit_ceil(tokens * 2 + 16));
}

void Vocabulary::grow(std::size_t slots) {
  slots_.assign(slots, Slot{});
  for (std::size_t id = 0; id < entries_.size(); ++id) {
    const Entry& entry = entries_[id];
    if (!entry.used) continue;
    const std::string_view text = spelling(static_cast<TokenId>(id));
    const std::uint64_t hash = hash_bytes(text);
    slots_[slot_of(text, hash)] = {tag_of(hash), static_cast<TokenId>(id), entry.offset, entry.length};
  }
}

// The slot that holds the spelling, or the empty one where it belongs.
std::size_t Vocabulary::slot_of(std::string_view text, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id == kNoToken) return i;
    if (slot.tag == tag_of(hash) && std::string_view(text_).substr(slot.offset, slot.length) == text)
      return i;
  }
}

bool Vocabulary::add(std::string_view text, TokenId id) {
  if (has(id)) return false;
  if (slots_.size() < count_ * 2 + 2) grow(std::bit_ceil(count_ * 4 + 16));
  const std::uint64_t hash = hash_bytes(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id != kNoToken) {
    entries_[static_cast<std::size_t>(slot.id)].used = false;
    --count_;
  }
  if (entries_.size() <= static_cast<std::size_t>(id)) entries_.resize(static_cast<std::size_t>(id) + 1);
  slot = {tag_of(hash), id, static_cast<std::uint32_t>(text_.size()),
          static_cast<std::uint32_t>(text.size())};
  entries_[static_cast<std::size_t>(id)] = {slot.offset, slot.length, true};
  text_ += text;
  ++count_;
  return true;
}

TokenId Vocabulary::find(std::string_view text) const {
  return find(text, hash_bytes(text));
}

TokenId Vocabulary::find(std::string_view text, std::uint64_t hash) const {
  return slots_.empty() ? kNoToken : slots_[slot_of(text, hash)].id;
}

void Vocabulary::fetch_slot(std::uint64_t hash) const {
  if (!slots_.empty()) __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
}

void Vocabulary::fetch_text(std::uint64_t hash) const {
  if (!slots_.empty()) __builtin_prefetch(text_.data() + slots_[hash & (slots_.size() - 1)].offset);
}

std::string_view Vocabulary::spelling(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= entries_.size()) return {};
  const Entry& entry = entries_[static_cast<std::size_t>(id)];
  return std::string_view(text_).substr(entry.offset, entry.length);
}

bool Vocabulary::has(TokenId id) const {
  return id >= 0 && static_cast<std::size_t>(id) < entries_.size() &&
         entries_[static_cast<std::size_t>(id)].used;
}

}  // namespace baleen
