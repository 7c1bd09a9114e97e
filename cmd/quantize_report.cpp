#include "cmd/quantize_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "report/table.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t named_modules = 8;

// Modules of a kind that become the same.
struct Row {
  std::string part, from, to;
  std::size_t modules = 0;
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  EncodeError error = {};
};

std::string dtype_label(DType dtype) {
  std::string name(dtype_name(dtype));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return name;
}

std::string stored_as(const SourceModule& module) {
  return module.weight ? std::string(module.weight->format_name) : dtype_label(module.tensors[0]->dtype);
}

std::string becomes(const SourceModule& module, const PlannedModule& planned) {
  switch (planned.work) {
    case Work::encode:
      return target_name(*planned.decision.target);
    case Work::widen:
      return dtype_label(module.plain);
    case Work::copy:
      break;
  }
  return "as it is";
}

std::vector<Row> rows_of(const QuantizeReport& r) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < r.plan.modules.size(); ++i) {
    const SourceModule& module = r.source.modules()[i];
    Row row{.part = std::string(module.part),
            .from = stored_as(module),
            .to = becomes(module, r.plan.modules[i])};
    auto at = std::find_if(rows.begin(), rows.end(), [&](const Row& other) {
      return other.part == row.part && other.from == row.from && other.to == row.to;
    });
    if (at == rows.end()) at = rows.insert(rows.end(), std::move(row));
    ++at->modules;
    at->before += module.bytes();
    for (const PlannedTensor& tensor : r.plan.tensors_of(i)) at->after += tensor.bytes;
    if (!r.errors.empty() && r.plan.modules[i].work == Work::encode) at->error += r.errors[i];
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.before > b.before; });
  return rows;
}

double relative_rms(const EncodeError& e) {
  return e.norm > 0 ? std::sqrt(e.error / e.norm) : 0;
}

std::string percent(const EncodeError& e) {
  return e.norm > 0 ? format_fixed(100 * relative_rms(e), 2) + " %" : "";
}

// A kind of tensor in a layer: how many matrices become what, and the error of those that are encoded.
struct Cell {
  std::map<std::string, std::size_t> formats;
  EncodeError error;
};

// What is quantizable, by layer and kind.
struct Layers {
  std::vector<std::string> parts;
  std::map<std::size_t, std::map<std::string, Cell>> cells;
  bool mixed = false;  // some kind of tensor becomes more than one thing
};

Layers layers_of(const QuantizeReport& r) {
  Layers all;
  std::map<std::string, std::string> format_of_part;
  for (std::size_t i = 0; i < r.errors.size(); ++i) {
    const SourceModule& module = r.source.modules()[i];
    if (!module.quantizable) continue;
    const std::string part(module.part);
    if (std::find(all.parts.begin(), all.parts.end(), part) == all.parts.end()) all.parts.push_back(part);
    Cell& cell = all.cells[module.layer][part];
    const std::string format = becomes(module, r.plan.modules[i]);
    ++cell.formats[format];
    all.mixed = all.mixed || format_of_part.try_emplace(part, format).first->second != format;
    if (r.plan.modules[i].work == Work::encode) cell.error += r.errors[i];
  }
  return all;
}

// "8.63 %", or where formats are mixed "int4 group 32: 8.63 %", "36 int4 group 32, 12 int8 group 32: 6.10 %".
std::string cell_text(const Cell& cell, bool mixed) {
  std::string text;
  for (const auto& [format, count] : cell.formats) {
    text += text.empty() ? "" : ", ";
    if (cell.formats.size() > 1) text += std::to_string(count) + " ";
    text += format;
  }
  const std::string error = percent(cell.error);
  if (!mixed) return error;
  return error.empty() ? text : text + ": " + error;
}

// What is not quantized for one reason and meets one fate.
struct KeptModules {
  std::size_t count = 0;
  std::string names;    // of the first ones, a line each
  std::string formats;  // that they are stored in

  std::string matrices(const std::string& one, const std::string& many) const {
    return std::to_string(count) + (count == 1 ? " matrix " + one : " matrices " + many);
  }
};

KeptModules kept_modules(const Source& source, const Plan& plan, Kept why, Work work) {
  KeptModules kept;
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    if (plan.modules[i].decision.kept != why || plan.modules[i].work != work) continue;
    const SourceModule& module = source.modules()[i];
    if (kept.count++ < named_modules)
      kept.names += "\n  " + module.name + ", rows of " + std::to_string(module.weight->matrix.cols);
    const std::string format = stored_as(module);
    if (kept.formats.find(format) == std::string::npos)
      kept.formats += (kept.formats.empty() ? "" : " and ") + format;
  }
  if (kept.count > named_modules)
    kept.names += "\n  and " + std::to_string(kept.count - named_modules) + " more";
  return kept;
}

}  // namespace

std::string quantize_text(const QuantizeReport& r) {
  using enum Table::Align;
  const std::vector<Row> rows = rows_of(r);
  // Where everything stays as it is there is no error to tell of.
  const bool known = std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.error.norm > 0; });
  const std::string heading = std::string(r.error_source) + " error";
  Table kinds({{"kind"},
               {"matrices", right},
               {"stored as"},
               {"becomes"},
               {"before", right},
               {"after", right},
               {known ? heading : "", right}});
  Row total;
  for (const Row& row : rows) {
    kinds.add({row.part, std::to_string(row.modules), row.from, row.to, format_bytes(row.before),
               format_bytes(row.after), percent(row.error)});
    total.modules += row.modules;
    total.before += row.before;
    total.after += row.after;
    total.error += row.error;
  }
  kinds.add({"all", std::to_string(total.modules), "", "", format_bytes(total.before),
             format_bytes(total.after), percent(total.error)});
  std::string text = kinds.text();
  const Layers layers = layers_of(r);
  if (!known && !layers.mixed) return text;
  std::vector<Table::Column> columns{{"layer", right}};
  for (const std::string& part : layers.parts) columns.push_back({part, right});
  Table by_layer(columns);
  for (const auto& [layer, by_part] : layers.cells) {
    std::vector<std::string> cells{std::to_string(layer)};
    for (const std::string& part : layers.parts) {
      const auto at = by_part.find(part);
      cells.push_back(at == by_part.end() ? "" : cell_text(at->second, layers.mixed));
    }
    by_layer.add(std::move(cells));
  }
  return text + "\n" + by_layer.text();
}

std::string quantize_json(const QuantizeReport& r) {
  const bool known = !r.errors.empty();
  Json kinds = Json::array();
  std::uint64_t before = 0;
  for (const Row& row : rows_of(r)) {
    kinds.push_back({{"kind", row.part},
                     {"matrices", row.modules},
                     {"stored_as", row.from},
                     {"becomes", row.to},
                     {"bytes_before", row.before},
                     {"bytes_after", row.after}});
    if (known && row.error.norm > 0) kinds.back()["relative_rms_error"] = relative_rms(row.error);
    before += row.before;
  }
  Json object{{"schema", 1},
              {"source", r.source.dir().string()},
              {"bytes_before", before},
              {"bytes_after", r.plan.tensor_bytes},
              {"shards", r.plan.shards.size()},
              {"kinds", std::move(kinds)}};
  if (known) {
    object["error"] = r.error_source;
    object["layers"] = Json::array();
    for (const auto& [layer, by_part] : layers_of(r).cells) {
      Json line{{"layer", layer}};
      for (const auto& [part, cell] : by_part)
        line["kinds"][part] = {{"matrices", cell.formats}, {"relative_rms_error", relative_rms(cell.error)}};
      object["layers"].push_back(std::move(line));
    }
  }
  object["kept_by_group"] = Json::array();
  for (std::size_t i = 0; i < r.plan.modules.size(); ++i)
    if (r.plan.modules[i].decision.kept == Kept::by_group)
      object["kept_by_group"].push_back(r.source.modules()[i].name);
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<std::string> kept_notes(const Source& source, const Plan& plan) {
  const KeptModules stored = kept_modules(source, plan, Kept::by_group, Work::copy);
  const KeptModules widened = kept_modules(source, plan, Kept::by_group, Work::widen);
  const KeptModules asked = kept_modules(source, plan, Kept::by_request, Work::widen);
  std::vector<std::string> notes;
  if (stored.count > 0)
    notes.push_back(stored.matrices("stays", "stay") +
                    " as stored, the group does not divide the rows:" + stored.names);
  if (widened.count > 0)
    notes.push_back(widened.matrices("becomes", "become") +
                    " bf16, the group does not divide the rows and OUT's form has no room for " +
                    widened.formats + ":" + widened.names);
  if (asked.count > 0)
    notes.push_back(
        asked.matrices("that is not to be quantized becomes", "that are not to be quantized become") +
        " bf16, OUT's form has no room for " + asked.formats);
  std::uint64_t before = 0;
  for (const SourceModule& module : source.modules()) before += module.bytes();
  if (plan.tensor_bytes > before)
    notes.push_back("OUT is larger than IN: " + format_bytes(plan.tensor_bytes) + " instead of " +
                    format_bytes(before));
  return notes;
}

std::string check_text(const std::string& dir, const CheckResult& r) {
  if (!r.problems.empty()) return "";
  return dir + ": " + std::to_string(r.tensors) + " tensors, " + format_bytes(r.bytes) + ", " +
         (r.has_checksums ? "every checksum right" : "no checksums to compare with") +
         ", every scale finite\n";
}

std::string check_json(const std::string& dir, const CheckResult& r) {
  return Json{{"schema", 1},
              {"model", dir},
              {"tensors", r.tensors},
              {"bytes", r.bytes},
              {"has_checksums", r.has_checksums},
              {"problems", r.problems}}
             .dump(2, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

}  // namespace baleen::cmd
