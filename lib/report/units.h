// Numbers as people write them: sizes in powers of 1024, counts in powers of 1000, seconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baleen {

// "512", "1.5G", "20M": K, M, G, T are powers of 1024. Throws UsageError saying what is wrong.
std::uint64_t parse_bytes(std::string_view text);
// "512", "4k", "1.5M", "608e9": k, M, G are powers of 1000. Throws UsageError saying what is wrong.
std::uint64_t parse_count(std::string_view text);
// A finite decimal number in [low, high]. Throws UsageError saying what is wrong.
double parse_number(std::string_view text, double low, double high);

std::string format_bytes(std::uint64_t bytes);  // "29.7 GiB"
// "1.31M": the least number of so many digits that parse_bytes reads as no less.
std::string format_bytes_option(std::uint64_t bytes);
std::string format_count(std::uint64_t count);  // "15.9 G", below 10,000 as it is
std::string format_seconds(double seconds);     // "0.12 s", "3 min 20 s", "2 h 05 min"
std::string format_fixed(double value, int digits);

// count * each, or the largest number there is: sizes in a file may be anything.
std::uint64_t saturating_product(std::uint64_t count, std::uint64_t each);

}  // namespace baleen
