// Pictures as SVG 1.1: rectangles and text at whole pixels, escaped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baleen {

// Text for an SVG element or attribute: markup escaped, UTF-8 repaired, control characters (which XML may not
// hold) as U+FFFD.
std::string xml_escape(std::string_view text);

struct Rgb {
  std::uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Rgb&) const = default;
};

// The sRGB color of an OKLCh lightness (0 to 1), chroma and hue (degrees), clipped to what there is:
// bottosson.github.io/posts/oklab. Equal steps of lightness look equal.
Rgb oklch(double lightness, double chroma, double hue);
// OKLab's lightness of a color.
double lightness(Rgb);

struct Box {
  double x = 0, y = 0, width = 0, height = 0;
};

enum class Anchor : std::uint8_t { start, middle, end };
struct TextStyle {
  double size = 11;
  Anchor anchor = Anchor::start;
  Rgb color = {0x33, 0x33, 0x33};
  bool bold = false;
  bool upwards = false;  // turned by 90 degrees counterclockwise
};

// A drawing on opaque white, so that it looks the same on a dark page as on a light one.
class Svg {
 public:
  Svg(double width, double height, std::string_view title);

  // A box with a tooltip; none if empty.
  void box(const Box&, Rgb, std::string_view tooltip = {});
  void frame(const Box&, Rgb);
  void line(double x1, double y1, double x2, double y2, Rgb, bool dashed = false);
  // Text whose baseline begins, is centered or ends at (x, y).
  void text(double x, double y, std::string_view, const TextStyle& = {});

  // Ends the drawing.
  std::string finish() &&;

 private:
  std::string out_;
};

}  // namespace baleen
