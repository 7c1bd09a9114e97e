#include "cmd/bench_report.h"

#include <algorithm>
#include <cmath>

#include "cmd/weight_memory.h"
#include "report/table.h"
#include "report/units.h"
#include "report/version.h"

namespace baleen::cmd {
namespace {

constexpr double giga = 1e9;
constexpr double mega = 1e6;

std::string percent(double share) {
  return format_fixed(100 * share, share < 0.1 ? 1 : 0) + " %";
}

std::string rate(double value) {
  return format_fixed(value, value < 100 ? 2 : 1);
}

std::string_view kind_name(const SpeedTest& test) {
  return test.kind == SpeedTest::Kind::prefill ? "prefill" : "decode";
}

std::string_view bound(const SpeedFigures& figures) {
  return figures.memory_bound ? "memory" : "compute";
}

const std::vector<Table::Column>& columns() {
  using enum Table::Align;
  static const std::vector<Table::Column> list = {
      {"test"},           {"tokens/s", right}, {"spread", right}, {"experts", right}, {"weights MB", right},
      {"KV MB", right},   {"Gflop", right},    {"GB/s", right},   {"Gflop/s", right}, {"bound"},
      {"roofline", right}};
  return list;
}

std::vector<std::string> cells(const SpeedReport& report, const SpeedResult& result) {
  const SpeedFigures f = speed_figures(result, report.roofline());
  return {test_name(result.test),
          rate(f.tokens_per_second),
          percent(f.spread),
          report.routed_experts > 0 ? format_fixed(result.unique_experts, 1) : "-",
          format_fixed(f.pass.weight_bytes / mega, 1),
          format_fixed(f.pass.kv_bytes / mega, 1),
          format_fixed(f.pass.operations / giga, 2),
          rate(f.bytes_per_second / giga),
          rate(f.operations_per_second / giga),
          std::string(bound(f)),
          percent(f.roofline_share) + (f.suspect() ? " suspect" : "")};
}

std::string_view bound(const CacheFigures& cache, const SpeedFigures& figures) {
  return cache.disk_bound ? "disk" : bound(figures);
}

// What the expert cache did, in a table of its own.
const std::vector<Table::Column>& cache_columns() {
  using enum Table::Align;
  static const std::vector<Table::Column> list = {{"test"},
                                                  {"hits", right},
                                                  {"guessed", right},
                                                  {"missed", right},
                                                  {"guesses right", right},
                                                  {"disk MB/token", right},
                                                  {"disk GB/s", right},
                                                  {"of disk", right},
                                                  {"stalled", right},
                                                  {"bound"},
                                                  {"of bound", right}};
  return list;
}

std::vector<std::string> cache_cells(const SpeedReport& report, const SpeedResult& result) {
  const CacheFigures f = cache_figures(result, report.roofline(), report.disk_bandwidth());
  return {test_name(result.test),
          percent(f.hit_rate),
          percent(f.guess_rate),
          percent(f.miss_rate),
          percent(f.guess_precision[0]) + ", " + percent(f.guess_precision[1]),
          format_fixed(f.bytes_read_per_token / mega, 1),
          rate(f.disk_bytes_per_second / giga),
          percent(f.disk_share),
          percent(f.stall_share),
          std::string(bound(f, speed_figures(result, report.roofline()))),
          percent(f.bound_share) + (f.suspect() ? " suspect" : "")};
}

std::string describe_limit(const Summary& limit, const std::string& unit) {
  return rate(limit.median / giga) + " " + unit + " (" + rate(limit.low / giga) + " to " +
         rate(limit.high / giga) + ")";
}

std::string describe_extrapolation(const Extrapolation& e) {
  return "measured " + std::to_string(e.measured_dense) + " of " + std::to_string(e.all_dense) +
         " dense and " + std::to_string(e.measured_moe) + " of " + std::to_string(e.all_moe) +
         " mixture-of-experts layers with random weights, embedding and output head; times and work are "
         "extrapolated "
         "to all layers";
}

std::string describe_disk(const MemoryReport& m) {
  std::string samples;
  std::uint64_t bytes = 0;
  for (const SequentialRead& sample : m.disk) {
    samples += (samples.empty() ? "" : ", ") + rate(sample.bytes_per_second() / giga);
    bytes += sample.bytes;
  }
  const SequentialRead& last = m.disk.back();
  return rate(best_bandwidth(m.disk) / giga) + " GB/s, the best of " + samples + ": " + format_bytes(bytes) +
         " of the model's files from front to back, by " + std::string(to_string(last.engine)) +
         (last.direct ? ", past the page cache" : ", through the page cache");
}

using Line = std::pair<std::string, std::string>;
std::vector<Line> head(const SpeedReport& r) {
  std::vector<Line> lines = {{"model", r.model + ": " + r.architecture + ", " + format_count(r.parameters) +
                                           " parameters, " + format_count(r.active_parameters) + " active, " +
                                           r.weights + ", " + format_bytes(r.weight_bytes)}};
  if (r.extrapolation) lines.emplace_back("layers", describe_extrapolation(*r.extrapolation));
  lines.emplace_back("machine", (r.processor.empty() ? "" : r.processor + ", ") + std::to_string(r.threads) +
                                    (r.threads == 1 ? " thread, " : " threads, ") +
                                    format_bytes(r.memory_bytes));
  lines.emplace_back("kernels", r.kernels + ", KV cache " + r.kv_type +
                                    (r.throughput ? ", decode by the kernels for prompts" : ""));
  lines.emplace_back("read", describe_limit(r.bandwidth, "GB/s") + ", all threads, " +
                                 format_bytes(r.bandwidth_buffer_bytes));
  lines.emplace_back("compute", describe_limit(r.peak, "Gflop/s") + ", all threads, in registers");
  if (r.memory)
    lines.emplace_back("memory", format_bytes(r.memory->plan.budget) + ": " + describe_plan(r.memory->plan));
  if (r.cached()) lines.emplace_back("disk", describe_disk(*r.memory));
  return lines;
}

constexpr std::string_view legend =
    "MB and Gflop are of one pass; experts are those of a layer that it touches; roofline is the time that "
    "reading or\n"
    "computing must take at least, as a share of the time it took; spread is the interquartile range.\n";

constexpr std::string_view cache_legend =
    "Of the experts that layers asked for, hits were in memory before, guessed ones were there or on their "
    "way "
    "by a guess\n"
    "for the same pass; bound is the time that reading all but the hits, or the roofline, must take at "
    "least.\n";

Json to_json(const Summary& limit) {
  return Json{{"median", limit.median}, {"lower_quartile", limit.low}, {"upper_quartile", limit.high}};
}

Json to_json(const MemoryReport& m) {
  Json object = {{"budget_bytes", m.plan.budget},
                 {"all_weights_fit", m.plan.everything_fits()},
                 {"resident_bytes", m.plan.resident_bytes},
                 {"slot_bytes", m.plan.slot_bytes},
                 {"slots", m.plan.slots},
                 {"experts", m.plan.experts}};
  if (!m.cached) return object;
  Json samples = Json::array();
  for (const SequentialRead& sample : m.disk) {
    samples.push_back({{"bytes", sample.bytes},
                       {"seconds", sample.seconds},
                       {"engine", to_string(sample.engine)},
                       {"direct", sample.direct}});
  }
  object["disk_bytes_per_second"] = best_bandwidth(m.disk);
  object["disk_samples"] = std::move(samples);
  return object;
}

void add_cache(Json& object, const SpeedReport& report, const SpeedResult& result) {
  const CacheFigures f = cache_figures(result, report.roofline(), report.disk_bandwidth());
  object.update(Json{{"hit_rate", f.hit_rate},
                     {"guess_rate", f.guess_rate},
                     {"miss_rate", f.miss_rate},
                     {"guess_precision", f.guess_precision},
                     {"guess_read_precision", f.guess_read_precision},
                     {"bytes_needed_per_token", whole_if_it_is(f.bytes_needed_per_token)},
                     {"bytes_read_per_token", whole_if_it_is(f.bytes_read_per_token)},
                     {"disk_bytes_per_second", f.disk_bytes_per_second},
                     {"disk_share", f.disk_share},
                     {"stall_share", f.stall_share},
                     {"bound", bound(f, speed_figures(result, report.roofline()))},
                     {"bound_seconds", f.bound_seconds},
                     {"bound_share", f.bound_share}});
  if (f.suspect()) object["suspect"] = true;
}

Json to_json(const SpeedReport& report, const SpeedResult& result) {
  const SpeedFigures f = speed_figures(result, report.roofline());
  Json object = {{"test", kind_name(result.test)},
                 {"tokens", result.test.tokens},
                 {"depth", result.test.depth},
                 {"batch", result.test.batch},
                 {"tokens_per_second", f.tokens_per_second},
                 {"seconds_median", f.median_seconds},
                 {"spread_share", f.spread},
                 {"seconds", result.seconds},
                 {"passes", result.passes},
                 {"unique_experts_per_layer", result.unique_experts},
                 {"weight_bytes_per_pass", whole_if_it_is(f.pass.weight_bytes)},
                 {"kv_bytes_per_pass", whole_if_it_is(f.pass.kv_bytes)},
                 {"operations_per_pass", whole_if_it_is(f.pass.operations)},
                 {"read_bytes_per_second", f.bytes_per_second},
                 {"operations_per_second", f.operations_per_second},
                 {"bound", bound(f)},
                 {"roofline_seconds", f.roofline_seconds},
                 {"roofline_share", f.roofline_share},
                 {"suspect", f.suspect()}};
  if (report.cached()) add_cache(object, report, result);
  return object;
}

Json to_json(const Extrapolation& e) {
  return Json{{"measured_dense_layers", e.measured_dense},
              {"measured_moe_layers", e.measured_moe},
              {"dense_layers", e.all_dense},
              {"moe_layers", e.all_moe}};
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string markdown_heading(const std::vector<Table::Column>& columns) {
  std::vector<std::string> headings;
  std::string rulers = "|";
  for (const Table::Column& column : columns) {
    headings.push_back(column.heading);
    rulers += column.align == Table::Align::right ? "---:|" : "---|";
  }
  return markdown_row(headings) + rulers + "\n";
}

std::string csv_number(double value) {
  return Json(value).dump();  // the shortest that reads back as the same
}

}  // namespace

Json whole_if_it_is(double count) {
  constexpr double exact = 9007199254740992;  // 2^53: up to it a double holds every whole number
  if (count != std::floor(count) || std::abs(count) > exact) return count;
  return static_cast<std::int64_t>(count);
}

std::string test_name(const SpeedTest& test) {
  std::string name(kind_name(test));
  name += " " + std::to_string(test.tokens);
  if (test.kind == SpeedTest::Kind::decode)
    name += ", depth " + std::to_string(test.depth) + ", batch " + std::to_string(test.batch);
  return name;
}

std::string speed_text(const SpeedReport& report, const Style& style) {
  std::string text;
  for (auto [key, value] : head(report)) {
    key.resize(9, ' ');
    text += style.bold(key) + value + "\n";
  }
  Table table(columns());
  for (const SpeedResult& result : report.results) table.add(cells(report, result));
  text += "\n" + table.text() + "\n" + std::string(legend);
  if (!report.cached()) return text;
  Table cache(cache_columns());
  for (const SpeedResult& result : report.results) cache.add(cache_cells(report, result));
  return text + "\n" + cache.text() + "\n" + std::string(cache_legend);
}

std::string speed_markdown(const SpeedReport& report) {
  std::string text;
  for (const auto& [key, value] : head(report)) text += "- " + key + ": " + value + "\n";
  text += "- command: `" + report.command_line + "` (baleen " + std::string(version()) + ", " +
          std::string(commit()) + ")\n\n";
  text += markdown_heading(columns());
  for (const SpeedResult& result : report.results) text += markdown_row(cells(report, result));
  text += "\n" + std::string(legend);
  if (!report.cached()) return text;
  text += "\n" + markdown_heading(cache_columns());
  for (const SpeedResult& result : report.results) text += markdown_row(cache_cells(report, result));
  return text + "\n" + std::string(cache_legend);
}

std::string speed_csv(const SpeedReport& report) {
  std::string text;
  for (const SpeedResult& result : report.results) {
    std::string heading;
    std::string line;
    const Json fields = to_json(report, result);
    for (const auto& [key, value] : fields.items()) {
      std::string cell = value.is_string() ? value.get<std::string>() : value.dump();
      if (value.is_array()) {  // the repetitions, parted by spaces
        cell.clear();
        for (const Json& item : value) cell += (cell.empty() ? "" : " ") + csv_number(item.get<double>());
      }
      heading += (heading.empty() ? "" : ",") + key;
      line += (line.empty() ? "" : ",") + cell;
    }
    if (text.empty()) text = heading + "\n";
    text += line + "\n";
  }
  return text;
}

Json speed_json(const SpeedReport& r) {
  Json tests = Json::array();
  for (const SpeedResult& result : r.results) tests.push_back(to_json(r, result));
  return Json{
      {"schema", 1},
      {"baleen", version()},
      {"commit", commit()},
      {"command_line", r.command_line},
      {"machine", {{"processor", r.processor}, {"memory_bytes", r.memory_bytes}, {"threads", r.threads}}},
      {"isa", r.isa},
      {"kernels", r.kernels},
      {"model", r.model},
      {"architecture", r.architecture},
      {"weights", r.weights},
      {"parameters", r.parameters},
      {"active_parameters", r.active_parameters},
      {"weight_bytes", r.weight_bytes},
      {"kv_type", r.kv_type},
      {"throughput", r.throughput},
      {"seed", r.seed},
      {"extrapolated", r.extrapolation ? to_json(*r.extrapolation) : Json()},
      {"warm_up", {{"bytes", r.warm_up_bytes}, {"seconds", r.warm_up_seconds}}},
      {"memory", r.memory ? to_json(*r.memory) : Json()},
      {"bandwidth_buffer_bytes", r.bandwidth_buffer_bytes},
      {"read_bytes_per_second", to_json(r.bandwidth)},
      {"operations_per_second", to_json(r.peak)},
      {"tests", std::move(tests)}};
}

std::string quote_words(const std::vector<std::string>& words) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=.,/:+@%";
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += " ";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) {
      text += word;
      continue;
    }
    text += "'";
    for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    text += "'";
  }
  return text;
}

}  // namespace baleen::cmd
