#include "routing/route_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "checkpoint/files.h"
#include "checkpoint/json_fields.h"
#include "error.h"

namespace baleen {
namespace {

using nlohmann::json;

constexpr std::size_t read_bytes = std::size_t{1} << 20U;
// A token's scores of 61 layers of 256 experts take 200 kB.
constexpr std::size_t longest_line = std::size_t{32} << 20U;
constexpr std::size_t largest_loads = std::size_t{32} << 20U;
constexpr std::size_t most_layers = 1U << 20U;
constexpr std::size_t most_experts = 1U << 16U;
constexpr std::size_t most_tokens = std::size_t{1} << 48U;
constexpr std::size_t most_notes = 10;

LayerLoad layer_load(const json& object, const std::string& file) {
  std::vector<std::string> problems;
  if (!object.is_object())
    throw FormatError(file, shown(object) + ", expected an object with \"layer\" and \"load\"");
  const JsonFields fields(object, "", problems);
  LayerLoad load;
  const json* list = fields.find("load");
  if (list == nullptr || !fields.has("layer"))
    throw FormatError(file,
                      "an object without \"layer\" and \"load\": neither a route log nor loads as JSON");
  load.layer = fields.whole("layer", 0, most_layers).value_or(0);
  if (!list->is_array() || list->empty() || list->size() > most_experts)
    fields.expected("load", "a list of 1 to " + std::to_string(most_experts) + " numbers");
  for (const json& value : *list) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most_tokens)
      throw FormatError(file, "load of layer " + std::to_string(load.layer) + ": " + shown(value) +
                                  ", expected a number of tokens");
    load.load.push_back(value.get<std::uint64_t>());
  }
  const std::uint64_t sum = std::accumulate(load.load.begin(), load.load.end(), std::uint64_t{0});
  load.top_k = fields.has("top_k") ? fields.whole("top_k", 1, most_experts).value_or(1) : 1;
  load.tokens = fields.has("tokens") ? fields.whole("tokens", 0, most_tokens).value_or(0) : sum / load.top_k;
  if (!problems.empty()) throw FormatError(file, problems.front());
  if (sum != load.tokens * load.top_k)
    throw FormatError(file, "layer " + std::to_string(load.layer) + ": loads sum to " + std::to_string(sum) +
                                ", expected " + std::to_string(load.tokens) + " tokens x " +
                                std::to_string(load.top_k) + " experts");
  return load;
}

void add_loads(const json& document, const std::string& file, std::vector<LayerLoad>& loads) {
  const json* list = &document;
  if (document.is_object() && document.contains("layers")) list = &document.at("layers");
  if (!list->is_array()) return loads.push_back(layer_load(*list, file));
  for (const json& object : *list) loads.push_back(layer_load(object, file));
}

// A list, too: parse_json_object takes objects alone.
json parse_json(std::string_view text, const std::string& file) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos || text[first] != '[') return parse_json_object(text, file);
  return parse_json_object("{\"layers\":" + std::string(text) + "}", file);
}

bool is_complete_json(std::string_view line) {
  return json::accept(line);
}

}  // namespace

std::vector<LayerLoad> parse_loads(std::string_view text, const std::string& file) {
  std::vector<LayerLoad> loads;
  const std::string_view first_line = text.substr(0, text.find('\n'));
  if (first_line.size() == text.size() || !is_complete_json(first_line)) {
    add_loads(parse_json(text, file), file, loads);
    return loads;
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::string place = file + ": line " + std::to_string(number);
    if (line.find_first_not_of(" \t\r") != line.npos) add_loads(parse_json(line, place), place, loads);
  }
  return loads;
}

// Lines out of a file, of which memory holds little more than one.
struct RouteReader::Source {
  explicit Source(const std::string& file) : name(file == "-" ? "standard input" : file) {
    fd = FileDescriptor(file == "-" ? ::dup(STDIN_FILENO) : ::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) throw_system_error(name, "", errno);
  }

  // More bytes behind those that are not consumed yet; false at the end.
  bool fill() {
    std::memmove(buffer.get(), buffer.get() + begin, end - begin);
    end -= begin;
    begin = 0;
    if (capacity - end < read_bytes) {
      capacity = std::max(2 * capacity, 2 * read_bytes);
      auto larger = std::make_unique_for_overwrite<char[]>(capacity);
      std::memcpy(larger.get(), buffer.get(), end);
      buffer = std::move(larger);
    }
    while (true) {
      const ssize_t got = ::read(fd.get(), buffer.get() + end, capacity - end);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_system_error(name, "", errno);
      end += static_cast<std::size_t>(got);
      return got > 0;
    }
  }

  // The next line without its newline, valid until the next call; none at the end. The last one may lack its
  // newline: `whole` tells.
  std::optional<std::string_view> next() {
    std::size_t looked = 0;
    while (true) {
      const char* from = buffer.get() + begin + looked;
      const std::size_t rest = end - begin - looked;
      if (const void* newline = rest > 0 ? std::memchr(from, '\n', rest) : nullptr) {
        const auto size = static_cast<std::size_t>(static_cast<const char*>(newline) - buffer.get()) - begin;
        const std::string_view line(buffer.get() + begin, size);
        begin += size + 1;
        ++number;
        return line;
      }
      looked = end - begin;
      if (looked > longest_line)
        throw FormatError(name, "line " + std::to_string(number + 1) + ": longer than " +
                                    std::to_string(longest_line >> 20U) +
                                    " MiB, expected a line of a route log");
      if (fill()) continue;
      if (looked == 0) return {};
      whole = false;
      const std::string_view line(buffer.get() + begin, looked);
      begin = end;
      ++number;
      return line;
    }
  }

  // `line`, which next() gave last, and all that follows.
  std::string rest(std::string_view line) {
    std::string text(line);
    if (whole) text += '\n';
    while (true) {
      text.append(buffer.get() + begin, end - begin);
      begin = end;
      if (text.size() > largest_loads)
        throw FormatError(name, "no route log, and longer than " + std::to_string(largest_loads >> 20U) +
                                    " MiB: too long for loads as JSON");
      if (!fill()) return text;
    }
  }

  std::string name;
  FileDescriptor fd;
  std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(1);
  std::size_t capacity = 1, begin = 0, end = 0;
  std::uint64_t number = 0;  // of the line given last, from 1
  bool whole = true;
};

void RouteReader::problem(const std::string& what) {
  if (!keep_going_) throw Error(what);
  ++problems_;
  if (notes_.size() < most_notes) notes_.push_back(what);
}

void RouteReader::read_line(std::string_view text) {
  const RouteLineKind kind = route_line_kind(text);
  if (kind == RouteLineKind::header) {
    in_log_ = false;
    const RouteHeader header = parse_header(text);
    if (!header_) {
      header_ = header;
    } else {
      check_same_model(*header_, header);
    }
    in_log_ = true;
    return events_.header(header);
  }
  if (!in_log_) throw Error("no header in front of it that could be read");
  if (kind == RouteLineKind::token) {
    parse_token(text, *header_, wants_, token_);
    events_.token(token_);
  } else if (kind == RouteLineKind::counts) {
    parse_counts(text, *header_, counts_);
    events_.counts(counts_);
  }
}

void RouteReader::line(std::string_view text, const std::string& name, std::uint64_t number) {
  try {
    read_line(text);
  } catch (const UsageError&) {
    throw;  // about what was asked for, not about the line
  } catch (const Error& error) {
    problem(name + ": line " + std::to_string(number) + ": " + error.what());
  }
}

void RouteReader::read_log(Source& source, std::string_view first_line) {
  in_log_ = false;
  for (std::optional<std::string_view> text = first_line; text; text = source.next()) {
    bytes_ += text->size() + (source.whole ? 1 : 0);
    // Where a writer was stopped in the middle of a line, what there is of it is no JSON.
    if (!source.whole && !is_complete_json(*text)) {
      notes_.push_back(source.name + ": line " + std::to_string(source.number) +
                       ": cut off; the lines before it are read");
      return;
    }
    line(*text, source.name, source.number);
  }
}

void RouteReader::read(const std::string& file) {
  Source source(file);
  const std::optional<std::string_view> first = source.next();
  if (!first) return problem(source.name + ": empty, expected a route log");
  const bool log = first->find("\"baleen-routes\"") != first->npos || first->starts_with("{\"r\":") ||
                   first->starts_with("{\"tokens\":");
  if (log) return read_log(source, *first);
  const std::string text = source.rest(*first);
  bytes_ += text.size();
  try {
    for (const LayerLoad& load : parse_loads(text, source.name)) events_.load(load);
  } catch (const Error& error) {
    problem(error.what());
  }
}

}  // namespace baleen
