// What the pictures say, that they are XML, and that their colors are in order. How they look was looked at.
#include "routing/heat_map.h"

#include <doctest/doctest.h>

#include <cmath>
#include <regex>
#include <vector>

#include "error.h"

using namespace baleen;

namespace {

LayerLoad layer_load(std::size_t layer, std::vector<std::uint64_t> load, std::uint64_t tokens = 0,
                     std::size_t top_k = 0) {
  return {layer, std::move(load), tokens, top_k};
}

std::vector<LayerLoad> grid(std::size_t layers, std::size_t experts) {
  std::vector<LayerLoad> loads;
  for (std::size_t l = 0; l < layers; ++l) {
    std::vector<std::uint64_t> load;
    for (std::size_t e = 0; e < experts; ++e) load.push_back((l * 31 + e * 17) % 23);
    loads.push_back(layer_load(l, load));
  }
  return loads;
}

// Elements in a document that is well formed as far as these pictures go; -1 if it is not.
int elements(const std::string& xml) {
  std::vector<std::string> open;
  int count = 0;
  const std::regex tag("<(/?)([a-z]+)((?: [a-zA-Z0-9-]+=\"[^\"<]*\")*)(/?)>");
  std::size_t at = 0;
  for (std::sregex_iterator m(xml.begin(), xml.end(), tag), end; m != end; ++m) {
    const std::string between = xml.substr(at, static_cast<std::size_t>(m->position()) - at);
    if (between.find_first_of("<>") != std::string::npos) return -1;
    at = static_cast<std::size_t>(m->position() + m->length());
    if ((*m)[1].length()) {
      if (open.empty() || open.back() != (*m)[2].str()) return -1;
      open.pop_back();
    } else {
      ++count;
      if (!(*m)[4].length()) open.push_back((*m)[2].str());
    }
  }
  return open.empty() && xml.substr(at) == "\n" ? count : -1;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the scale is lightest at utilization 1 and darker with every step away from it") {
  for (const double end : {2.0, 8.0, 16.0}) {
    double before_less = lightness(utilization_color(1, end)), before_more = before_less;
    CHECK(before_less > 0.95);
    for (int i = 1; i <= 16; ++i) {
      const double less = lightness(utilization_color(std::pow(end, -i / 16.0), end));
      const double more = lightness(utilization_color(std::pow(end, i / 16.0), end));
      CHECK(less < before_less);
      CHECK(more < before_more);
      // Steps as large to the eye on both sides; 8-bit colors and the edge of sRGB leave a little.
      CHECK(less == doctest::Approx(more).epsilon(0.04));
      before_less = less;
      before_more = more;
    }
    const Rgb less = utilization_color(1 / end, end), more = utilization_color(end, end);
    CHECK(less.blue > less.red);
    CHECK(more.red > more.blue);
    CHECK(utilization_color(2 * end, end) == more);
    CHECK(utilization_color(0, end) == less);
  }
  const Rgb middle = utilization_color(1, 4);
  CHECK(middle.red == middle.green);
  CHECK(middle.green == middle.blue);
}

TEST_CASE("OKLCh colors: white, black and sRGB's red, and their lightness back") {
  CHECK(oklch(1, 0, 0) == Rgb{255, 255, 255});
  CHECK(oklch(0, 0, 0) == Rgb{0, 0, 0});
  CHECK(oklch(0.62796, 0.25768, 29.234) == Rgb{255, 0, 0});  // bottosson.github.io/posts/oklab
  CHECK(lightness({255, 0, 0}) == doctest::Approx(0.62796).epsilon(1e-4));
  CHECK(lightness({0, 0, 255}) == doctest::Approx(0.45201).epsilon(1e-4));
}

TEST_CASE("the scale ends at the power of two that the loads reach") {
  CHECK(scale_end(std::vector{layer_load(0, {1, 1})}) == 2);
  CHECK(scale_end(std::vector{layer_load(0, {3, 0, 0})}) == 4);  // utilization 3
  CHECK(scale_end(std::vector{layer_load(0, {4, 0, 0, 0})}) == 4);
  CHECK(scale_end(std::vector{layer_load(0, std::vector<std::uint64_t>(99, 0))}) == 2);
  std::vector<std::uint64_t> one_has_all(256, 0);
  one_has_all[7] = 5;
  CHECK(scale_end(std::vector{layer_load(0, one_has_all)}) == 16);
}

TEST_CASE("every expert has a cell with its numbers, and the document is whole") {
  for (const auto& [layers, experts] :
       std::vector<std::pair<std::size_t, std::size_t>>{{58, 256}, {5, 24}, {1, 8}, {1, 1}}) {
    const std::string svg = heat_map_svg(grid(layers, experts), "a model");
    CHECK(elements(svg) > static_cast<int>(2 * layers * experts));
    CHECK(count(svg, "utilization ") == layers * experts + 1);  // and the legend
    CHECK(has(svg, ">layer</text>"));
    CHECK(has(svg, ">expert</text>"));
    CHECK(has(svg, ">a model</text>"));
  }
  const std::vector<LayerLoad> two = {layer_load(3, {1234, 0, 1, 765}, 1000, 2),
                                      layer_load(4, {500, 500, 500, 500})};
  const std::string svg = heat_map_svg(two, "");
  CHECK(has(svg, ">2 layers, 4 experts, top 2, 1,000 tokens</text>"));
  CHECK(has(svg, "<title>layer 3, expert 0: 1,234 tokens, utilization 2.47</title>"));
  CHECK(has(svg, "<title>layer 3, expert 2: 1 token, utilization 0.00</title>"));
  CHECK(has(svg, "<title>layer 3: MaxVio 1.47</title>"));
  CHECK(has(svg, "fill=\"#141418\"><title>layer 3, expert 1: 0 tokens"));
  CHECK(has(svg, ">no token</text>"));
  CHECK(!has(svg, ">layer without tokens</text>"));
}

TEST_CASE("layers without tokens and layers of different width are drawn") {
  const std::vector<LayerLoad> loads = {layer_load(0, {0, 0, 0}), layer_load(9, {1, 2}), layer_load(10, {})};
  const std::string svg = heat_map_svg(loads, "x");
  CHECK(elements(svg) > 0);
  CHECK(has(svg, ">layer without tokens</text>"));
  CHECK(!has(svg, ">no token</text>"));
  CHECK(!has(svg, "nan"));
  CHECK_THROWS_WITH_AS(heat_map_svg({}, "x"), "no experts to draw", UsageError);
  CHECK_THROWS_WITH_AS(heat_map_svg(std::vector{layer_load(0, {})}, "x"), "no experts to draw", UsageError);
  CHECK_THROWS_WITH_AS(heat_map_svg(std::vector{layer_load(0, std::vector<std::uint64_t>(1000001, 1))}, "x"),
                       "1000001 experts to draw, expected at most 1000000", UsageError);
}

TEST_CASE("titles are escaped, repaired and cut") {
  CHECK(xml_escape("a<b & \"c\">\x01") == "a&lt;b &amp; &quot;c&quot;&gt;\uFFFD");
  CHECK(xml_escape("h\xC3\xA9\xFF") == "h\u00E9\uFFFD");
  CHECK(xml_escape("\xEF\xBF\xBF") == "\uFFFD");  // U+FFFF, which no XML document may hold
  const std::string svg = heat_map_svg(grid(2, 8), "</svg><script>\xFF" + std::string(500, 'w'));
  CHECK(elements(svg) > 0);
  CHECK(!has(svg, "<script>"));
  CHECK(has(svg, "w\u2026</text>"));
}

TEST_CASE("a histogram has every expert twice, by index and sorted") {
  const LayerLoad layer = layer_load(7, {10, 0, 30, 20}, 30, 2);
  const std::string svg = histogram_svg(layer, "one layer");
  CHECK(elements(svg) > 8);
  CHECK(has(svg, ">layer 7, 4 experts, top 2, 30 tokens, MaxVio 1.00, 1 dead</text>"));
  // By index, then by load.
  std::vector<std::string> order;
  const std::regex tooltip("expert ([0-9]+): ");
  for (std::sregex_iterator m(svg.begin(), svg.end(), tooltip), end; m != end; ++m) order.push_back((*m)[1]);
  CHECK(order == std::vector<std::string>{"0", "1", "2", "3", "2", "3", "0", "1"});
  CHECK(elements(histogram_svg(grid(1, 256)[0], "x")) > 512);
  CHECK(elements(histogram_svg(layer_load(0, {0, 0}), "x")) > 0);
  CHECK_THROWS_AS(histogram_svg(layer_load(0, {}), "x"), UsageError);
}
