#include "quant/module_name.h"

#include <charconv>
#include <system_error>

namespace baleen {
namespace {

// The number between two dots behind the first `word`, and what follows: ".layers." in the name above gives 3
// and "mlp.experts.17.up_proj".
struct Numbered {
  std::string_view before;
  std::size_t number = 0;
  std::string_view behind;
};
std::optional<Numbered> split_at_number(std::string_view name, std::string_view word) {
  const std::size_t at = name.find(word);
  if (at == name.npos) return std::nullopt;
  Numbered split{name.substr(0, at), 0, {}};
  const char* const begin = name.data() + at + word.size();
  const char* const end = name.data() + name.size();
  const auto [dot, error] = std::from_chars(begin, end, split.number);
  if (error != std::errc() || dot == end || *dot != '.') return std::nullopt;
  split.behind = std::string_view(dot + 1, static_cast<std::size_t>(end - dot - 1));
  return split;
}

}  // namespace

std::optional<ModulePlace> place_of(std::string_view name) {
  constexpr std::string_view experts = ".experts.";
  const std::optional<Numbered> layer = split_at_number(name, ".layers.");
  if (!layer) return std::nullopt;
  const std::string_view rest = layer->behind;
  if (const std::optional<Numbered> expert = split_at_number(rest, experts))
    return ModulePlace{layer->number, rest.substr(0, expert->before.size() + experts.size() - 1),
                       expert->number, expert->behind};
  const std::size_t dot = rest.rfind('.');
  if (dot == rest.npos) return ModulePlace{layer->number, {}, {}, rest};
  return ModulePlace{layer->number, rest.substr(0, dot), {}, rest.substr(dot + 1)};
}

}  // namespace baleen
