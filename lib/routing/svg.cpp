#include "routing/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <utility>

#include "report/units.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

// At most one decimal place, none where it is 0.
std::string number(double x) {
  std::string text = format_fixed(x, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string attribute(std::string_view name, std::string_view value) {
  return " " + std::string(name) + "=\"" + std::string(value) + "\"";
}
std::string attribute(std::string_view name, double value) {
  return attribute(name, number(value));
}

std::string hex(Rgb c) {
  std::array<char, 8> text;
  std::snprintf(text.data(), text.size(), "#%02x%02x%02x", c.red, c.green, c.blue);
  return text.data();
}

std::string position(const Box& b) {
  return attribute("x", b.x) + attribute("y", b.y) + attribute("width", b.width) +
         attribute("height", b.height);
}

std::uint8_t srgb(double linear) {
  const double x = std::clamp(linear, 0.0, 1.0);
  const double encoded = x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(255 * encoded));
}

double linear(std::uint8_t encoded) {
  const double x = encoded / 255.0;
  return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
}

}  // namespace

std::string xml_escape(std::string_view text) {
  const std::string whole = unicode::repair(text);
  std::string out;
  for (std::size_t at = 0; at < whole.size();) {
    const char32_t c = unicode::next(whole, at);
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      const bool allowed = c >= 0x20 && c != 0x7F && c != 0xFFFE && c != 0xFFFF;
      unicode::append(out, allowed ? c : char32_t{0xFFFD});
    }
  }
  return out;
}

Rgb oklch(double lightness, double chroma, double hue) {
  const double a = chroma * std::cos(hue * std::numbers::pi / 180);
  const double b = chroma * std::sin(hue * std::numbers::pi / 180);
  const auto cube = [](double x) { return x * x * x; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  return {srgb(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          srgb(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          srgb(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

double lightness(Rgb c) {
  const double r = linear(c.red), g = linear(c.green), b = linear(c.blue);
  return 0.2104542553 * std::cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) +
         0.7936177850 * std::cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) -
         0.0040720468 * std::cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
}

Svg::Svg(double width, double height, std::string_view title) {
  // crispEdges: boxes side by side show no seams when the picture is scaled.
  const std::string size = number(width) + " " + number(height);
  out_ =
      "<svg xmlns=\"http://www.w3.org/2000/svg\"" + attribute("width", width) + attribute("height", height) +
      attribute("viewBox", "0 0 " + size) +
      " font-family=\"Helvetica, Arial, sans-serif\" role=\"img\" shape-rendering=\"crispEdges\">\n<title>" +
      xml_escape(title) + "</title>\n";
  box({0, 0, width, height}, {0xFF, 0xFF, 0xFF});
}

void Svg::box(const Box& b, Rgb color, std::string_view tooltip) {
  out_ += "<rect" + position(b) + attribute("fill", hex(color));
  out_ += tooltip.empty() ? "/>\n" : "><title>" + xml_escape(tooltip) + "</title></rect>\n";
}

void Svg::frame(const Box& b, Rgb color) {
  out_ += "<rect" + position(b) + " fill=\"none\"" + attribute("stroke", hex(color)) + "/>\n";
}

void Svg::line(double x1, double y1, double x2, double y2, Rgb color, bool dashed) {
  out_ += "<line" + attribute("x1", x1) + attribute("y1", y1) + attribute("x2", x2) + attribute("y2", y2) +
          attribute("stroke", hex(color)) + (dashed ? " stroke-dasharray=\"4 3\"" : "") + "/>\n";
}

void Svg::text(double x, double y, std::string_view text, const TextStyle& style) {
  out_ += "<text" + attribute("x", x) + attribute("y", y) + attribute("font-size", style.size) +
          attribute("fill", hex(style.color));
  if (style.anchor == Anchor::middle) out_ += " text-anchor=\"middle\"";
  if (style.anchor == Anchor::end) out_ += " text-anchor=\"end\"";
  if (style.bold) out_ += " font-weight=\"bold\"";
  if (style.upwards) out_ += attribute("transform", "rotate(-90 " + number(x) + " " + number(y) + ")");
  // No tooltip of a cell may hide behind its label.
  out_ += " pointer-events=\"none\">" + xml_escape(text) + "</text>\n";
}

std::string Svg::finish() && {
  return std::move(out_) + "</svg>\n";
}

}  // namespace baleen
