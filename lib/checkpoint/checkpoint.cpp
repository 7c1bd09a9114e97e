#include "checkpoint/checkpoint.h"

#include <simdjson.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <limits>
#include <set>
#include <utility>

#include "checkpoint/files.h"
#include "checkpoint/mapped_file.h"
#include "checkpoint/problems.h"
#include "checkpoint/safetensors.h"
#include "error.h"

namespace baleen {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view single_name = "model.safetensors";
constexpr std::string_view index_name = "model.safetensors.index.json";
constexpr std::size_t max_index_bytes = std::size_t{256} << 20;  // DeepSeek-V3's has 9 MB

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Which file an index says a tensor lies in. Keys and values point into `parser`.
struct Index {
  simdjson::dom::parser parser;
  std::vector<std::pair<std::string_view, std::string_view>> weight_map;
  std::set<std::string, std::less<>> files;
};

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

void read_index(const fs::path& path, Index& index) {
  const std::string file = path.string();
  const std::string text = read_small_file(path, max_index_bytes);
  simdjson::dom::element document;
  simdjson::dom::object map;
  if (const auto error = index.parser.parse(text).get(document); error != simdjson::SUCCESS)
    throw FormatError(file, std::string("not valid JSON: ") + simdjson::error_message(error));
  if (document["weight_map"].get(map) != simdjson::SUCCESS)
    throw FormatError(file, "no object weight_map, expected tensor names with file names");
  for (const auto& field : map) {
    std::string_view shard;
    if (field.value.get(shard) != simdjson::SUCCESS || !is_plain_file_name(shard))
      throw FormatError(file, "weight_map: " + std::string(field.key) + ": " +
                                  std::string(simdjson::minify(field.value)) +
                                  ", expected the name of a file in the same folder");
    index.weight_map.emplace_back(field.key, shard);
    if (index.files.find(shard) == index.files.end()) index.files.emplace(shard);
  }
  if (index.files.empty()) throw FormatError(file, "an empty weight_map");
}

void check_shards_exist(const fs::path& dir, const Index& index) {
  constexpr std::size_t limit = 4;
  std::string names;
  std::size_t missing = 0;
  for (const std::string& name : index.files) {
    if (is_there(dir / name)) continue;
    if (missing++ < limit) names += (names.empty() ? "" : ", ") + name;
  }
  if (missing == 0) return;
  if (missing > limit) names += ", and " + std::to_string(missing - limit) + " more";
  throw FormatError((dir / index_name).string(), "names " + std::to_string(index.files.size()) + " files, " +
                                                     std::to_string(missing) + " of them missing: " + names +
                                                     "; an unfinished download?");
}

// The folder's *.safetensors in the order of their names. Throws if there are none, naming what there is.
std::vector<std::string> safetensors_files(const fs::path& dir) {
  static constexpr std::array<std::string_view, 4> other_formats = {".bin", ".pt", ".pth", ".gguf"};
  std::vector<std::string> names;
  std::string other;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    if (path.extension() == ".safetensors") names.push_back(path.filename().string());
    if (std::count(other_formats.begin(), other_formats.end(), path.extension().string()) > 0)
      other = path.filename().string();
  }
  if (error) throw_system_error(dir, "", error.value());
  if (names.empty())
    throw FormatError(
        dir.string(),
        other.empty()
            ? "no weights here, expected model.safetensors, or shards with " + std::string(index_name)
            : "no *.safetensors here, only " + other + " or the like; only safetensors are read");
  std::sort(names.begin(), names.end());
  return names;
}

void check_folder(const fs::path& dir) {
  std::error_code error;
  const fs::file_status status = fs::status(dir, error);
  if (status.type() == fs::file_type::not_found) throw_system_error(dir, "", ENOENT);
  if (error) throw_system_error(dir, "", error.value());
  if (!fs::is_directory(status)) throw Error(dir.string() + ": not a folder, expected a model's folder");
}

}  // namespace

struct Checkpoint::State {
  std::vector<std::string> file_names;
  std::vector<MappedFile> files;
  std::vector<std::unique_ptr<char[]>> names;  // what the tensors' names point into
  std::shared_ptr<const void> memory;          // of tensors that lie in no file
  std::vector<Tensor> tensors;
  std::uint64_t bytes = 0;

  // An open-addressed hash table of the names, at most half full, searched linearly. A slot holds half of
  // the hash, so that other names are hardly ever compared, and the tensor's index + 1; 0 means free.
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t index_plus_one = 0;
  };
  std::vector<Slot> slots;

  // The slot where `name` is, or the free one where it would be.
  std::size_t slot_of(std::string_view name) const {
    const std::uint64_t hash = std::hash<std::string_view>{}(name);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    std::size_t at = hash & (slots.size() - 1);
    while (slots[at].index_plus_one != 0 &&
           (slots[at].tag != tag || tensors[slots[at].index_plus_one - 1].name != name))
      at = (at + 1) & (slots.size() - 1);
    return at;
  }

  void add_files(const fs::path& dir, std::vector<std::string> names_of_files);
  void add_file(const fs::path& dir, std::string_view name);
  void build_table(const fs::path& dir);
  void check_index(const fs::path& path, const Index& index) const;
};

void Checkpoint::State::add_files(const fs::path& dir, std::vector<std::string> names_of_files) {
  file_names = std::move(names_of_files);
  for (const std::string& name : file_names) add_file(dir, name);
  build_table(dir);
}

void Checkpoint::State::add_file(const fs::path& dir, std::string_view name) {
  const fs::path path = dir / name;
  const std::string shown = path.string();
  const std::span<const std::byte> mapping = files.emplace_back(path).bytes();
  const std::uint64_t header_bytes = safetensors_header_size(mapping, shown);
  const std::span<const std::byte> data = mapping.subspan(safetensors_prefix + header_bytes);
  SafetensorsHeader header =
      parse_safetensors_header(mapping.subspan(safetensors_prefix, header_bytes), data.size(), shown);
  for (const SafetensorsEntry& entry : header.entries) {
    const std::uint64_t size = entry.end - entry.begin;
    tensors.push_back({entry.name, name, entry.dtype, entry.shape, data.data() + entry.begin, size});
    bytes += size;
  }
  names.push_back(std::move(header.names));
}

void Checkpoint::State::build_table(const fs::path& dir) {
  if (tensors.size() >= std::numeric_limits<std::uint32_t>::max() / 2)
    throw FormatError(dir.string(), std::to_string(tensors.size()) + " tensors are more than can be handled");
  std::size_t size = 16;
  while (size < 2 * tensors.size()) size *= 2;
  slots.assign(size, {});
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[i];
    Slot& slot = slots[slot_of(tensor.name)];
    if (slot.index_plus_one != 0)
      throw FormatError((dir / tensor.file).string(), std::string(tensor.name) + ": also in " +
                                                          std::string(tensors[slot.index_plus_one - 1].file));
    slot.tag = static_cast<std::uint32_t>(std::hash<std::string_view>{}(tensor.name) >> 32);
    slot.index_plus_one = static_cast<std::uint32_t>(i + 1);
  }
}

// Tensors that the index does not list are taken as they are: transformers reads whole shards too.
void Checkpoint::State::check_index(const fs::path& path, const Index& index) const {
  std::vector<std::string> problems;
  for (const auto& [name, file] : index.weight_map) {
    const Slot& slot = slots[slot_of(name)];
    if (slot.index_plus_one == 0)
      problems.push_back(std::string(name) + ": not in " + std::string(file) + ", where the index puts it");
    else if (const Tensor& tensor = tensors[slot.index_plus_one - 1]; tensor.file != file)
      problems.push_back(std::string(name) + ": in " + std::string(tensor.file) + ", the index puts it in " +
                         std::string(file));
  }
  throw_problems(path.string(), problems);
}

Checkpoint Checkpoint::open(const fs::path& dir) {
  check_folder(dir);
  auto state = std::make_unique<State>();
  // As transformers looks: one whole file first, then an index.
  if (is_there(dir / single_name)) {
    state->add_files(dir, {std::string(single_name)});
  } else if (const fs::path index_path = dir / index_name; is_there(index_path)) {
    Index index;
    read_index(index_path, index);
    check_shards_exist(dir, index);
    state->add_files(dir, {index.files.begin(), index.files.end()});
    state->check_index(index_path, index);
  } else {
    state->add_files(dir, safetensors_files(dir));
  }
  return Checkpoint(std::move(state));
}

Checkpoint Checkpoint::in_memory(std::span<const MemoryTensor> tensors, std::shared_ptr<const void> memory) {
  constexpr std::string_view place = "memory";
  auto state = std::make_unique<State>();
  state->memory = std::move(memory);
  for (const MemoryTensor& tensor : tensors) {
    const auto& name = state->names.emplace_back(std::make_unique<char[]>(tensor.name.size()));
    std::copy(tensor.name.begin(), tensor.name.end(), name.get());
    state->tensors.push_back(
        {{name.get(), tensor.name.size()}, place, tensor.dtype, tensor.shape, tensor.data, tensor.bytes});
    state->bytes += tensor.bytes;
  }
  state->build_table(place);
  return Checkpoint(std::move(state));
}

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const Tensor* Checkpoint::find(std::string_view name) const {
  const State::Slot& slot = state_->slots[state_->slot_of(name)];
  return slot.index_plus_one == 0 ? nullptr : &state_->tensors[slot.index_plus_one - 1];
}

std::span<const Tensor> Checkpoint::tensors() const {
  return state_->tensors;
}
std::uint64_t Checkpoint::bytes() const {
  return state_->bytes;
}
std::size_t Checkpoint::files() const {
  return state_->files.size();
}
WeightFile Checkpoint::file(std::size_t index) const {
  return {state_->file_names[index], state_->files[index].bytes()};
}

}  // namespace baleen
