// Which positions of a prompt attend in the expanded form, and what prompts share of them.
#include "model/expansion.h"

#include <doctest/doctest.h>

#include <vector>

using namespace baleen;

namespace {

Config config_of(AttentionKind attention) {
  Config config;
  config.attention = attention;
  return config;
}

// The form of each row of a prompt of `tokens` tokens.
std::vector<bool> forms(const Expansion& expansion, const Config& config, std::size_t tokens) {
  const Positions expanded = expansion.of(config, 0, tokens);
  std::vector<bool> rows(tokens);
  for (std::size_t p = 0; p < tokens; ++p) rows[p] = expanded.has(p);
  return rows;
}

}  // namespace

TEST_CASE("whole blocks of a prompt are expanded, from the first one on") {
  const Config mla = config_of(AttentionKind::mla);
  const Expansion expansion{.first = 8, .block = 4, .far = 16, .far_block = 8};
  for (std::size_t begin = 0; begin < 30; ++begin) {
    for (std::size_t end = begin; end < 40; ++end) {
      const Positions expanded = expansion.of(mla, begin, end);
      for (std::size_t p = 0; p < 44; ++p) {
        const std::size_t size = p < 16 ? 4 : 8;
        const std::size_t block = p / size * size;
        CHECK(expanded.has(p) == (p >= 8 && begin <= block && block + size <= end));
      }
    }
  }
  CHECK_FALSE(expansion.of(config_of(AttentionKind::grouped_query), 0, 40).has(20));
}

TEST_CASE("prompts share rows up to the first that they compute in different forms") {
  const Config mla = config_of(AttentionKind::mla);
  const Config grouped = config_of(AttentionKind::grouped_query);
  const Expansion expansion{.first = 8, .block = 4, .far = 16, .far_block = 8};
  for (std::size_t a = 1; a < 30; ++a) {
    for (std::size_t b = 1; b < 30; ++b) {
      const auto of_a = forms(expansion, mla, a), of_b = forms(expansion, mla, b);
      for (std::size_t common = 0; common <= std::min(a, b); ++common) {
        std::size_t same = 0;
        while (same < common && of_a[same] == of_b[same]) ++same;
        CHECK(expansion.common_rows(mla, common, a, b) == same);
        CHECK(expansion.common_rows(grouped, common, a, b) == common);
      }
    }
  }
}
