#include "checkpoint/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "error.h"

namespace baleen {

namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};

// In the order of the enumeration.
constexpr std::array<DTypeInfo, 13> dtypes = {{{DType::f64, "F64", 8},
                                               {DType::f32, "F32", 4},
                                               {DType::f16, "F16", 2},
                                               {DType::bf16, "BF16", 2},
                                               {DType::f8_e4m3, "F8_E4M3", 1},
                                               {DType::f8_e5m2, "F8_E5M2", 1},
                                               {DType::f8_e8m0, "F8_E8M0", 1},
                                               {DType::i64, "I64", 8},
                                               {DType::i32, "I32", 4},
                                               {DType::i16, "I16", 2},
                                               {DType::i8, "I8", 1},
                                               {DType::u8, "U8", 1},
                                               {DType::boolean, "BOOL", 1}}};

// A name or a value from a file, for a message: cut short, control characters replaced.
std::string shown(std::string_view text) {
  constexpr std::size_t limit = 120;
  std::string out(text.substr(0, limit));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  if (text.size() > limit) out += "...";
  return out;
}

// What is wrong with one tensor, or with the header as a whole, thrown as FormatError.
class HeaderReader {
 public:
  HeaderReader(std::uint64_t data_bytes, std::string_view file) : data_bytes_(data_bytes), file_(file) {}

  SafetensorsHeader read(simdjson::dom::object object) const;

 private:
  [[noreturn]] void fail(const std::string& what) const { throw FormatError(file_, what); }
  [[noreturn]] void fail(std::string_view tensor, const std::string& what) const {
    throw FormatError(file_, shown(tensor) + ": " + what);
  }

  void check_metadata(simdjson::dom::element) const;
  SafetensorsEntry entry(std::string_view name, simdjson::dom::element) const;
  DType dtype(std::string_view name, simdjson::dom::element) const;
  Shape shape(std::string_view name, simdjson::dom::element) const;
  void offsets(simdjson::dom::element, SafetensorsEntry&) const;
  void check_layout(const std::vector<SafetensorsEntry>&) const;
  void check_names(const std::vector<SafetensorsEntry>&) const;

  std::uint64_t data_bytes_;
  std::string_view file_;
};

SafetensorsHeader HeaderReader::read(simdjson::dom::object object) const {
  SafetensorsHeader header;
  std::size_t name_bytes = 0;
  std::size_t count = 0;
  for (const auto& field : object) {
    name_bytes += field.key.size();
    ++count;
  }
  header.entries.reserve(count);
  header.names = std::make_unique<char[]>(name_bytes);
  char* name = header.names.get();
  bool has_metadata = false;
  for (const auto& field : object) {
    if (field.key == "__metadata__") {
      if (has_metadata) fail("__metadata__: twice in the header");
      has_metadata = true;
      check_metadata(field.value);
      continue;
    }
    std::memcpy(name, field.key.data(), field.key.size());
    header.entries.push_back(entry({name, field.key.size()}, field.value));
    name += field.key.size();
  }
  const auto by_offset = [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  };
  // Nearly always sorted already. Stable: empty tensors may share an offset.
  if (!std::is_sorted(header.entries.begin(), header.entries.end(), by_offset))
    std::stable_sort(header.entries.begin(), header.entries.end(), by_offset);
  check_layout(header.entries);
  check_names(header.entries);
  return header;
}

void HeaderReader::check_metadata(simdjson::dom::element value) const {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS)
    fail("__metadata__: not an object, expected names with strings");
  for (const auto& field : object)
    if (!field.value.is_string()) fail("__metadata__: " + shown(field.key) + ": not a string");
}

SafetensorsEntry HeaderReader::entry(std::string_view name, simdjson::dom::element value) const {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS)
    fail(name, "not an object, expected dtype, shape and data_offsets");
  SafetensorsEntry entry;
  entry.name = name;
  bool has_dtype = false;
  bool has_shape = false;
  bool has_offsets = false;
  const auto once = [&](bool& seen, std::string_view key) {
    if (seen) fail(name, std::string(key) + " given twice");
    seen = true;
  };
  for (const auto& field : object) {
    if (field.key == "dtype") {
      once(has_dtype, field.key);
      entry.dtype = dtype(name, field.value);
    } else if (field.key == "shape") {
      once(has_shape, field.key);
      entry.shape = shape(name, field.value);
    } else if (field.key == "data_offsets") {
      once(has_offsets, field.key);
      offsets(field.value, entry);
    }
  }
  if (!has_dtype) fail(name, "no dtype");
  if (!has_shape) fail(name, "no shape");
  if (!has_offsets) fail(name, "no data_offsets");
  return entry;
}

DType HeaderReader::dtype(std::string_view name, simdjson::dom::element value) const {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) fail(name, "dtype is not a string");
  for (const DTypeInfo& info : dtypes)
    if (info.name == text) return info.dtype;
  std::string supported;
  for (const DTypeInfo& info : dtypes) supported.append(supported.empty() ? "" : ", ").append(info.name);
  fail(name, "dtype " + shown(text) + ", supported are " + supported);
}

Shape HeaderReader::shape(std::string_view name, simdjson::dom::element value) const {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS) fail(name, "shape is not a list");
  Shape shape;
  std::size_t rank = 0;
  for (const simdjson::dom::element dimension : array) {
    if (rank == shape.dim.size()) fail(name, "shape of more than 4 dimensions, expected at most 4");
    if (dimension.get(shape.dim[rank]) != simdjson::SUCCESS)
      fail(name, "shape holds " + shown(simdjson::minify(dimension)) + ", expected whole numbers from 0");
    ++rank;
  }
  shape.rank = static_cast<std::uint8_t>(rank);
  return shape;
}

void HeaderReader::offsets(simdjson::dom::element value, SafetensorsEntry& entry) const {
  simdjson::dom::array array;
  std::array<std::uint64_t, 2> offset{};
  std::size_t count = 0;
  bool good = value.get(array) == simdjson::SUCCESS;
  if (good) {
    for (const simdjson::dom::element number : array) {
      good = good && count < 2 && number.get(offset[count]) == simdjson::SUCCESS;
      if (!good) break;
      ++count;
    }
  }
  if (!good || count != 2) fail(entry.name, "data_offsets are not two whole numbers from 0");
  entry.begin = offset[0];
  entry.end = offset[1];
}

std::optional<std::uint64_t> tensor_bytes(const SafetensorsEntry& entry) {
  std::uint64_t bytes = dtype_bytes(entry.dtype);
  for (std::size_t i = 0; i < entry.shape.rank; ++i)
    if (__builtin_mul_overflow(bytes, entry.shape.dim[i], &bytes)) return std::nullopt;
  return bytes;
}

// Offsets follow one another without holes or overlaps up to the end of the data.
void HeaderReader::check_layout(const std::vector<SafetensorsEntry>& entries) const {
  std::uint64_t expected = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto range = [&] {
      return "data_offsets [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
    };
    if (entry.end < entry.begin) fail(entry.name, range() + " run backwards");
    if (entry.end > data_bytes_)
      fail(entry.name, range() + " reach behind the file's " + std::to_string(data_bytes_) +
                           " bytes of data: a truncated or damaged file");
    if (entry.begin != expected)
      fail(entry.name, range() + (entry.begin < expected ? " overlap the tensor before" : " leave a hole") +
                           ", expected to begin at " + std::to_string(expected));
    const std::optional<std::uint64_t> bytes = tensor_bytes(entry);
    if (!bytes) fail(entry.name, "shape " + to_string(entry.shape) + " is larger than any file");
    if (*bytes != entry.end - entry.begin)
      fail(entry.name, std::string(dtype_name(entry.dtype)) + " " + to_string(entry.shape) + " takes " +
                           std::to_string(*bytes) + " bytes, but its " + range() + " span " +
                           std::to_string(entry.end - entry.begin));
    expected = entry.end;
  }
  if (expected != data_bytes_)
    fail(std::to_string(data_bytes_) + " bytes of data, expected " + std::to_string(expected) +
         " as the tensors in the header take");
}

void HeaderReader::check_names(const std::vector<SafetensorsEntry>& entries) const {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail(*twice, "twice in the header");
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  return dtypes[static_cast<std::size_t>(dtype)].name;
}

std::size_t dtype_bytes(DType dtype) {
  return dtypes[static_cast<std::size_t>(dtype)].bytes;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(shape.dim[i]);
  return text + "]";
}

bool operator==(const Shape& a, const Shape& b) {
  return a.rank == b.rank && std::equal(a.dim.begin(), a.dim.begin() + a.rank, b.dim.begin());
}

std::uint64_t safetensors_header_size(std::span<const std::byte> file_bytes, std::string_view file) {
  if (file_bytes.size() < safetensors_prefix)
    throw FormatError(file, std::to_string(file_bytes.size()) + " bytes, too short for a safetensors file");
  std::uint64_t size = 0;
  for (std::size_t i = safetensors_prefix; i-- > 0;)
    size = size << 8 | std::to_integer<std::uint64_t>(file_bytes[i]);
  if (size > max_safetensors_header)
    throw FormatError(file, "a header of " + std::to_string(size) + " bytes, expected at most " +
                                std::to_string(max_safetensors_header) + ": not a safetensors file?");
  if (size > file_bytes.size() - safetensors_prefix)
    throw FormatError(file, "a header of " + std::to_string(size) + " bytes in a file of " +
                                std::to_string(file_bytes.size()) + ": a truncated file, or not safetensors");
  return size;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> json, std::uint64_t data_bytes,
                                           std::string_view file) {
  if (json.size() > max_safetensors_header)
    throw FormatError(file, "a header of " + std::to_string(json.size()) + " bytes, expected at most " +
                                std::to_string(max_safetensors_header));
  // The format's description asks for it; a byte order mark or white space would hide other contents.
  if (json.empty() || json[0] != std::byte{'{'})
    throw FormatError(file, "the header does not begin with '{': not a safetensors file?");
  // The deepest value of a header is a number in a list in a tensor: 3.
  constexpr std::size_t max_depth = 8;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  simdjson::error_code error = parser.allocate(json.size(), max_depth);
  if (error == simdjson::SUCCESS)
    error = parser.parse(reinterpret_cast<const char*>(json.data()), json.size()).get(object);
  if (error != simdjson::SUCCESS)
    throw FormatError(file, std::string("the header is not the JSON of a safetensors file: ") +
                                simdjson::error_message(error));
  return HeaderReader(data_bytes, file).read(object);
}

}  // namespace baleen
