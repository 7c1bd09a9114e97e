#include "report/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <system_error>

#include "error.h"

namespace baleen {
namespace {

// The longest number at the front of `text`, which is cut off it.
std::optional<double> take_number(std::string_view& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

// A whole number with a unit letter out of `letters`, the i-th worth base^(i+1).
std::uint64_t parse_scaled(std::string_view text, std::string_view letters, double base,
                           const std::string& expected) {
  const std::string wrong = "'" + std::string(text) + "' is not " + expected;
  std::string_view rest = text;
  const std::optional<double> number = take_number(rest);
  if (!number || !std::isfinite(*number) || *number < 0 || rest.size() > 1) throw UsageError(wrong);
  double value = *number;
  if (!rest.empty()) {
    const std::size_t letter = letters.find(rest[0]);
    if (letter == std::string_view::npos) throw UsageError(wrong);
    value *= std::pow(base, static_cast<double>(letter % (letters.size() / 2) + 1));
  }
  if (value >= 9.2e18) throw UsageError("'" + std::string(text) + "' is too large");
  // 1.3G bytes is a fraction of a byte away from a whole number; 0.5 alone is not meant.
  const double whole = rest.empty() ? value : std::round(value);
  if (whole != std::floor(whole)) throw UsageError(wrong);
  return static_cast<std::uint64_t>(whole);
}

std::string format_scaled(double value, double base, std::string_view bare,
                          const std::array<const char*, 4>& units) {
  std::size_t unit = 0;
  value /= base;
  // 999.96 would print as 1000.0: the next unit begins where rounding does.
  while (value >= base - 0.05 && unit + 1 < units.size()) {
    value /= base;
    ++unit;
  }
  return format_fixed(value, value < 10 ? 2 : 1) + " " + units[unit] + std::string(bare);
}

}  // namespace

std::uint64_t parse_bytes(std::string_view text) {
  return parse_scaled(text, "KMGTkmgt", 1024, "a size: a number of bytes, or one with K, M, G or T");
}

std::uint64_t parse_count(std::string_view text) {
  return parse_scaled(text, "kMGKMG", 1000, "a count: a whole number, or one with k, M or G");
}

double parse_number(std::string_view text, double low, double high) {
  std::string_view rest = text;
  const std::optional<double> number = take_number(rest);
  if (!number || !rest.empty() || !std::isfinite(*number)) {
    throw UsageError("'" + std::string(text) + "' is not a number");
  }
  if (*number >= low && *number <= high) return *number;
  std::array<char, 96> range;
  if (high > 1e300) {
    std::snprintf(range.data(), range.size(), "at least %g", low);
  } else {
    std::snprintf(range.data(), range.size(), "from %g to %g", low, high);
  }
  throw UsageError("'" + std::string(text) + "' is out of range: " + range.data());
}

std::string format_fixed(double value, int digits) {
  std::array<char, 400> text;
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  return format_scaled(static_cast<double>(bytes), 1024, "iB", {"K", "M", "G", "T"});
}

std::string format_bytes_option(std::uint64_t bytes) {
  constexpr std::string_view units = "KMGT";
  std::size_t unit = 0;
  double value = static_cast<double>(bytes) / 1024;
  while (value >= 1000 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  const double digits = value < 10 ? 100 : 10;
  for (double number = std::ceil(value * digits);; ++number) {
    const std::string text = format_fixed(number / digits, value < 10 ? 2 : 1) + units[unit];
    if (parse_bytes(text) >= bytes) return text;  // rounding may be a byte short
  }
}

std::string format_count(std::uint64_t count) {
  if (count < 10000) return std::to_string(count);
  return format_scaled(static_cast<double>(count), 1000, "", {"k", "M", "G", "T"});
}

std::string format_seconds(double seconds) {
  if (seconds < 10) return format_fixed(seconds, 2) + " s";
  if (seconds < 100) return format_fixed(seconds, 1) + " s";
  const auto whole = static_cast<std::uint64_t>(std::min(seconds + 0.5, 1e15));
  std::array<char, 64> text;
  if (whole < 3600) {
    std::snprintf(text.data(), text.size(), "%llu min %02llu s", static_cast<unsigned long long>(whole / 60),
                  static_cast<unsigned long long>(whole % 60));
  } else {
    std::snprintf(text.data(), text.size(), "%llu h %02llu min",
                  static_cast<unsigned long long>(whole / 3600),
                  static_cast<unsigned long long>(whole % 3600 / 60));
  }
  return text.data();
}

std::uint64_t saturating_product(std::uint64_t count, std::uint64_t each) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(count, each, &product) ? std::numeric_limits<std::uint64_t>::max() : product;
}

}  // namespace baleen
