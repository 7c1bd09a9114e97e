#include "runtime/batch_line.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>
#include <utility>

#include "checkpoint/json_fields.h"
#include "error.h"
#include "runtime/json_text.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

// A key of the line and its value, which is not null.
struct Field {
  const std::string& key;
  const Json& value;

  [[noreturn]] void expected(const std::string& what) const {
    throw Error(key + ": " + shown(value) + ", expected " + what);
  }

  // "-0" is signed for the parser.
  std::uint64_t whole(std::uint64_t most, const std::string& what) const {
    const bool fits = value.is_number_unsigned() ? value.get<std::uint64_t>() <= most : value == 0;
    if (!value.is_number_integer() || !fits) expected(what);
    return value.get<std::uint64_t>();
  }
  std::size_t count() const {
    return whole(std::numeric_limits<std::size_t>::max(), "a whole number from 0");
  }
  double number(double low, double high, const std::string& what) const {
    if (!value.is_number() || value.get<double>() < low || value.get<double>() > high) expected(what);
    return value.get<double>();
  }
  bool boolean() const {
    if (!value.is_boolean()) expected("true or false");
    return value.get<bool>();
  }
  std::string text() const {
    if (!value.is_string()) expected("a string");
    return value.get<std::string>();
  }
};

std::int64_t new_tokens(const Field& field) {
  if (field.value.is_number_integer() && field.value == -1) return -1;
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return static_cast<std::int64_t>(field.whole(most, "a whole number from 0, or -1 for no bound"));
}

std::vector<std::string> stop_strings(const Field& field) {
  std::vector<std::string> strings;
  const auto add = [&](const Json& value) {
    if (!value.is_string() || value.get_ref<const std::string&>().empty())
      field.expected("a string or a list of strings, none of them empty");
    strings.push_back(value.get<std::string>());
  };
  if (field.value.is_array()) {
    for (const Json& value : field.value) add(value);
  } else {
    add(field.value);
  }
  return strings;
}

// The options by their long names, with the ranges that the command line has for them.
struct LineOption {
  std::string_view name;
  void (*set)(RequestOptions&, const Field&);
};
constexpr double unbounded = 1e308;
constexpr std::array line_options = {
    LineOption{"n", [](RequestOptions& o, const Field& f) { o.n = new_tokens(f); }},
    LineOption{"stop", [](RequestOptions& o, const Field& f) { o.stop = stop_strings(f); }},
    LineOption{"ignore-eos", [](RequestOptions& o, const Field& f) { o.ignore_eos = f.boolean(); }},
    LineOption{"temp",
               [](RequestOptions& o, const Field& f) { o.temp = f.number(0, unbounded, "a number from 0"); }},
    LineOption{"top-k", [](RequestOptions& o, const Field& f) { o.top_k = f.count(); }},
    LineOption{"top-p",
               [](RequestOptions& o, const Field& f) { o.top_p = f.number(0, 1, "a number from 0 to 1"); }},
    LineOption{"min-p",
               [](RequestOptions& o, const Field& f) { o.min_p = f.number(0, 1, "a number from 0 to 1"); }},
    LineOption{"repeat-penalty",
               [](RequestOptions& o, const Field& f) {
                 o.repeat_penalty = f.number(1e-6, unbounded, "a number from 1e-06");
               }},
    LineOption{"seed",
               [](RequestOptions& o, const Field& f) {
                 o.seed =
                     f.whole(std::numeric_limits<std::uint64_t>::max(), "a whole number from 0 to 2^64 - 1");
               }},
    LineOption{"greedy", [](RequestOptions& o, const Field& f) { o.greedy = f.boolean(); }},
    LineOption{"think-budget", [](RequestOptions& o, const Field& f) { o.think_budget = f.count(); }},
    LineOption{"logprobs", [](RequestOptions& o, const Field& f) { o.logprobs = f.count(); }},
};

const LineOption* find_option(const std::string& key) {
  std::string name = key;  // its words are joined by - or _
  std::replace(name.begin(), name.end(), '_', '-');
  const auto found = std::find_if(line_options.begin(), line_options.end(),
                                  [&](const LineOption& option) { return option.name == name; });
  return found == line_options.end() ? nullptr : &*found;
}

bool is_conversation_key(std::string_view key) {
  return key == "messages" || key == "tools" || key == "documents" || key == "template_vars";
}

bool is_input_key(std::string_view key) {
  return key == "prompt" || key == "ids" || is_conversation_key(key);
}

BatchLine::Ids token_ids(const Field& field) {
  if (!field.value.is_array()) field.expected("a list of token ids");
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<TokenId>::max());
  BatchLine::Ids ids;
  ids.reserve(field.value.size());
  for (std::size_t i = 0; i < field.value.size(); ++i) {
    const std::string place = field.key + "[" + std::to_string(i) + "]";
    const Field id{.key = place, .value = field.value[i]};
    ids.push_back(static_cast<TokenId>(id.whole(most, "a token id")));
  }
  return ids;
}

// Notes what can be noted while the line is read: which keys stand twice, of which the document keeps one,
// and the id and label of a line that turns out to be no JSON further on.
class Watch {
 public:
  explicit Watch(BatchLine& line) : line_(line) {}

  void event(int depth, Json::parse_event_t event, const Json& value) {
    if (depth != 1) return;
    if (event == Json::parse_event_t::key) {
      note();
      key_ = value.get<std::string>();
      const LineOption* const option = find_option(key_);
      const bool is_new = keys_.insert(option ? std::string(option->name) : key_).second;
      if (!is_new && repeated_.empty()) repeated_ = key_;
    } else if (event == Json::parse_event_t::value && (key_ == "id" || key_ == "label")) {
      value_ = value;
    }
  }
  const std::string& repeated() const { return repeated_; }  // the first key that stood twice; empty: none

 private:
  // A value counts once the next key was read: a line that ends within a number would give another number.
  void note() {
    if (key_ == "id") line_.id = std::move(value_);
    if (key_ == "label" && value_.is_string()) line_.label = value_.get<std::string>();
    value_ = nullptr;
  }

  BatchLine& line_;
  std::string key_;
  Json value_;  // if it is neither list nor object
  std::unordered_set<std::string> keys_;
  std::string repeated_;
};

// Text of the line for a message: of a character that is cut U+FFFD is left.
std::string shortened(const std::string& text) {
  constexpr std::size_t longest = 40;
  return text.size() <= longest ? text : unicode::repair(std::string_view(text).substr(0, longest)) + "...";
}

// Of the parser's place the column counts: which line of the batch this is, it cannot know.
std::string without_line_number(std::string error) {
  constexpr std::string_view line = "line 1, ";
  const std::size_t at = error.find(line);
  if (error.starts_with("not valid JSON: ") && at != error.npos) error.erase(at, line.size());
  return error;
}

// Takes what comes back whatever else is wrong, and leaves the rest: input and options, without nulls.
Json take_returned(BatchLine& line, Json document) {
  Json rest = Json::object();
  for (auto& [key, value] : document.items()) {
    if (key == "id") {
      line.id = std::move(value);
    } else if (key == "label" && value.is_string()) {
      line.label = value.get<std::string>();
    } else if (key != "label" && !is_input_key(key) && find_option(key) == nullptr) {
      line.extra[key] = std::move(value);
    } else if (!value.is_null()) {
      rest[key] = std::move(value);
    }
  }
  return rest;
}

void read_options(BatchLine& line, const Json& fields) {
  for (const auto& [key, value] : fields.items()) {
    const Field field{.key = key, .value = value};
    if (key == "label") field.expected("a string");
    if (const LineOption* const option = find_option(key)) option->set(line.options, field);
  }
  if (contradicts_itself(line.options)) throw Error("greedy and a temp other than 0 contradict each other");
}

// The one key that says what to answer.
std::string input_key(const Json& fields) {
  std::string found;
  for (const char* const key : {"prompt", "messages", "ids"}) {
    if (!fields.contains(key)) continue;
    if (!found.empty()) throw Error(found + " and " + key + " exclude each other");
    found = key;
  }
  if (found.empty()) throw Error("nothing to answer: expected \"prompt\", \"messages\" or \"ids\"");
  return found;
}

void read_input(BatchLine& line, Json fields) {
  const std::string key = input_key(fields);
  Json conversation = Json::object();
  for (auto& [name, value] : fields.items())
    if (is_conversation_key(name)) conversation[name] = std::move(value);
  if (key == "ids") {
    if (!conversation.empty())
      throw Error(conversation.begin().key() + " needs the model's chat template, which ids leaves out");
    line.input = token_ids({.key = key, .value = fields[key]});
    return;
  }
  if (key == "prompt") {
    std::string prompt = Field{.key = key, .value = fields[key]}.text();
    if (conversation.empty()) {
      line.input = std::move(prompt);
      return;
    }
    conversation["messages"] = Json::array({Json{{"role", "user"}, {"content", std::move(prompt)}}});
  }
  line.input = conversation_from(std::move(conversation));
}

}  // namespace

BatchLine parse_batch_line(std::string_view line) {
  BatchLine result;
  Watch watch(result);
  try {
    Json document = parse_json_text(line, [&](int depth, Json::parse_event_t event, const Json& value) {
      watch.event(depth, event, value);
    });
    if (!document.is_object()) throw Error(shown(document) + ", expected an object");
    Json fields = take_returned(result, std::move(document));
    if (!watch.repeated().empty()) throw Error("key '" + shortened(watch.repeated()) + "' stands twice");
    read_options(result, fields);
    read_input(result, std::move(fields));
  } catch (const Error& error) {
    result.error = without_line_number(error.what());
  }
  return result;
}

}  // namespace baleen
