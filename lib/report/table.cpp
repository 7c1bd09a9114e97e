#include "report/table.h"

#include <algorithm>

namespace baleen {
namespace {

void append_cell(std::string& line, const std::string& cell, std::size_t width, Table::Align align) {
  const std::string padding(width - text_width(cell), ' ');
  line += align == Table::Align::left ? cell + padding : padding + cell;
}

}  // namespace

std::size_t text_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::string> heading;
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    heading.push_back(columns_[c].heading);
    widths.push_back(text_width(columns_[c].heading));
    for (const auto& row : rows_) widths[c] = std::max(widths[c], text_width(row[c]));
  }
  std::string text;
  const auto append_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) line += "  ";
      append_cell(line, row[c], widths[c], columns_[c].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  append_row(heading);
  for (const auto& row : rows_) append_row(row);
  return text;
}

}  // namespace baleen
