// The keys and values of a prompt in a file, so that the next prompt that begins with the same tokens need
// not compute them again.
//
// Only rows of prompt tokens are ever saved, which Path::batch computed: a row depends on the tokens up to
// it, the form in which they attend (model/expansion.h), the model, the format of the KV cache and the
// kernels, and on nothing else (kernels/kernels.h). So a prompt goes on from rows of a file exactly, bit for
// bit, as from rows that it computed itself.
//
// All numbers of a file are little-endian:
//   "baleenKV"   8 bytes
//   version      uint32, 2
//   header size  uint32, bytes
//   checksum     uint64, XXH3 of the header
//   header       a JSON object, see parse_prompt_cache_header
//   token ids    int32 [tokens], a whole prompt
//   rows         for each layer: keys [tokens, heads, key_row_bytes], values [tokens, heads, value_row_bytes]
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/mapped_file.h"
#include "report/output_file.h"
#include "runtime/kv_cache.h"
#include "tokenizer/token_id.h"

namespace baleen {

// What decides over the bits of a row beside the tokens.
struct KvOrigin {
  std::string program;  // "baleen 0.1.0": another version may round otherwise
  std::string model;    // to_hex(model_fingerprint(...))
  std::string kernels;  // name and features: "avx2 (avx2 fma f16c)"
  std::string kv_type;  // as --kv-type spells it
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t key_row_bytes = 0;
  std::size_t value_row_bytes = 0;  // 0: values lie inside the keys

  bool operator==(const KvOrigin&) const = default;
};

// `layers`, of a cache of this layout.
KvOrigin kv_origin(std::string model, std::string kernels, const KvLayout& layout, std::size_t layers);

struct PromptCacheHeader {
  KvOrigin origin;
  std::size_t tokens = 0;
  std::uint64_t ids_checksum = 0;
  std::vector<std::uint64_t> layer_checksums;  // of a layer's keys and values together
};

inline constexpr std::size_t prompt_cache_prefix = 24;

// The header of a file, its checksum compared. Throws FormatError naming `file`, as the next two do.
std::span<const std::byte> prompt_cache_header(std::span<const std::byte> file_bytes, std::string_view file);

// Reads the JSON of a header in front of `data_bytes` bytes, which must be exactly what it speaks of:
//   {"schema": 1, "program", "model", "kernels", "kv_type", "layers", "heads", "key_row_bytes",
//   "value_row_bytes",
//    "tokens", "ids_checksum", "layer_checksums": [layers]}, checksums in hexadecimal.
PromptCacheHeader parse_prompt_cache_header(std::span<const std::byte> json, std::uint64_t data_bytes,
                                            std::string_view file);

// The token ids at the front of the data, their checksum compared.
std::vector<TokenId> parse_prompt_cache_ids(const PromptCacheHeader& header, std::span<const std::byte> data,
                                            std::string_view file);

class PromptCache {
 public:
  // Opens a file and checks everything in front of the rows. Throws Error if it is damaged, or was made by
  // another model or program or for other kernels than `expected`, saying which.
  static PromptCache load(const std::filesystem::path& file, const KvOrigin& expected);

  const std::vector<TokenId>& ids() const { return ids_; }
  // Positions of the file that `prompt` would compute to the same bits.
  std::size_t common_rows(const Config&, std::span<const TokenId> prompt) const;

  // Makes the file's first `positions` positions, which ids() and cache.context() must cover, the content of
  // an empty cache of the layout that was expected. Every layer's checksum is compared first; throws
  // FormatError, and the cache stays empty.
  void copy_into(KvCache& cache, std::size_t positions) const;

 private:
  PromptCache(MappedFile file, std::string name);

  MappedFile file_;
  std::string name_;
  PromptCacheHeader header_;
  std::vector<TokenId> ids_;
  std::span<const std::byte> rows_;
};

// Writes the rows of the first ids.size() positions of `cache`, which Path::batch computed for the prompt of
// these tokens, and commits `file`. Throws Error for what the system refuses; whatever had the file's name
// before is still there then.
void save_prompt_cache(NewFile& file, const KvOrigin& origin, std::span<const TokenId> ids,
                       const KvCache& cache);

}  // namespace baleen
