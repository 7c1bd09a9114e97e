#include "runtime/prompt_cache.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/checksum.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/problems.h"
#include "error.h"
#include "model/expansion.h"
#include "report/units.h"
#include "report/version.h"
#include "runtime/kv_formats.h"

namespace baleen {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie in memory");

constexpr std::string_view magic = "baleenKV";
constexpr std::uint32_t format_version = 2;
constexpr std::size_t max_header_bytes = std::size_t{1} << 20;  // of 61 layers: 1,500
constexpr std::size_t max_text = 256;
constexpr std::size_t max_layers = 1U << 15;
constexpr std::size_t max_tokens = std::numeric_limits<std::uint32_t>::max();  // as positions are counted
constexpr std::size_t max_row_bytes = std::size_t{1} << 40;                    // a bound for arithmetic

template <typename Number>
Number number_at(std::span<const std::byte> bytes, std::size_t offset) {
  Number number;
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A prompt cache that is no use: nothing is lost with it.
[[noreturn]] void refuse(std::string_view file, const std::string& what) {
  throw FormatError(file, what + "\nremove it or give another file");
}

void check_checksum(std::string_view file, const std::string& what, std::uint64_t found,
                    std::uint64_t expected) {
  if (found == expected) return;
  refuse(file,
         what + ": checksum " + to_hex(found) + ", expected " + to_hex(expected) + "; the file is damaged");
}

// Reads fields that all must be there. A problem with one is put on the list; what is returned is then of no
// use.
class HeaderFields {
 public:
  HeaderFields(const nlohmann::json& object, std::vector<std::string>& problems)
      : fields_(object, "", problems) {}

  std::size_t whole(std::string_view key, std::size_t min, std::size_t max) const {
    if (!fields_.has(key)) fields_.expected(key, "a whole number");
    return fields_.whole(key, min, max).value_or(0);
  }
  // Short and printable: it may stand in a message.
  std::string text(std::string_view key) const {
    const std::string text = fields_.text(key).value_or("");
    const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
    if (text.empty() || text.size() > max_text || !std::all_of(text.begin(), text.end(), printable))
      fields_.expected(key, "a short text");
    return text;
  }
  std::uint64_t checksum(std::string_view key) const {
    const auto number = from_hex(text(key));
    if (!number) fields_.expected(key, "sixteen hexadecimal digits");
    return number.value_or(0);
  }
  std::vector<std::uint64_t> checksums(std::string_view key, std::size_t count) const {
    std::vector<std::uint64_t> numbers;
    for (const std::string& hex : fields_.texts(key))
      if (const auto number = from_hex(hex)) numbers.push_back(*number);
    if (numbers.size() != count)
      fields_.expected(key, "a checksum for each of the " + std::to_string(count) + " layers");
    return numbers;
  }

 private:
  JsonFields fields_;
};

std::uint64_t layer_bytes(const PromptCacheHeader& header) {
  const KvOrigin& origin = header.origin;
  const std::uint64_t position =
      saturating_product(origin.heads, origin.key_row_bytes + origin.value_row_bytes);
  return saturating_product(header.tokens, position);
}

// The first positions of a layer as they lie in memory: the rows of all heads follow each other.
std::array<std::span<std::byte>, 2> rows(const KvCache& cache, std::size_t layer, std::size_t positions) {
  std::span<std::byte> values;
  if (cache.layout().value_width != 0) values = {cache.values(layer, 0), positions * cache.value_stride()};
  return {std::span(cache.keys(layer, 0), positions * cache.key_stride()), values};
}

std::string json_of(const PromptCacheHeader& header) {
  const KvOrigin& origin = header.origin;
  nlohmann::ordered_json checksums = nlohmann::ordered_json::array();
  for (const std::uint64_t checksum : header.layer_checksums) checksums.push_back(to_hex(checksum));
  const nlohmann::ordered_json object = {{"schema", 1},
                                         {"program", origin.program},
                                         {"model", origin.model},
                                         {"kernels", origin.kernels},
                                         {"kv_type", origin.kv_type},
                                         {"layers", origin.layers},
                                         {"heads", origin.heads},
                                         {"key_row_bytes", origin.key_row_bytes},
                                         {"value_row_bytes", origin.value_row_bytes},
                                         {"tokens", header.tokens},
                                         {"ids_checksum", to_hex(header.ids_checksum)},
                                         {"layer_checksums", checksums}};
  return object.dump();
}

void check_origin(std::string_view file, const KvOrigin& found, const KvOrigin& expected) {
  const auto check = [&](const std::string& what, const std::string& has, const std::string& wanted) {
    if (has == wanted) return;
    refuse(file, "made " + what + " " + has + ", expected " + wanted);
  };
  check("by another version,", found.program, expected.program);
  check("with another model, fingerprint", found.model, expected.model);
  check("for --kv-type", found.kv_type, expected.kv_type);
  check("on another instruction set,", found.kernels, expected.kernels);
  // The same model and format have the same sizes, unless somebody made the file by hand.
  if (found != expected) refuse(file, "sizes of keys and values that are not this model's");
}

}  // namespace

KvOrigin kv_origin(std::string model, std::string kernels, const KvLayout& layout, std::size_t layers) {
  return {.program = "baleen " + std::string(version()),
          .model = std::move(model),
          .kernels = std::move(kernels),
          .kv_type = std::string(kv_format_name(layout.format)),
          .layers = layers,
          .heads = layout.heads,
          .key_row_bytes = layout.key_row_bytes,
          .value_row_bytes = layout.value_width == 0 ? 0 : layout.value_row_bytes};
}

std::span<const std::byte> prompt_cache_header(std::span<const std::byte> file_bytes, std::string_view file) {
  const std::size_t compared = std::min(magic.size(), file_bytes.size());
  if (compared == 0 || std::memcmp(file_bytes.data(), magic.data(), compared) != 0)
    throw FormatError(file, "not a prompt cache, expected one that --prompt-cache made, or no file");
  if (file_bytes.size() < prompt_cache_prefix)
    refuse(file, std::to_string(file_bytes.size()) + " bytes, expected " +
                     std::to_string(prompt_cache_prefix) + " at least; the file is damaged");
  if (const auto found = number_at<std::uint32_t>(file_bytes, 8); found != format_version)
    refuse(file, "a prompt cache of version " + std::to_string(found) + ", expected " +
                     std::to_string(format_version));
  const auto size = number_at<std::uint32_t>(file_bytes, 12);
  const std::size_t most = std::min(max_header_bytes, file_bytes.size() - prompt_cache_prefix);
  if (size > most)
    refuse(file, "a header of " + std::to_string(size) + " bytes, expected " + std::to_string(most) +
                     " at most; the file is damaged");
  const auto header = file_bytes.subspan(prompt_cache_prefix, size);
  check_checksum(file, "header", Checksum().add(header).value(), number_at<std::uint64_t>(file_bytes, 16));
  return header;
}

PromptCacheHeader parse_prompt_cache_header(std::span<const std::byte> json, std::uint64_t data_bytes,
                                            std::string_view file) {
  const auto object = parse_json_object(as_text(json), file);
  std::vector<std::string> problems;
  const HeaderFields fields(object, problems);
  fields.whole("schema", 1, 1);
  PromptCacheHeader header;
  KvOrigin& origin = header.origin;
  origin.program = fields.text("program");
  origin.model = fields.text("model");
  origin.kernels = fields.text("kernels");
  origin.kv_type = fields.text("kv_type");
  origin.layers = fields.whole("layers", 1, max_layers);
  origin.heads = fields.whole("heads", 1, max_row_bytes);
  origin.key_row_bytes = fields.whole("key_row_bytes", 1, max_row_bytes);
  origin.value_row_bytes = fields.whole("value_row_bytes", 0, max_row_bytes);
  header.tokens = fields.whole("tokens", 1, max_tokens);
  header.ids_checksum = fields.checksum("ids_checksum");
  header.layer_checksums = fields.checksums("layer_checksums", origin.layers);
  throw_problems(std::string(file), problems);

  const std::uint64_t ids_bytes = header.tokens * sizeof(TokenId);
  const std::uint64_t rows_bytes = saturating_product(origin.layers, layer_bytes(header));
  if (data_bytes < ids_bytes || data_bytes - ids_bytes != rows_bytes)
    refuse(file, std::to_string(data_bytes) + " bytes of tokens and rows, expected " +
                     std::to_string(ids_bytes) + " + " + std::to_string(rows_bytes) +
                     "; the file is damaged");
  return header;
}

std::vector<TokenId> parse_prompt_cache_ids(const PromptCacheHeader& header, std::span<const std::byte> data,
                                            std::string_view file) {
  const auto bytes = data.first(header.tokens * sizeof(TokenId));
  check_checksum(file, "token ids", Checksum().add(bytes).value(), header.ids_checksum);
  std::vector<TokenId> ids(header.tokens);
  std::memcpy(ids.data(), bytes.data(), bytes.size());
  return ids;
}

PromptCache::PromptCache(MappedFile file, std::string name) : file_(std::move(file)), name_(std::move(name)) {
  const std::span<const std::byte> bytes = file_.bytes();
  const std::span<const std::byte> json = prompt_cache_header(bytes, name_);
  const std::span<const std::byte> data = bytes.subspan(prompt_cache_prefix + json.size());
  header_ = parse_prompt_cache_header(json, data.size(), name_);
  ids_ = parse_prompt_cache_ids(header_, data, name_);
  rows_ = data.subspan(ids_.size() * sizeof(TokenId));
}

PromptCache PromptCache::load(const std::filesystem::path& file, const KvOrigin& expected) {
  PromptCache cache(MappedFile(file), file.string());
  check_origin(cache.name_, cache.header_.origin, expected);
  return cache;
}

std::size_t PromptCache::common_rows(const Config& config, std::span<const TokenId> prompt) const {
  return Expansion().common_rows(config, {ids_, ids_.size()}, {prompt, prompt.size()});
}

void PromptCache::copy_into(KvCache& cache, std::size_t positions) const {
  const std::size_t bytes = layer_bytes(header_);
  const std::size_t keys = ids_.size() * cache.key_stride();  // values of a layer lie behind them
  for (std::size_t layer = 0; layer < header_.origin.layers; ++layer) {
    const std::span<const std::byte> saved = rows_.subspan(layer * bytes, bytes);
    check_checksum(name_, "layer " + std::to_string(layer), Checksum().add(saved).value(),
                   header_.layer_checksums[layer]);
    const auto [key_rows, value_rows] = rows(cache, layer, positions);
    std::copy_n(saved.begin(), key_rows.size(), key_rows.begin());
    std::copy_n(saved.subspan(keys).begin(), value_rows.size(), value_rows.begin());
  }
  cache.set_length(positions);
}

void save_prompt_cache(NewFile& file, const KvOrigin& origin, std::span<const TokenId> ids,
                       const KvCache& cache) {
  PromptCacheHeader header{.origin = origin,
                           .tokens = ids.size(),
                           .ids_checksum = Checksum().add(std::as_bytes(ids)).value(),
                           .layer_checksums = {}};
  for (std::size_t layer = 0; layer < origin.layers; ++layer) {
    const auto [keys, values] = rows(cache, layer, ids.size());
    header.layer_checksums.push_back(Checksum().add(keys).add(values).value());
  }
  const std::string json = json_of(header);
  const auto size = static_cast<std::uint32_t>(json.size());
  const std::uint64_t checksum = Checksum().add(std::as_bytes(std::span(json))).value();
  file.write(magic);
  file.write(as_text(std::as_bytes(std::span(&format_version, 1))));
  file.write(as_text(std::as_bytes(std::span(&size, 1))));
  file.write(as_text(std::as_bytes(std::span(&checksum, 1))));
  file.write(json);
  file.write(as_text(std::as_bytes(ids)));
  for (std::size_t layer = 0; layer < origin.layers; ++layer)
    for (const std::span<const std::byte> part : rows(cache, layer, ids.size())) file.write(as_text(part));
  file.commit();
}

}  // namespace baleen
