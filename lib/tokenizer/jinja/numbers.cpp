#include "tokenizer/jinja/numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/strings.h"

namespace baleen::jinja {
namespace {

// Without the underscores, each of which must stand between two digits; none if one does not.
std::optional<std::string> without_underscores(std::string_view text) {
  const auto is_digit = [&](std::size_t at) {
    return at < text.size() && is_all(text.substr(at, 1), Class::alnum);
  };
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '_')
      out += text[at];
    else if (at == 0 || !is_digit(at - 1) || !is_digit(at + 1))
      return std::nullopt;
  }
  return out;
}

// The base that a prefix such as 0x asks for; 0 without one.
std::int64_t prefix_base(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  const char mark = static_cast<char>(text[1] | 0x20);
  return mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
}

double round_half_even(double value) {
  return std::nearbyint(value);  // the rounding mode is never changed
}

Value round_whole(std::int64_t value, std::int64_t digits) {
  if (digits >= 0) return {value};
  if (digits < -18) return {std::int64_t{0}};
  std::int64_t unit = 1;
  for (std::int64_t i = digits; i < 0; ++i) unit *= 10;
  const std::int64_t rest = (value % unit + unit) % unit;
  const std::int64_t down = value - rest;
  const bool up = rest > unit / 2 || (rest == unit / 2 && (down / unit) % 2 != 0);
  return {up ? down + unit : down};
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t base) {
  text = strip(text, Side::both);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::int64_t prefix = prefix_base(text);
  if (prefix && (base == prefix || base == 0)) {
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    base = prefix;
  } else if (base == 0) {
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != text.npos) return std::nullopt;
    base = 10;
  }
  if (base < 2 || base > 36) return std::nullopt;
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || digits->front() == '-') return std::nullopt;
  std::uint64_t value = 0;
  const char* end = digits->data() + digits->size();
  const auto result = std::from_chars(digits->data(), end, value, static_cast<int>(base));
  if (result.ptr != end) return std::nullopt;
  if (result.ec != std::errc() || value > static_cast<std::uint64_t>(INT64_MAX))
    fail("an integer beyond 64 bits");
  return negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
}

std::optional<double> parse_real(std::string_view text) {
  text = strip(text, Side::both);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || digits->front() == '-' || digits->find('(') != std::string::npos)
    return std::nullopt;
  double value = 0;
  const char* end = digits->data() + digits->size();
  const auto result = std::from_chars(digits->data(), end, value);
  if (result.ptr != end) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) value = std::strtod(digits->c_str(), nullptr);
  return negative ? -value : value;
}

std::optional<std::int64_t> truncated(double value) {
  if (!(std::abs(value) < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::int64_t whole_part(double value) {
  if (!std::isfinite(value)) fail("cannot convert the float to an integer");
  const auto whole = truncated(value);
  if (!whole) fail("an integer beyond 64 bits");
  return *whole;
}

Value rounded(const Value& number, std::int64_t digits) {
  if (const auto whole = number.integer()) return round_whole(*whole, digits);
  const double value = to_double(number);
  if (!std::isfinite(value) || digits > 323) return {value};
  if (digits < -308) return {std::copysign(0.0, value)};
  if (digits >= 0) return {std::strtod(fixed(value, static_cast<int>(digits)).c_str(), nullptr)};
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return {round_half_even(value / unit) * unit};
}

}  // namespace baleen::jinja
