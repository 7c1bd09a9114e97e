#include "routing/heat_map.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "error.h"
#include "report/units.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

// Of all layers: a cell takes about 150 bytes.
constexpr std::size_t most_experts = 1'000'000;

constexpr Rgb ink = {0x22, 0x22, 0x22};
constexpr Rgb faint = {0x77, 0x77, 0x77};
constexpr Rgb hairline = {0xC4, 0xC4, 0xC4};

// 1234567 as 1,234,567.
std::string grouped(std::uint64_t n) {
  std::string text = std::to_string(n);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::uint64_t total(const LayerLoad& layer) {
  return std::accumulate(layer.load.begin(), layer.load.end(), std::uint64_t{0});
}

// Utilization of every expert; zeros in a layer without load.
std::vector<double> utilizations(const LayerLoad& layer) {
  const double mean = static_cast<double>(total(layer)) / static_cast<double>(layer.load.size());
  std::vector<double> u;
  for (const std::uint64_t load : layer.load) u.push_back(mean > 0 ? static_cast<double>(load) / mean : 0);
  return u;
}

double highest(const std::vector<double>& u) {
  return u.empty() ? 0 : *std::max_element(u.begin(), u.end());
}

// 1/4, 1/2, 1, 2, 4: powers of two as people read them.
std::string power_of_two(int exponent) {
  const std::string number = std::to_string(1 << std::abs(exponent));
  return exponent < 0 ? "1/" + number : number;
}

// The least of the steps 0.1, 0.2, 0.5, 1, 2, ... that puts marks at least `room` pixels apart where 1 takes
// `scale` pixels.
double tick_step(double scale, double room) {
  for (double power = 0.1;; power *= 10)
    for (const double digit : {1, 2, 5})
      if (digit * power * scale >= room) return digit * power;
}

// The same for experts, which come in powers of two.
std::size_t expert_step(double scale, double room) {
  std::size_t step = 1;
  while (static_cast<double>(step) * scale < room) step *= 2;
  return step;
}

// As light as `lightest` at utilization 1.
Rgb scale_color(double utilization, double end, double lightest) {
  const double exponent = utilization > 0 ? std::log2(utilization) / std::log2(end) : -1;
  const double t = std::clamp(exponent, -1.0, 1.0);
  const double away = std::abs(t);
  const double light = lightest + (0.43 - lightest) * away;
  return t < 0 ? oklch(light, 0.14 * away, 256) : oklch(light, 0.165 * away, 33);
}

// Dark on light, light on dark.
Rgb readable_on(Rgb background) {
  return lightness(background) > 0.66 ? ink : Rgb{0xFF, 0xFF, 0xFF};
}

std::string tooltip(const LayerLoad& layer, std::size_t expert, double utilization) {
  return "layer " + std::to_string(layer.layer) + ", expert " + std::to_string(expert) + ": " +
         grouped(layer.load[expert]) + (layer.load[expert] == 1 ? " token" : " tokens") + ", utilization " +
         format_fixed(utilization, 2);
}

std::string plural(std::size_t n, const std::string& what) {
  return grouped(n) + " " + what + (n == 1 ? "" : "s");
}

// "58 layers, 256 experts, top 8, 12,345 tokens".
std::string description(std::span<const LayerLoad> layers) {
  std::size_t experts = 0;
  std::uint64_t tokens = 0;
  for (const LayerLoad& l : layers) {
    experts = std::max(experts, l.load.size());
    tokens = std::max(tokens, l.tokens);
  }
  std::string text =
      layers.size() == 1 ? "layer " + std::to_string(layers[0].layer) : plural(layers.size(), "layer");
  text += ", " + plural(experts, "expert");
  if (layers[0].top_k) text += ", top " + std::to_string(layers[0].top_k);
  if (tokens) text += ", " + grouped(tokens) + (tokens == 1 ? " token" : " tokens");
  return text;
}

// Where things stand on a heat map. All in pixels.
struct Layout {
  std::size_t rows = 0, columns = 0;
  double cell_width = 0, cell_height = 0;
  double left = 64, top = 66;

  double width() const { return cell_width * static_cast<double>(columns); }
  double height() const { return cell_height * static_cast<double>(rows); }
  double right() const { return left + width(); }
  double bottom() const { return top + height(); }
  Box cell(std::size_t row, std::size_t column) const {
    return {left + cell_width * static_cast<double>(column), top + cell_height * static_cast<double>(row),
            cell_width, cell_height};
  }
  bool has_numbers() const { return cell_width >= 30; }
};

constexpr double vio_width = 96;      // of the MaxVio bars and their numbers
constexpr double legend_width = 360;  // of the color scale

// Cells of whole pixels, so large that the map has about 1,024 by 640.
Layout layout(std::span<const LayerLoad> layers) {
  Layout l;
  l.rows = layers.size();
  for (const LayerLoad& layer : layers) l.columns = std::max(l.columns, layer.load.size());
  const auto fit = [](double room, std::size_t count, double least, double most) {
    return std::clamp(std::floor(room / static_cast<double>(count)), least, most);
  };
  l.cell_width = fit(1024, l.columns, 2, 48);
  l.cell_height = fit(640, l.rows, 8, 28);
  return l;
}

// `text` cut to so many code points.
std::string shortened(std::string_view text, std::size_t most) {
  const std::string whole = unicode::repair(text);
  std::size_t at = 0;
  for (std::size_t count = 0; at < whole.size() && count < most; ++count) unicode::next(whole, at);
  return at < whole.size() ? whole.substr(0, at) + "\u2026" : whole;
}

void draw_heading(Svg& svg, const Box& area, std::string_view title, const std::string& subtitle) {
  const double x = area.x;
  // A bold letter of 16 pixels is about 10 wide.
  svg.text(x, 26, shortened(title, static_cast<std::size_t>(area.width / 10)),
           {.size = 16, .color = ink, .bold = true});
  svg.text(x, 45, subtitle, {.size = 12, .color = faint});
}

void draw_cells(Svg& svg, const Layout& at, std::span<const LayerLoad> layers, double end) {
  for (std::size_t row = 0; row < layers.size(); ++row) {
    const LayerLoad& layer = layers[row];
    const std::vector<double> u = utilizations(layer);
    const bool idle = total(layer) == 0;
    for (std::size_t e = 0; e < u.size(); ++e) {
      const Box cell = at.cell(row, e);
      const Rgb color = idle ? idle_color : layer.load[e] == 0 ? dead_color : utilization_color(u[e], end);
      svg.box(cell, color, tooltip(layer, e, u[e]));
      if (at.has_numbers())
        svg.text(cell.x + cell.width / 2, cell.y + cell.height / 2 + 4,
                 layer.load[e] == 0 ? "0" : format_fixed(u[e], u[e] < 9.995 ? 2 : 1),
                 {.anchor = Anchor::middle, .color = readable_on(color)});
    }
  }
  svg.frame({at.left - 0.5, at.top - 0.5, at.width() + 1, at.height() + 1}, hairline);
}

void draw_axes(Svg& svg, const Layout& at, std::span<const LayerLoad> layers) {
  const auto row_step = static_cast<std::size_t>(std::max(1.0, tick_step(at.cell_height, 11)));
  for (std::size_t row = 0; row < layers.size(); row += row_step) {
    const double middle = at.cell(row, 0).y + at.cell_height / 2;
    svg.text(at.left - 8, middle + 3.5, std::to_string(layers[row].layer),
             {.size = 10, .anchor = Anchor::end});
  }
  svg.text(22, at.top + at.height() / 2, "layer", {.size = 12, .anchor = Anchor::middle, .upwards = true});
  const std::size_t column_step = expert_step(at.cell_width, 26);
  for (std::size_t e = 0; e < at.columns; e += column_step) {
    const double middle = at.cell(0, e).x + at.cell_width / 2;
    svg.line(middle, at.bottom() + 1, middle, at.bottom() + 5, faint);
    svg.text(middle, at.bottom() + 16, std::to_string(e), {.size = 10, .anchor = Anchor::middle});
  }
  svg.text(at.left + at.width() / 2, at.bottom() + 33, "expert", {.size = 12, .anchor = Anchor::middle});
}

// What the busiest expert of each layer has above its share, as bars beside the map.
void draw_max_vio(Svg& svg, const Layout& at, std::span<const LayerLoad> layers) {
  constexpr double bar_width = vio_width - 36;
  const double x = at.right() + 14;
  double most = 0;
  for (const LayerLoad& layer : layers) most = std::max(most, highest(utilizations(layer)) - 1);
  svg.text(x, at.top - 6, "MaxVio", {.color = ink, .bold = true});
  for (std::size_t row = 0; row < layers.size(); ++row) {
    if (total(layers[row]) == 0) continue;
    const double max_vio = highest(utilizations(layers[row])) - 1;
    const double length = most > 0 ? std::round(bar_width * max_vio / most) : 0;
    const Box cell = at.cell(row, 0);
    const double gap = at.cell_height >= 16 ? 3 : 1;
    svg.box({x, cell.y + gap, std::max(1.0, length), cell.height - 2 * gap}, {0x8C, 0x8C, 0x8C},
            "layer " + std::to_string(layers[row].layer) + ": MaxVio " + format_fixed(max_vio, 2));
    if (at.cell_height >= 9)
      svg.text(x + length + 4, cell.y + cell.height / 2 + 3.5, format_fixed(max_vio, 2), {.size = 9.5});
  }
}

// The color scale with its marks, at (x, y), and what has no place on it.
void draw_legend(Svg& svg, double x, double y, std::span<const LayerLoad> layers, double end) {
  constexpr int steps = 120;
  const int powers = static_cast<int>(std::lround(std::log2(end)));
  svg.text(x, y - 7, "utilization (load / mean load of the layer)", {.color = ink});
  for (int i = 0; i < steps; ++i) {
    const double exponent = powers * (2 * (i + 0.5) / steps - 1);
    svg.box({x + i * legend_width / steps, y, legend_width / steps, 12},
            utilization_color(std::exp2(exponent), end));
  }
  svg.frame({x - 0.5, y - 0.5, legend_width + 1, 13}, hairline);
  bool below = false, above = false, dead = false, idle = false;
  for (const LayerLoad& layer : layers) {
    const bool has_load = total(layer) > 0;
    idle = idle || !has_load;
    for (const double u : utilizations(layer)) {
      below = below || (u > 0 && u < 1 / end);
      above = above || u > end;
      dead = dead || (u == 0 && has_load);
    }
  }
  for (int p = -powers; p <= powers; ++p) {
    const double at = x + legend_width * (p + powers) / (2.0 * powers);
    svg.line(at, y + 12, at, y + 16, faint);
    const std::string beyond = p == powers && above ? "\u2265 " : p == -powers && below ? "\u2264 " : "";
    svg.text(at, y + 27, beyond + power_of_two(p), {.size = 10, .anchor = Anchor::middle});
  }
  double swatch = x + legend_width + 48;
  const auto explain = [&](Rgb color, std::string_view what, double room) {
    svg.box({swatch, y, 12, 12}, color);
    svg.text(swatch + 18, y + 10, what, {});
    swatch += room;
  };
  if (dead) explain(dead_color, "no token", 84);
  if (idle) explain(idle_color, "layer without tokens", 140);
}

// The bars of a histogram in the order given, in a box of the drawing.
struct Bars {
  Box area;
  double high = 0;  // utilization at the upper edge
  double end = 0;   // of the color scale
};

void draw_bars(Svg& svg, const Bars& bars, const LayerLoad& layer, std::span<const std::size_t> order) {
  const std::vector<double> u = utilizations(layer);
  const Box& area = bars.area;
  const double width = area.width / static_cast<double>(order.size());
  const double gap = width >= 4 ? std::max(1.0, std::floor(width / 8)) : 0;
  const double floor = area.y + area.height;
  const auto height = [&](double utilization) { return std::round(area.height * utilization / bars.high); };

  const double step = tick_step(area.height / bars.high, 24);
  for (int i = 0; i * step <= bars.high; ++i) {
    const double y = floor - height(i * step);
    svg.line(area.x, y + 0.5, area.x + area.width, y + 0.5, {0xE6, 0xE6, 0xE6});
    svg.text(area.x - 8, y + 4, format_fixed(i * step, step < 1 ? 1 : 0),
             {.size = 10, .anchor = Anchor::end});
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t e = order[i];
    const double x = area.x + width * static_cast<double>(i);
    // A dead expert gets a stump to be seen by.
    const double bar = std::max(2.0, height(u[e]));
    // Not as light as on the map: a bar stands on white.
    const Rgb color = layer.load[e] == 0 ? dead_color : scale_color(u[e], bars.end, 0.82);
    svg.box({x + gap / 2, floor - bar, width - gap, bar}, color, tooltip(layer, e, u[e]));
  }
  svg.line(area.x, floor + 0.5, area.x + area.width, floor + 0.5, faint);
  const double mean = floor - height(1) + 0.5;
  svg.line(area.x, mean, area.x + area.width, mean, ink, true);
  svg.text(area.x + area.width + 6, mean + 4, "mean", {.size = 10, .color = ink});
}

void draw_expert_axis(Svg& svg, const Box& area, std::span<const std::size_t> experts, std::size_t step) {
  const double width = area.width / static_cast<double>(experts.size());
  for (std::size_t i = 0; i < experts.size(); i += step) {
    const double x = area.x + width * (static_cast<double>(i) + 0.5);
    svg.line(x, area.y + area.height + 1, x, area.y + area.height + 5, faint);
    svg.text(x, area.y + area.height + 16, std::to_string(experts[i]),
             {.size = 10, .anchor = Anchor::middle});
  }
}

void check(std::span<const LayerLoad> layers) {
  const bool drawable =
      std::any_of(layers.begin(), layers.end(), [](const auto& l) { return !l.load.empty(); });
  if (!drawable) throw UsageError("no experts to draw");
  std::size_t experts = 0;
  for (const LayerLoad& layer : layers) experts += layer.load.size();
  if (experts > most_experts)
    throw UsageError(std::to_string(experts) + " experts to draw, expected at most " +
                     std::to_string(most_experts));
}

}  // namespace

Rgb utilization_color(double utilization, double end) {
  return scale_color(utilization, end, 0.975);
}

double scale_end(std::span<const LayerLoad> layers) {
  double most = 0;
  for (const LayerLoad& layer : layers) most = std::max(most, highest(utilizations(layer)));
  double end = 2;
  while (end < most && end < 16) end *= 2;
  return end;
}

std::string heat_map_svg(std::span<const LayerLoad> layers, std::string_view title) {
  check(layers);
  const Layout at = layout(layers);
  const double end = scale_end(layers);
  const double width = at.left + std::max(at.width() + vio_width, legend_width + 280) + 24;
  Svg svg(width, at.bottom() + 106, title);
  draw_heading(svg, {at.left, 0, width - at.left, at.top}, title, description(layers));
  draw_cells(svg, at, layers, end);
  draw_axes(svg, at, layers);
  draw_max_vio(svg, at, layers);
  draw_legend(svg, at.left, at.bottom() + 66, layers, end);
  return std::move(svg).finish();
}

std::string histogram_svg(const LayerLoad& layer, std::string_view title) {
  check({&layer, 1});
  const std::size_t experts = layer.load.size();
  const double width =
      std::clamp(std::floor(1024 / static_cast<double>(experts)), 2.0, 48.0) * static_cast<double>(experts);
  const double end = scale_end({&layer, 1});
  const double high = std::max(1.25, 1.04 * highest(utilizations(layer)));
  const Box by_index{64, 84, std::max(width, 320.0), 200};
  const Box sorted{64, by_index.y + by_index.height + 78, by_index.width, 200};

  Svg svg(by_index.x + by_index.width + 56, sorted.y + sorted.height + 46, title);
  std::string subtitle = description({&layer, 1});
  if (total(layer)) subtitle += ", MaxVio " + format_fixed(highest(utilizations(layer)) - 1, 2);
  const auto dead = std::count(layer.load.begin(), layer.load.end(), std::uint64_t{0});
  if (dead) subtitle += ", " + std::to_string(dead) + " dead";
  draw_heading(svg, by_index, title, subtitle);

  std::vector<std::size_t> order(experts);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const double bar = by_index.width / static_cast<double>(experts);
  const auto panel = [&](const Box& area, std::string_view heading, std::string_view axis, std::size_t step) {
    svg.text(area.x, area.y - 10, heading, {.size = 12, .color = ink, .bold = true});
    svg.text(22, area.y + area.height / 2, "utilization",
             {.size = 12, .anchor = Anchor::middle, .upwards = true});
    svg.text(area.x + area.width / 2, area.y + area.height + 33, axis,
             {.size = 12, .anchor = Anchor::middle});
    draw_bars(svg, {area, high, end}, layer, order);
    if (step) draw_expert_axis(svg, area, order, step);
  };
  panel(by_index, "by index", "expert", expert_step(bar, 26));
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return layer.load[a] > layer.load[b]; });
  // Experts' numbers in no order are readable only if all of them are there.
  panel(sorted, "sorted", bar >= 20 ? "expert" : "experts, from the busiest to the idlest",
        bar >= 20 ? 1 : 0);
  return std::move(svg).finish();
}

}  // namespace baleen
