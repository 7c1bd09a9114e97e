#include "routing/route_line.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "checkpoint/json_fields.h"
#include "error.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

using nlohmann::json;

// More than any model has, and little enough for tables of layers x experts.
constexpr std::size_t most_layers = 1024;
constexpr std::size_t most_experts = 4096;
constexpr std::uint64_t most_tokens = std::uint64_t{1} << 40U;
// Of what a reader does not know it skips values nested no deeper than this.
constexpr std::size_t most_nested = 64;

template <typename Value>
using Names = std::array<std::pair<std::string_view, Value>, 4>;

constexpr Names<RouteDetail> detail_names = {{{"counts", RouteDetail::counts},
                                              {"experts", RouteDetail::experts},
                                              {"weights", RouteDetail::weights},
                                              {"scores", RouteDetail::scores}}};
constexpr std::array<std::pair<std::string_view, ScoringFunc>, 2> scoring_names = {
    {{"sigmoid", ScoringFunc::sigmoid}, {"softmax", ScoringFunc::softmax}}};
constexpr std::array<std::pair<std::string_view, TopkMethod>, 3> method_names = {
    {{"greedy", TopkMethod::greedy},
     {"group_limited_greedy", TopkMethod::group_limited_greedy},
     {"noaux_tc", TopkMethod::noaux_tc}}};

template <typename Table, typename Value>
std::string_view name_of(const Table& names, Value value) {
  return std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.second == value; })->first;
}

// ---- Writing.

template <typename Number, typename... Format>
void append_number(std::string& out, Number number, Format... format) {
  std::array<char, 64> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, format...).ptr;
  out.append(digits.data(), end);
}

// Four decimals: what a picture of the weights needs, at half the bytes of the exact ones.
void append_weight(std::string& out, float weight) {
  if (!std::isfinite(weight)) {
    out += "null";
  } else {
    append_number(out, weight, std::chars_format::fixed, 4);
  }
}

// Shortest digits that read back as the same float: replaying the choice must see what the router saw.
void append_score(std::string& out, float score) {
  if (!std::isfinite(score)) {
    out += "null";
  } else {
    append_number(out, score);
  }
}

// [[...],...] with rows of `width` numbers.
template <typename Number, typename Append>
void append_rows(std::string& out, std::span<const Number> numbers, std::size_t width, const Append& append) {
  char open = '[';
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i % width == 0) out += open, out += '[';
    append(out, numbers[i]);
    open = ',';
    out += (i + 1) % width == 0 ? ']' : ',';
  }
  out += ']';
}

void append_text(std::string& out, std::string_view text) {
  out += json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

// ---- Reading.

[[noreturn]] void fail(const std::string& what) {
  throw Error(what);
}

// Walks over one line of JSON. Token lines are nearly all of a log and nearly all digits: a parser for their
// shape alone is what lets statistics keep up with a disk.
class Cursor {
 public:
  explicit Cursor(std::string_view line) : begin_(line.data()), at_(begin_), end_(begin_ + line.size()) {}

  [[noreturn]] void fail_at(std::string_view expected) const {
    const std::string found =
        at_ >= end_ ? "the line ends" : "'" + printable({at_, std::min(end_, at_ + 12)}) + "'";
    fail("column " + std::to_string(at_ - begin_ + 1) + ": " + found + ", expected " + std::string(expected));
  }

  bool take(char wanted) {
    if (at_ < end_ && *at_ == wanted) return ++at_, true;
    skip_space();
    return at_ < end_ && *at_ == wanted && (++at_, true);
  }
  void need(char wanted) {
    if (!take(wanted)) fail_need(wanted);
  }

  // What follows a value in an array or object that ends with `last`: another one (true) or its end.
  bool more(char last) {
    if (take(',')) return true;
    if (!take(last)) fail_at(std::string("',' or '") + last + "'");
    return false;
  }

  std::uint64_t whole(std::uint64_t most, std::string_view what) {
    if (at_ == end_ || !is_digit(*at_)) skip_space();
    const char* const start = at_;
    const char* const stop = std::min(end_, start + 18);  // more digits than any limit here has
    std::uint64_t value = 0;
    while (at_ < stop && is_digit(*at_)) value = value * 10 + static_cast<std::uint64_t>(*at_++ - '0');
    if (at_ == start) fail_at(what);
    if (value > most || (at_ < end_ && is_digit(*at_))) fail_whole(start, most, what);
    return value;
  }

  // A number, or null for one that JSON has no word for.
  float number() {
    skip_space();
    if (literal("null")) return std::numeric_limits<float>::quiet_NaN();
    float value = 0;
    const auto [stop, error] = std::from_chars(at_, end_, value);
    if (error != std::errc() || !std::isfinite(value)) fail_at("a number");
    at_ = stop;
    return value;
  }

  bool boolean() {
    skip_space();
    if (literal("true")) return true;
    if (literal("false")) return false;
    fail_at("true or false");
  }

  // The bytes between the quotes as they stand.
  std::string_view raw_text() {
    need('"');
    const char* const start = at_;
    while (at_ < end_ && *at_ != '"') at_ += *at_ == '\\' ? 2 : 1;
    if (at_ >= end_) at_ = end_, fail_at("'\"'");
    return {start, at_++};
  }

  std::string text() {
    const char* const start = at_;
    const std::string_view raw = raw_text();
    if (raw.find('\\') == raw.npos && unicode::is_valid(raw)) return std::string(raw);
    const json value = json::parse(start, at_, nullptr, false);
    if (!value.is_string()) at_ = start, fail_at("text");
    return value.get<std::string>();
  }

  // Any value; of nested ones only that brackets are balanced is looked at.
  void skip_value() {
    skip_space();
    std::size_t depth = 0;
    do {
      if (depth > 0)
        while (at_ < end_ && !structural[static_cast<unsigned char>(*at_)]) ++at_;
      if (at_ == end_) fail_at("a value");
      if (*at_ == '"') {
        raw_text();
      } else if (*at_ == '[' || *at_ == '{') {
        if (++depth > most_nested) fail_at("values nested less deeply");
        ++at_;
      } else if (*at_ == ']' || *at_ == '}') {
        if (depth-- == 0) fail_at("a value");
        ++at_;
      } else {
        skip_word();
      }
    } while (depth > 0);
  }

  void need_end() {
    skip_space();
    if (at_ != end_) fail_at("the line's end");
  }

 private:
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  // Bytes of a hostile file are not sent to a terminal as they are.
  static std::string printable(std::string_view text) {
    std::string shown(text);
    for (char& c : shown)
      if (c < ' ' || c > '~') c = '?';
    return shown;
  }

  void skip_space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }

  void skip_word() {  // a number, true, false or null
    const char* const start = at_;
    while (at_ < end_ && (is_digit(*at_) || *at_ == '-' || *at_ == '+' || *at_ == '.' ||
                          (*at_ >= 'a' && *at_ <= 'z') || *at_ == 'E'))
      ++at_;
    if (at_ == start) fail_at("a value");
  }

  bool literal(std::string_view word) {
    if (!std::string_view(at_, end_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  [[noreturn]] void fail_need(char wanted) const { fail_at(std::string("'") + wanted + "'"); }
  [[noreturn]] void fail_whole(const char* start, std::uint64_t most, std::string_view what) {
    at_ = start;
    fail_at(std::string(what) + ", at most " + std::to_string(most));
  }

  // Bytes that are more to skip_value than a part of a number or a word.
  static constexpr std::array<bool, 256> structural = [] {
    std::array<bool, 256> table{};
    for (const unsigned char c : {'"', '[', ']', '{', '}'}) table[c] = true;
    return table;
  }();

  const char* begin_;
  const char* at_;
  const char* end_;
};

// [[...],...]: `rows` rows of `width` numbers into `out`, each read by `read`.
template <typename Number, typename Read>
void read_rows(Cursor& cursor, std::size_t rows, std::size_t width, std::vector<Number>& out,
               const Read& read) {
  out.resize(rows * width);
  cursor.need('[');
  for (std::size_t row = 0; row < rows; ++row) {
    cursor.need('[');
    for (std::size_t i = 0; i < width; ++i) {
      if (i > 0) cursor.need(',');
      out[row * width + i] = read();
    }
    cursor.need(']');
    if (row + 1 < rows) cursor.need(',');
  }
  cursor.need(']');
}

void read_experts(Cursor& cursor, const RouteHeader& header, std::vector<std::uint32_t>& experts) {
  read_rows(cursor, header.layers.size(), header.top_k, experts,
            [&] { return static_cast<std::uint32_t>(cursor.whole(header.experts - 1, "an expert")); });
  for (std::size_t i = 1; i < experts.size(); ++i) {
    if (i % header.top_k == 0 || experts[i - 1] < experts[i]) continue;
    fail("layer " + std::to_string(header.layers[i / header.top_k]) + ": expert " +
         std::to_string(experts[i]) + " behind " + std::to_string(experts[i - 1]) +
         ", expected ascending experts");
  }
}

void check_label(const std::string& label) {
  if (label.size() > longest_label)
    fail("a label of " + std::to_string(label.size()) + " bytes, expected at most " +
         std::to_string(longest_label));
}

// Calls `field` for every key of the object that the line is; it reads the value.
template <typename Field>
void read_fields(std::string_view line, const Field& field) {
  Cursor cursor(line);
  cursor.need('{');
  if (!cursor.take('}')) {
    do {
      const std::string_view key = cursor.raw_text();
      cursor.need(':');
      field(cursor, key);
    } while (cursor.more('}'));
  }
  cursor.need_end();
}

// Which of the fields that must be there are.
class Needed {
 public:
  explicit Needed(std::initializer_list<std::string_view> keys) : keys_(keys) {}
  void seen(std::string_view key) { std::erase(keys_, key); }
  void check() const {
    if (!keys_.empty()) fail("\"" + std::string(keys_.front()) + "\" is missing");
  }

 private:
  std::vector<std::string_view> keys_;
};

template <typename Value, typename Table>
Value read_name(const JsonFields& fields, std::string_view key, const Table& names) {
  const std::optional<std::string> text = fields.text(key);
  std::string known;
  for (const auto& [name, value] : names) {
    if (text == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fields.expected(key, "one of " + known);
  return names.front().second;
}

std::vector<std::size_t> read_layers(const JsonFields& fields) {
  std::vector<std::size_t> layers;
  const json* list = fields.find("layers");
  const bool fits = list != nullptr && list->is_array() && !list->empty() && list->size() <= most_layers;
  for (std::size_t i = 0; fits && i < list->size(); ++i) {
    if (!(*list)[i].is_number_unsigned()) return fields.expected("layers", "layers' numbers"), layers;
    layers.push_back((*list)[i].get<std::size_t>());
    if (i > 0 && layers[i - 1] >= layers[i]) fields.expected("layers", "ascending numbers");
  }
  if (!fits) fields.expected("layers", "a list of 1 to " + std::to_string(most_layers) + " numbers");
  return layers;
}

std::vector<std::vector<float>> read_bias(const JsonFields& fields, std::size_t layers, std::size_t experts) {
  std::vector<std::vector<float>> bias;
  if (!fields.is_set("bias")) return bias;
  const std::string shape = std::to_string(layers) + " lists of " + std::to_string(experts) + " numbers";
  const json& rows = *fields.find("bias");
  if (!rows.is_array() || rows.size() != layers) return fields.expected("bias", shape), bias;
  for (const json& row : rows) {
    bias.emplace_back();
    for (const json& value : row) bias.back().push_back(value.is_number() ? value.get<float>() : NAN);
    const bool good =
        row.is_array() && row.size() == experts &&
        std::all_of(bias.back().begin(), bias.back().end(), [](float x) { return std::isfinite(x); });
    if (!good) return fields.expected("bias", shape), bias;
  }
  return bias;
}

}  // namespace

std::string_view route_detail_name(RouteDetail detail) {
  return name_of(detail_names, detail);
}

void append_header(std::string& out, const RouteHeader& header) {
  out += R"({"schema":1,"format":"baleen-routes","model":)";
  append_text(out, header.model);
  out += ",\"layers\":" + json(header.layers).dump();
  out += ",\"experts\":" + std::to_string(header.experts) + ",\"top_k\":" + std::to_string(header.top_k);
  out += ",\"scoring\":\"" + std::string(name_of(scoring_names, header.scoring)) + "\"";
  out += ",\"method\":\"" + std::string(name_of(method_names, header.method)) + "\"";
  out +=
      ",\"groups\":" + std::to_string(header.groups) + ",\"top_groups\":" + std::to_string(header.top_groups);
  out += ",\"detail\":\"" + std::string(route_detail_name(header.detail)) + "\"";
  if (!header.bias.empty()) {
    std::vector<float> values;
    for (const auto& layer : header.bias) values.insert(values.end(), layer.begin(), layer.end());
    out += ",\"bias\":";
    append_rows<float>(out, values, header.experts, append_score);
  }
  out += "}\n";
}

void append_token(std::string& out, const RouteToken& token, const RouteHeader& header) {
  out += "{\"r\":";
  append_number(out, token.request);
  out += ",\"n\":";
  append_number(out, token.pass);
  out += ",\"p\":";
  append_number(out, token.position);
  out += ",\"t\":";
  append_number(out, token.id);
  out += token.generated ? ",\"g\":1" : ",\"g\":0";
  if (!token.label.empty()) {
    out += ",\"l\":";
    append_text(out, token.label);
  }
  out += ",\"e\":";
  append_rows<std::uint32_t>(out, token.experts, header.top_k,
                             [](std::string& to, std::uint32_t expert) { append_number(to, expert); });
  if (!token.weights.empty()) {
    out += ",\"w\":";
    append_rows<float>(out, token.weights, header.top_k, append_weight);
  }
  if (!token.scores.empty()) {
    out += ",\"s\":";
    append_rows<float>(out, token.scores, header.experts, append_score);
  }
  out += "}\n";
}

void append_counts(std::string& out, const RouteCounts& counts, const RouteHeader& header) {
  out += "{\"tokens\":" + std::to_string(counts.tokens) + (counts.generated ? ",\"g\":1" : ",\"g\":0");
  if (!counts.label.empty()) {
    out += ",\"l\":";
    append_text(out, counts.label);
  }
  out += ",\"load\":";
  append_rows<std::uint64_t>(out, counts.load, header.experts,
                             [](std::string& to, std::uint64_t load) { append_number(to, load); });
  out += "}\n";
}

void append_request(std::string& out, std::uint64_t request, std::string_view id_json) {
  out += "{\"request\":" + std::to_string(request) + ",\"id\":" + std::string(id_json) + "}\n";
}

RouteLineKind route_line_kind(std::string_view line) {
  Cursor cursor(line);
  cursor.need('{');
  const std::string_view key = cursor.raw_text();
  if (key == "r") return RouteLineKind::token;
  if (key == "request") return RouteLineKind::request;
  if (key == "tokens") return RouteLineKind::counts;
  if (key == "schema" || key == "format") return RouteLineKind::header;
  fail(
      "a line that begins with another key than \"r\", \"tokens\", \"request\" or \"schema\": no line of a "
      "route log");
}

RouteHeader parse_header(std::string_view line) {
  const json object = parse_json_object(line, "header");
  std::vector<std::string> problems;
  const JsonFields fields(object, "", problems);
  if (fields.text("format") != "baleen-routes") fail("no route log: \"format\" is not \"baleen-routes\"");
  if (fields.whole("schema", 1, 1) != 1U) fail("schema of a later version of baleen, expected 1");
  RouteHeader header;
  header.model = fields.text("model").value_or("");
  header.layers = read_layers(fields);
  header.experts = fields.whole("experts", 1, most_experts).value_or(1);
  header.top_k = fields.whole("top_k", 1, header.experts).value_or(1);
  header.groups = fields.whole("groups", 1, header.experts).value_or(1);
  header.top_groups = fields.whole("top_groups", 1, header.groups).value_or(1);
  header.scoring = read_name<ScoringFunc>(fields, "scoring", scoring_names);
  header.method = read_name<TopkMethod>(fields, "method", method_names);
  header.detail = read_name<RouteDetail>(fields, "detail", detail_names);
  header.bias = read_bias(fields, header.layers.size(), header.experts);
  for (const std::string_view key : {"model", "experts", "top_k"}) {
    if (!fields.has(key)) problems.push_back(std::string(key) + " is missing");
  }
  if (problems.empty() && header.experts % header.groups != 0) {
    problems.push_back("groups: " + std::to_string(header.groups) + ", expected a divisor of the " +
                       std::to_string(header.experts) + " experts");
  }
  if (!problems.empty()) fail("header: " + problems.front());
  return header;
}

void parse_token(std::string_view line, const RouteHeader& header, RouteWants wants, RouteToken& token) {
  Needed needed{"r", "n", "p", "t", "g", "e"};
  token.label.clear();
  token.weights.clear();
  token.scores.clear();
  read_fields(line, [&](Cursor& cursor, std::string_view key) {
    needed.seen(key);
    if (key == "r") {
      token.request = cursor.whole(most_tokens, "a request's number");
    } else if (key == "n") {
      token.pass = cursor.whole(most_tokens, "the number of a pass");
    } else if (key == "p") {
      token.position = cursor.whole(most_tokens, "a position");
    } else if (key == "t") {
      token.id = cursor.whole(most_tokens, "a token id");
    } else if (key == "g") {
      token.generated = cursor.whole(1, "a phase") == 1;
    } else if (key == "l") {
      token.label = cursor.text();
    } else if (key == "e") {
      read_experts(cursor, header, token.experts);
    } else if (key == "w" && wants.weights) {
      read_rows(cursor, header.layers.size(), header.top_k, token.weights, [&] { return cursor.number(); });
    } else if (key == "s" && wants.scores) {
      read_rows(cursor, header.layers.size(), header.experts, token.scores, [&] { return cursor.number(); });
    } else {
      cursor.skip_value();
    }
  });
  needed.check();
  check_label(token.label);
}

void parse_counts(std::string_view line, const RouteHeader& header, RouteCounts& counts) {
  Needed needed{"tokens", "g", "load"};
  counts.label.clear();
  read_fields(line, [&](Cursor& cursor, std::string_view key) {
    needed.seen(key);
    if (key == "tokens") {
      counts.tokens = cursor.whole(most_tokens, "a number of tokens");
    } else if (key == "g") {
      counts.generated = cursor.whole(1, "a phase") == 1;
    } else if (key == "l") {
      counts.label = cursor.text();
    } else if (key == "load") {
      read_rows(cursor, header.layers.size(), header.experts, counts.load,
                [&] { return cursor.whole(most_tokens, "an expert's load"); });
    } else {
      cursor.skip_value();
    }
  });
  needed.check();
  check_label(counts.label);
  for (std::size_t layer = 0; layer < header.layers.size(); ++layer) {
    std::uint64_t sum = 0;
    for (std::size_t e = 0; e < header.experts; ++e) {
      const std::uint64_t load = counts.load[layer * header.experts + e];
      if (load > counts.tokens)
        fail("layer " + std::to_string(header.layers[layer]) + ", expert " + std::to_string(e) +
             ": a load of " + std::to_string(load) + ", expected at most the " +
             std::to_string(counts.tokens) + " tokens");
      sum += load;
    }
    if (sum != counts.tokens * header.top_k)
      fail("layer " + std::to_string(header.layers[layer]) + ": loads sum to " + std::to_string(sum) +
           ", expected " + std::to_string(counts.tokens) + " tokens x " + std::to_string(header.top_k) +
           " experts");
  }
}

void check_same_model(const RouteHeader& first, const RouteHeader& other) {
  const auto differ = [](const std::string& what, const std::string& a, const std::string& b) {
    if (a != b) fail(what + " " + b + ", the log before it is of " + what + " " + a);
  };
  differ("model", first.model, other.model);
  const auto shape = [](const RouteHeader& h) {
    return std::to_string(h.layers.size()) + " layers of " + std::to_string(h.experts) + " experts, " +
           std::to_string(h.top_k) + " a token";
  };
  differ("a model with", shape(first), shape(other));
  differ("layers", json(first.layers).dump(), json(other.layers).dump());
  differ("scoring",
         std::string(name_of(scoring_names, first.scoring)) + " " +
             std::string(name_of(method_names, first.method)),
         std::string(name_of(scoring_names, other.scoring)) + " " +
             std::string(name_of(method_names, other.method)));
}

}  // namespace baleen
