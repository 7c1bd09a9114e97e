#include "cmd/quantize_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
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

// By layer, the error of each kind of tensor that is encoded.
struct LayerErrors {
  std::vector<std::string> parts;
  std::map<std::size_t, std::map<std::string, EncodeError>> layers;
};

LayerErrors layer_errors(const QuantizeReport& r) {
  LayerErrors all;
  for (std::size_t i = 0; i < r.errors.size(); ++i) {
    const SourceModule& module = r.source.modules()[i];
    if (r.plan.modules[i].work != Work::encode || module.layer == no_number) continue;
    const std::string part(module.part);
    if (std::find(all.parts.begin(), all.parts.end(), part) == all.parts.end()) all.parts.push_back(part);
    all.layers[module.layer][part] += r.errors[i];
  }
  return all;
}

}  // namespace

std::string quantize_text(const QuantizeReport& r) {
  using enum Table::Align;
  const bool known = !r.errors.empty();
  const std::string heading = std::string(r.error_source) + " error";
  Table kinds({{"kind"},
               {"matrices", right},
               {"stored as"},
               {"becomes"},
               {"before", right},
               {"after", right},
               {known ? heading : "", right}});
  Row total;
  for (const Row& row : rows_of(r)) {
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
  if (!known) return text;
  const LayerErrors layers = layer_errors(r);
  std::vector<Table::Column> columns{{"layer", right}};
  for (const std::string& part : layers.parts) columns.push_back({part, right});
  Table by_layer(columns);
  for (const auto& [layer, errors] : layers.layers) {
    std::vector<std::string> cells{std::to_string(layer)};
    for (const std::string& part : layers.parts) {
      const auto at = errors.find(part);
      cells.push_back(at == errors.end() ? "" : percent(at->second));
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
    for (const auto& [layer, errors] : layer_errors(r).layers) {
      Json line{{"layer", layer}};
      for (const auto& [part, error] : errors) line["relative_rms_error"][part] = relative_rms(error);
      object["layers"].push_back(std::move(line));
    }
  }
  object["kept_by_group"] = Json::array();
  for (std::size_t i = 0; i < r.plan.modules.size(); ++i)
    if (r.plan.modules[i].decision.kept == Kept::by_group)
      object["kept_by_group"].push_back(r.source.modules()[i].name);
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string kept_by_group(const Source& source, const Plan& plan) {
  std::string names;
  std::size_t count = 0;
  bool experts = false;
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    if (plan.modules[i].decision.kept != Kept::by_group) continue;
    const SourceModule& module = source.modules()[i];
    experts = experts || module.part == "routed experts";
    if (count++ < named_modules)
      names += "\n  " + module.name + ", rows of " + std::to_string(module.weight->matrix.cols);
  }
  if (count == 0) return "";
  if (count > named_modules) names += "\n  and " + std::to_string(count - named_modules) + " more";
  return std::to_string(count) + (count == 1 ? " matrix stays" : " matrices stay") +
         " as stored, the group does not divide the rows:" + names +
         (experts ? "\nwhere experts are among them transformers and vLLM want all of a layer's alike" : "");
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
