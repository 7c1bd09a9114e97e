// The report of `baleen route-stats` for a terminal.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "cmd/route_stats_report.h"
#include "report/table.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

using By = RouteStatsOptions::By;
using enum Table::Align;

constexpr std::size_t usual_top = 10;
constexpr double notable_z = 4;  // of thousands of experts or pairs, none is so far off by chance

// Eighths of a character cell.
constexpr std::array<std::string_view, 9> columns_utf8 = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<std::string_view, 9> columns_ascii = {" ", ".", ":", "-", "=", "+", "*", "#", "@"};
constexpr std::array<std::string_view, 8> bar_ends = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};

std::string number(double value, int digits = 2) {
  return format_fixed(value, digits);
}

std::string scientific(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.1e", value);
  return text.data();
}

std::string percent(double share, int digits = 1) {
  return format_fixed(100 * share, digits) + " %";
}

std::string line(std::string key, const std::string& value) {
  key.resize(14, ' ');
  return key + value + "\n";
}

std::size_t top_of(const RouteReport& r) {
  return r.options.top.value_or(usual_top);
}

// One character an expert, or for several their busiest; a full one stands for twice the mean or more.
std::string strip(const LayerLoad& layer, std::size_t width, bool ascii) {
  const std::vector<double> shares = utilization(layer.load);
  const std::size_t step = (shares.size() + width - 1) / width;
  std::string text;
  for (std::size_t begin = 0; begin < shares.size(); begin += step) {
    const auto end = shares.begin() + static_cast<std::ptrdiff_t>(std::min(begin + step, shares.size()));
    const double most = *std::max_element(shares.begin() + static_cast<std::ptrdiff_t>(begin), end);
    // What is not nothing is seen.
    const double eighths = most > 0 && layer.tokens > 0 ? std::clamp(4 * most, 1.0, 8.0) : 0;
    text += (ascii ? columns_ascii : columns_utf8)[static_cast<std::size_t>(eighths + 0.5)];
  }
  return text;
}

std::string bar(double length, bool ascii) {  // in characters
  const auto eighths = static_cast<std::size_t>(std::lround(8 * length));
  std::string text;
  for (std::size_t i = 0; i < eighths / 8; ++i) text += ascii ? "#" : "█";
  return ascii ? text : text + std::string(bar_ends[eighths % 8]);
}

// ---- The loads.

std::string scoring_words(const RouteHeader& h) {
  std::string text = h.scoring == ScoringFunc::sigmoid ? "sigmoid scores" : "softmax scores";
  if (h.groups > 1)
    text += ", from " + std::to_string(h.top_groups) + " of " + std::to_string(h.groups) + " groups";
  return text;
}

std::string tokens_words(const RouteReport& r) {
  const Findings& f = r.found;
  if (!f.header) return "";
  std::string text = std::to_string(f.loads.tokens()) + ": " + std::to_string(f.prompt_tokens) +
                     " of prompts, " + std::to_string(f.generated_tokens) + " generated";
  if (r.options.by == By::prompt) text = std::to_string(f.prompt_tokens) + " of prompts; others are left out";
  if (r.options.by == By::generated)
    text = std::to_string(f.generated_tokens) + " generated; others are left out";
  return text;
}

// That the figures can be explained: every token is in the load of k experts of every layer.
std::string sum_words(const RouteReport& r) {
  const auto adds_up = [](const LayerLoad& layer) {
    return std::accumulate(layer.load.begin(), layer.load.end(), std::uint64_t{0}) ==
           layer.tokens * layer.top_k;
  };
  const auto wrong = std::find_if_not(r.layers.begin(), r.layers.end(), adds_up);
  if (wrong != r.layers.end())
    return "loads of layer " + std::to_string(wrong->layer) + " do not sum to tokens x top-k";
  const LayerLoad& first = r.layers.front();
  const bool alike = std::all_of(r.layers.begin(), r.layers.end(), [&](const LayerLoad& layer) {
    return layer.tokens == first.tokens && layer.top_k == first.top_k;
  });
  if (!alike) return "loads sum to tokens x experts a token in every layer";
  return "loads sum to " + std::to_string(first.tokens) + " x " + std::to_string(first.top_k) + " = " +
         std::to_string(first.tokens * first.top_k) + (r.layers.size() > 1 ? " in every layer" : "");
}

// "4 (2.72), 3 (1.92)": the layers with the most of something.
std::string worst_layers(const std::vector<std::pair<std::size_t, double>>& values, std::size_t most,
                         int digits) {
  std::vector<std::pair<std::size_t, double>> order = values;
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  order.resize(std::min(order.size(), most));
  std::string text;
  for (const auto& [layer, value] : order)
    text += (text.empty() ? "" : ", ") + std::to_string(layer) + " (" + number(value, digits) + ")";
  return text;
}

std::string summary(const RouteReport& r, const Style& style) {
  const Findings& f = r.found;
  std::string text;
  if (f.header) {
    text += line("model", f.header->model + ": " + std::to_string(f.header->layers.size()) +
                              " MoE layers of " + std::to_string(f.header->experts) + " experts, " +
                              std::to_string(f.header->top_k) + " a token, " + scoring_words(*f.header));
    text += line("tokens", tokens_words(r));
  }
  text += line("", sum_words(r));
  double vio = 0;
  double entropy = 0;
  double chance = 0;
  std::size_t dead = 0;
  std::size_t experts = 0;
  std::vector<std::pair<std::size_t, double>> by_vio;
  for (const LayerLoad& layer : r.layers) {
    const LoadStatistics s = load_statistics(layer.load);
    vio += s.max_vio;
    entropy += s.entropy;
    dead += s.dead;
    experts += layer.load.size();
    chance = std::max(chance, max_vio_by_chance(layer));
    by_vio.emplace_back(layer.layer, s.max_vio);
  }
  const auto count = static_cast<double>(r.layers.size());
  const std::string worst = worst_layers(by_vio, std::min<std::size_t>(3, top_of(r)), 2);
  if (r.layers.size() > 1) {
    text += line("MaxVio", style.bold("mean " + number(vio / count)) + ", worst layers " + worst);
  } else {
    text += line("MaxVio", style.bold(number(vio)));
  }
  text += line("", "about " + number(chance) + " would be chance, were all experts equally likely");
  text += line("entropy", "mean " + number(entropy / count, 3) + " of 1");
  text += line("dead", std::to_string(dead) + " of " + std::to_string(experts) + " experts without a token");
  return text;
}

std::string layer_table(const RouteReport& r) {
  Table table({{"layer", right},
               {"MaxVio", right},
               {"CV", right},
               {"entropy", right},
               {"Gini", right},
               {"dead", right},
               {"5 %", right},
               {"median", right},
               {"95 %", right},
               {"busiest", right}});
  for (const LayerLoad& layer : r.layers) {
    const LoadStatistics s = load_statistics(layer.load);
    const auto busiest = std::max_element(layer.load.begin(), layer.load.end()) - layer.load.begin();
    table.add({std::to_string(layer.layer), number(s.max_vio), number(s.cv), number(s.entropy, 3),
               number(s.gini), std::to_string(s.dead), number(s.quantiles[0]), number(s.quantiles[2]),
               number(s.quantiles[4]), std::to_string(busiest)});
  }
  return table.text();
}

std::string layer_strips(const RouteReport& r, std::size_t width) {
  Table table({{"layer", right}, {"utilization by expert"}});
  const std::size_t room = width - 7;  // beside the layer's number
  std::size_t step = 1;
  for (const LayerLoad& layer : r.layers) {
    step = std::max(step, (layer.load.size() + room - 1) / room);
    table.add({std::to_string(layer.layer), strip(layer, room, r.options.ascii)});
  }
  const auto& levels = r.options.ascii ? columns_ascii : columns_utf8;
  return table.text() +
         (step > 1 ? "each column: the busiest of " + std::to_string(step) + " experts; " : "") +
         std::string(levels[4]) + " the mean load of the layer, " + std::string(levels[8]) +
         " twice that or more, blank: no token\n";
}

std::string expert_bars(const RouteReport& r, std::size_t width) {
  const LayerLoad& layer = r.layers.front();
  const std::vector<double> shares = utilization(layer.load);
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (r.options.top) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return shares[a] > shares[b]; });
    order.resize(std::min(order.size(), *r.options.top));
  }
  const double most = std::max(1.0, *std::max_element(shares.begin(), shares.end()));
  Table table({{"expert", right}, {"load", right}, {"utilization", right}, {""}});
  const std::size_t load_width = std::max<std::size_t>(
      4, std::to_string(*std::max_element(layer.load.begin(), layer.load.end())).size());
  const double room = static_cast<double>(width - std::min(width - 10, 6 + 2 + load_width + 2 + 11 + 2 + 1));
  for (const std::size_t e : order)
    table.add({std::to_string(e), std::to_string(layer.load[e]), number(shares[e]),
               layer.tokens > 0 ? bar(shares[e] / most * room, r.options.ascii) : ""});
  return table.text();
}

std::string layer_summary(const RouteReport& r) {
  const LoadStatistics s = load_statistics(r.layers.front().load);
  return line("CV", number(s.cv)) + line("Gini", number(s.gini)) +
         line("percentiles", "5 % " + number(s.quantiles[0]) + ", 25 % " + number(s.quantiles[1]) +
                                 ", median " + number(s.quantiles[2]) + ", 75 % " + number(s.quantiles[3]) +
                                 ", 95 % " + number(s.quantiles[4]) + " of the mean load, " +
                                 number(s.mean, 1) + " tokens");
}

// ---- Parts, comparisons, pairs, reuse.

std::string part_name(const RouteReport& r, const LabelLoad& part) {
  return part.label.empty() && r.options.by == By::label ? "(none)" : part.label;
}

std::string_view by_name(By by) {
  switch (by) {
    case By::phase:
      return "phase";
    case By::request:
      return "request";
    case By::token:
      return "token id";
    default:
      return "label";
  }
}

std::string parts_table(const RouteReport& r) {
  Table table({{std::string(by_name(r.options.by))},
               {"tokens", right},
               {"share", right},
               {"mean MaxVio", right},
               {"mean entropy", right},
               {"worst layer", right}});
  const auto all = static_cast<double>(r.found.loads.tokens());
  std::size_t shown = 0;
  for (const LabelLoad& part : r.parts) {
    if (shown++ == top_of(r) && r.options.by != By::label) break;
    double vio = 0;
    double entropy = 0;
    std::pair<double, std::size_t> worst = {-1, 0};
    for (const LayerLoad& layer : part.layers) {
      const LoadStatistics s = load_statistics(layer.load);
      vio += s.max_vio / static_cast<double>(part.layers.size());
      entropy += s.entropy / static_cast<double>(part.layers.size());
      worst = std::max(worst, {s.max_vio, layer.layer});
    }
    const std::uint64_t tokens = part.layers.front().tokens;
    table.add({part_name(r, part), std::to_string(tokens), percent(static_cast<double>(tokens) / all),
               number(vio), number(entropy, 3), std::to_string(worst.second)});
  }
  std::string text = table.text();
  if (r.parts.size() > shown)
    text += "and " + std::to_string(r.parts.size() - shown) + " more; --top K shows more of them\n";
  if (r.found.keyed->left_out() > 0)
    text += std::to_string(r.found.keyed->left_out()) +
            " tokens of others, for which there was no room, are left out\n";
  return text;
}

// How far labels or phases are apart, layer by layer, and who prefers what.
std::string specialisation(const RouteReport& r) {
  std::string text;
  Table table({{"layer", right}, {"divergence", right}, {"by chance", right}, {"of at most", right}});
  for (std::size_t l = 0; l < r.layers.size(); ++l) {
    std::vector<const LayerLoad*> loads;
    for (const LabelLoad& part : r.parts) loads.push_back(&part.layers[l]);
    const JensenShannon js = jensen_shannon(loads);
    table.add({std::to_string(r.layers[l].layer), number(js.bits, 4), number(js.noise, 4),
               number(std::log2(static_cast<double>(loads.size())), 2)});
  }
  text += "\nHow far the loads are apart: Jensen-Shannon divergence, bits\n" + table.text();
  const std::vector<Preference> preferences = label_preferences(r.parts, 0.01);
  Table list({{"layer", right},
              {"expert", right},
              {std::string(by_name(r.options.by))},
              {"its tokens", right},
              {"others'", right},
              {"ratio", right},
              {"p", right}});
  for (std::size_t i = 0; i < std::min(top_of(r), preferences.size()); ++i) {
    const Preference& p = preferences[i];
    list.add({std::to_string(p.layer), std::to_string(p.expert), part_name(r, r.parts[p.label]),
              percent(p.rate), percent(p.other_rate), number(p.ratio),
              p.p < 1e-99 ? "< 1e-99" : scientific(p.p)});
  }
  text += "\nExperts that prefer one of them: " + std::to_string(preferences.size()) +
          " with p < 0.01 (two proportions, corrected for all tests)\n";
  return preferences.empty() ? text : text + list.text();
}

std::string comparison_text(const RouteReport& r, const Comparison& c) {
  Table table({{"layer", right}, {"divergence", right}, {"by chance", right}, {"excess", right}});
  for (std::size_t l = 0; l < c.first.size(); ++l) {
    const JensenShannon js = jensen_shannon(std::vector<const LayerLoad*>{&c.first[l], &c.second[l]});
    table.add(
        {std::to_string(c.first[l].layer), number(js.bits, 4), number(js.noise, 4), number(js.excess(), 4)});
  }
  std::string text = "\n" + c.name + ": Jensen-Shannon divergence, bits of at most 1 (" +
                     std::to_string(c.first.front().tokens) + " and " +
                     std::to_string(c.second.front().tokens) + " tokens)\n" + table.text() +
                     "\nLargest movers\n";
  Table movers({{"layer", right}, {"expert", right}, {"utilization", right}, {"then", right}, {"z", right}});
  for (const Mover& m : largest_movers(c.first, c.second, top_of(r)))
    movers.add({std::to_string(m.layer), std::to_string(m.expert), number(m.before), number(m.after),
                number(m.z, 1)});
  return text + movers.text();
}

std::string pairs_text(const RouteReport& r) {
  std::string text = "\nPairs of experts above chance: " + std::to_string(r.pairs.size()) + " with z of " +
                     number(notable_z, 0) + " or more\n";
  if (r.pairs.empty()) return text;
  Table table({{"layer", right},
               {"experts"},
               {"together", right},
               {"by chance", right},
               {"times", right},
               {"z", right},
               {""}});
  const RouteHeader& h = *r.found.header;
  for (std::size_t i = 0; i < std::min(top_of(r), r.pairs.size()); ++i) {
    const Pair& p = r.pairs[i];
    const std::size_t group = h.experts / h.groups;
    table.add({std::to_string(p.layer), std::to_string(p.a) + ", " + std::to_string(p.b),
               std::to_string(p.tokens), number(p.expected, 1), number(p.lift()), number(p.z, 1),
               h.groups > 1 && p.a / group == p.b / group ? "same group" : ""});
  }
  return text + table.text();
}

std::string budget_text(const RouteReport& r) {
  const CacheBudget& budget = *r.found.budget;
  const Reuse& reuse = *r.found.reuse;
  std::vector<Table::Column> columns = {
      {"passes"}, {"tokens", right}, {"hits", right}, {"read a token", right}};
  const bool computes = r.options.prefill_speed || r.options.decode_speed;
  if (r.options.disk) columns.push_back({"tokens/s, at most", right});
  if (computes) columns.push_back({"without overlap", right});
  Table table(columns);
  const auto speed = [](double value) { return value > 0 ? number(value) : "-"; };
  const auto add = [&](const char* phase, const PassReads& passes, std::uint64_t hits,
                       std::optional<double> in_memory) {
    if (passes.tokens == 0) return;
    const DiskForecast forecast =
        disk_forecast(passes, hits, budget.expert_bytes, static_cast<double>(r.options.disk.value_or(0)),
                      in_memory.value_or(0));
    std::vector<std::string> cells = {phase, std::to_string(passes.tokens), percent(forecast.hit_share),
                                      format_bytes(static_cast<std::uint64_t>(forecast.bytes_per_token))};
    if (r.options.disk) cells.push_back(speed(forecast.tokens_per_second));
    if (computes) cells.push_back(speed(forecast.without_overlap));
    table.add(std::move(cells));
  };
  // By passes, as experts are read: a token generated beside a prompt counts with the prompts.
  add("with prompts", reuse.prompt, budget.hits.prompt, r.options.prefill_speed);
  add("generating", reuse.generated, budget.hits.generated, r.options.decode_speed);
  return "\n" + format_bytes(*r.options.cache_budget) + " for experts of " +
         format_bytes(budget.expert_bytes) + ": " + std::to_string(budget.hits.slots) +
         " of them in baleen's cache\n" + table.text();
}

std::string reuse_text(const RouteReport& r) {
  const Reuse& reuse = *r.found.reuse;
  const std::size_t experts = r.found.header->experts;
  std::string text = "\nShare of expert reads that a cache of N experts a layer would serve, all layers\n";
  Table curve({{"N", right},
               {"of " + std::to_string(experts), right},
               {"LRU", right},
               {"LFU", right},
               {"at best", right}});
  std::vector<std::size_t> sizes;
  for (std::size_t i = 1; i <= 8; ++i) sizes.push_back(std::max<std::size_t>(1, experts * i / 8));
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  const CacheCurve& all = reuse.each_layer;
  for (const std::size_t n : sizes)
    curve.add({std::to_string(n), percent(static_cast<double>(n) / static_cast<double>(experts), 0),
               percent(all.share(all.lru, n)), percent(all.share(all.lfu, n)),
               percent(all.share(all.belady, n))});
  text += curve.text();
  const std::size_t total = experts * r.found.header->layers.size();
  text += "\nThe same with one cache of N experts for all layers\n";
  Table shared({{"N", right},
                {"of " + std::to_string(total), right},
                {"LRU", right},
                {"LFU", right},
                {"baleen", right},
                {"at best", right}});
  const CacheCurve& one = reuse.shared;
  for (const PolicyHits& policy : reuse.policy) {
    const std::size_t n = policy.slots;
    shared.add({std::to_string(n), percent(static_cast<double>(n) / static_cast<double>(total), 0),
                percent(one.share(one.lru, n)), percent(one.share(one.lfu, n)),
                percent(static_cast<double>(policy.hits()) / static_cast<double>(one.reads)),
                percent(one.share(one.belady, n))});
  }
  text += shared.text();
  if (r.found.budget) text += budget_text(r);
  text += "\nExperts that a token shares with its request's token before it\n";
  Table repeats({{"layer", right}, {"shared", right}, {"by chance", right}});
  for (std::size_t l = 0; l < reuse.layers.size(); ++l) {
    const Repetition& repetition = reuse.layers[l].repetition;
    repeats.add(
        {std::to_string(r.found.header->layers[l]), percent(repetition.share), percent(repetition.chance)});
  }
  text += repeats.text();
  if (reuse.spooled_bytes > 0)
    text += "the best cache must know the future: " + format_bytes(reuse.spooled_bytes) +
            " went through a temporary file\n";
  return text;
}

std::string simulation_text(const RouteReport& r) {
  Table table({{"layer", right},
               {"MaxVio", right},
               {"with these biases", right},
               {"entropy", right},
               {"then", right}});
  for (const LayerLoad& layer : r.found.simulated) {
    const auto logged = std::find_if(r.found.loads.layers().begin(), r.found.loads.layers().end(),
                                     [&](const LayerLoad& l) { return l.layer == layer.layer; });
    const LoadStatistics before = load_statistics(logged->load);
    const LoadStatistics after = load_statistics(layer.load);
    table.add({std::to_string(layer.layer), number(before.max_vio), number(after.max_vio),
               number(before.entropy, 3), number(after.entropy, 3)});
  }
  return "\nBalance with the biases of " + *r.options.simulate_bias +
         ": exact for each layer's choice alone,\nas later layers would have seen other inputs\n" +
         table.text();
}

}  // namespace

std::string route_text(const RouteReport& r, const Style& style, std::size_t width) {
  std::string text = summary(r, style);
  text += r.options.layer ? layer_summary(r) + "\n" + expert_bars(r, width)
                          : "\n" + layer_table(r) + "\n" + layer_strips(r, width);
  if (!r.parts.empty()) text += "\n" + parts_table(r);
  if (r.parts.size() > 1 && (r.options.by == By::label || r.options.by == By::phase))
    text += specialisation(r);
  for (const Comparison& comparison : r.comparisons) text += comparison_text(r, comparison);
  if (r.found.pairs) text += pairs_text(r);
  if (r.found.reuse) text += reuse_text(r);
  if (!r.found.simulated.empty()) text += simulation_text(r);
  return text;
}

}  // namespace baleen::cmd
