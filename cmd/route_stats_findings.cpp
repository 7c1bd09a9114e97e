#include "cmd/route_stats_findings.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "checkpoint/files.h"
#include "checkpoint/json_fields.h"
#include "clock.h"
#include "cmd/kernel_choice.h"
#include "cmd/model_folder.h"
#include "cmd/output.h"
#include "cmd/prompt.h"
#include "cmd/rounded_head.h"
#include "cmd/signals.h"
#include "error.h"
#include "model/model.h"
#include "report/printable.h"
#include "report/progress.h"
#include "report/units.h"
#include "routing/route_log.h"
#include "routing/route_reader.h"
#include "runtime/session.h"
#include "runtime/thread_pool.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using By = RouteStatsOptions::By;

constexpr std::size_t largest_biases = std::size_t{64} << 20U;
constexpr std::size_t largest_text = std::size_t{256} << 20U;

bool parts_tokens(By by) {
  return by == By::phase || by == By::request || by == By::token || by == By::label;
}

bool needs_tokens(const RouteStatsOptions& o) {
  return o.by == By::request || o.by == By::token || o.coactivation || o.stability || o.cache_curve ||
         o.simulate_bias;
}

// What choosing needs of the model that a log is of.
Config config_of(const RouteHeader& header) {
  Config config;
  config.n_routed_experts = header.experts;
  config.num_experts_per_tok = header.top_k;
  config.scoring_func = header.scoring;
  config.topk_method = header.method;
  config.n_group = header.groups;
  config.topk_group = header.top_groups;
  return config;
}

// Takes in what a log or a model tells, and adds up what the options ask for.
class Gatherer {
 public:
  explicit Gatherer(const RouteStatsOptions& options) : o_(options) {
    if (o_.simulate_bias)
      biases_ = parse_biases(read_small_file(*o_.simulate_bias, largest_biases), *o_.simulate_bias);
  }

  RouteWants wants() const { return {.weights = false, .scores = o_.simulate_bias.has_value()}; }

  void header(const RouteHeader& header) {
    ++logs_;
    if (loads_only_) throw Error("a route log behind loads as JSON: one or the other");
    if (!header.bias.empty()) found_.bias = header.bias;
    if (found_.header) return;
    found_.header = header;
    found_.loads = Tally(header);
    if (parts_tokens(o_.by)) found_.keyed.emplace(header);
    if (o_.stability) found_.halves.emplace(header);
    if (o_.coactivation) found_.pairs.emplace(header, o_.layer.value_or(SIZE_MAX));
    if (o_.cache_curve) begin_caches(header);
    for (const LayerBias& bias : biases_) {
      const auto at = std::find(header.layers.begin(), header.layers.end(), bias.layer);
      if (at == header.layers.end() || bias.bias.size() != header.experts)
        throw UsageError(*o_.simulate_bias + ": a bias of " + std::to_string(bias.bias.size()) +
                         " experts for layer " + std::to_string(bias.layer) +
                         ", which the log does not have");
      simulations_.push_back({static_cast<std::size_t>(at - header.layers.begin()),
                              BiasSimulation(config_of(header), bias.layer, bias.bias)});
    }
  }

  void token(const RouteToken& token) {
    if (o_.by == By::prompt && token.generated) return;
    if (o_.by == By::generated && !token.generated) return;
    ++(token.generated ? found_.generated_tokens : found_.prompt_tokens);
    found_.loads.add(token);
    if (found_.keyed) (*found_.keyed)[key(token)].add(token);
    if (found_.halves) found_.halves->add(token);
    if (found_.pairs) found_.pairs->add(token);
    if (meter_) measure(token);
    if (!simulations_.empty()) simulate(token);
  }

  void counts(const RouteCounts& counts) {
    if (o_.by == By::prompt && counts.generated) return;
    if (o_.by == By::generated && !counts.generated) return;
    (counts.generated ? found_.generated_tokens : found_.prompt_tokens) += counts.tokens;
    found_.counted_tokens += counts.tokens;
    found_.loads.add(counts);
    if (found_.keyed && (o_.by == By::label || o_.by == By::phase))
      (*found_.keyed)[o_.by == By::label ? counts.label : phase(counts.generated)].add(counts);
  }

  void load(const LayerLoad& load) {
    if (found_.header) throw Error("loads as JSON behind a route log: one or the other");
    loads_only_ = true;
    found_.loads.add(load);
  }

  Findings take() {
    const bool lacks_tokens = loads_only_ || found_.counted_tokens > 0;
    if (lacks_tokens && needs_tokens(o_))
      throw UsageError(std::string("what is asked for needs a log of tokens, this one holds ") +
                       (loads_only_ ? "loads" : "counts") +
                       " alone\nbaleen run --route-log-detail experts, weights or scores logs tokens");
    if (loads_only_ && o_.by != By::all)
      throw UsageError("--by needs a route log, loads as JSON do not tell phases, requests or labels");
    if (meter_) end_caches();
    for (const auto& [index, simulation] : simulations_) found_.simulated.push_back(simulation.load());
    return std::move(found_);
  }

 private:
  static std::string phase(bool generated) { return generated ? "generated" : "prompt"; }

  std::string key(const RouteToken& token) const {
    switch (o_.by) {
      case By::phase:
        return phase(token.generated);
      case By::token:
        return std::to_string(token.id);
      case By::label:
        return token.label;
      default:
        break;
    }
    // Every log numbers its requests from 0.
    return (logs_ > 1 ? std::to_string(logs_) + ":" : "") + std::to_string(token.request);
  }

  // A tenth of all experts to all of them; last what the budget holds.
  void begin_caches(const RouteHeader& header) {
    const std::size_t total = header.layers.size() * header.experts;
    std::vector<std::size_t> slots;
    for (std::size_t i = 1; i <= 10; ++i) slots.push_back(std::max<std::size_t>(1, total * i / 10));
    slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
    if (o_.cache_budget) {
      found_.budget = CacheBudget{.expert_bytes = expert_bytes(header), .hits = {}};
      const std::uint64_t room = *o_.cache_budget / found_.budget->expert_bytes;
      if (room == 0)
        throw UsageError("--cache-budget of " + format_bytes(*o_.cache_budget) + ", an expert has " +
                         format_bytes(found_.budget->expert_bytes));
      slots.push_back(std::min<std::uint64_t>(room, total));
    }
    meter_ = std::make_unique<ReuseMeter>(header.layers.size(), header.experts, slots);
  }

  void end_caches() {
    found_.reuse = meter_->finish();
    if (!found_.budget) return;
    found_.budget->hits = found_.reuse->policy.back();
    found_.reuse->policy.pop_back();
  }

  std::uint64_t expert_bytes(const RouteHeader& header) const {
    if (o_.expert_bytes) return *o_.expert_bytes;
    const fs::path folder = o_.model ? *o_.model : default_model_folder();
    const Model model = Model::open(folder);
    const Config& config = model.config();
    const auto layers =
        static_cast<std::size_t>(std::count(config.is_moe_layer.begin(), config.is_moe_layer.end(), true));
    if (config.n_routed_experts != header.experts || layers != header.layers.size())
      throw UsageError(folder.string() + ": a model of " + std::to_string(config.n_routed_experts) +
                       " experts in " + std::to_string(layers) + " layers, the log is of one of " +
                       std::to_string(header.experts) + " in " + std::to_string(header.layers.size()));
    std::uint64_t bytes = 0;
    for (const Inventory& row : model.inventory())
      if (row.kind == "routed experts") bytes += row.bytes;
    return bytes / (layers * config.n_routed_experts);
  }

  void measure(const RouteToken& token) {
    const RouteHeader& header = *found_.header;
    const std::uint64_t log = std::uint64_t{logs_} << 40U;
    for (std::size_t l = 0; l < header.layers.size(); ++l)
      meter_->add({.step = log + token.pass,
                   .request = log + token.request,
                   .layer = l,
                   .experts = std::span(token.experts).subspan(l * header.top_k, header.top_k),
                   .generated = token.generated});
  }

  void simulate(const RouteToken& token) {
    if (token.scores.empty())
      throw UsageError(
          "--simulate-bias needs a log with --route-log-detail scores: this one holds no scores");
    const std::size_t experts = found_.header->experts;
    for (auto& [index, simulation] : simulations_)
      simulation.add(std::span(token.scores).subspan(index * experts, experts));
  }

  const RouteStatsOptions& o_;
  Findings found_;
  std::size_t logs_ = 0;
  bool loads_only_ = false;
  std::unique_ptr<ReuseMeter> meter_;
  std::vector<LayerBias> biases_;
  struct Simulation {
    std::size_t index;  // of the log's layers
    BiasSimulation simulation;
  };
  std::vector<Simulation> simulations_;
};

void read_logs(const RouteStatsOptions& o, const std::vector<std::string>& files, Gatherer& gatherer,
               std::uint64_t& problems) {
  RouteReader reader({.header = [&](const RouteHeader& header) { gatherer.header(header); },
                      .token = [&](const RouteToken& token) { gatherer.token(token); },
                      .counts = [&](const RouteCounts& counts) { gatherer.counts(counts); },
                      .load = [&](const LayerLoad& load) { gatherer.load(load); }},
                     gatherer.wants(), o.keep_going);
  for (const std::string& file : files) reader.read(file);
  problems += reader.problems();
  if (o.quiet && reader.problems() == 0) return;
  for (const std::string& note : reader.notes())
    write_message("baleen route-stats: " + printable(note) + "\n");
  if (reader.problems() > reader.notes().size())
    write_message("baleen route-stats: " + std::to_string(reader.problems()) +
                  " lines in all were left out\n");
}

// The model reads the text as it is, behind the begin-of-text token that the tokenizer's configuration asks
// for, window by window.
void read_text(const RouteStatsOptions& o, Gatherer& gatherer) {
  const fs::path folder = o.model ? *o.model : default_model_folder();
  const kernels::Kernels& kernels = choose_kernels(o.isa);
  check_holds_model(folder);
  const Tokenizer tokenizer = Tokenizer::open(folder);
  Model model = Model::open(folder);
  const std::string text = read_input(*o.text, largest_text);
  check_utf8(text, input_name(*o.text) + ": the text");
  const std::vector<TokenId> ids = tokenizer.encode(text, Tokenizer::SpecialTokens::add);
  if (ids.empty()) throw Error(*o.text + ": no text in it");
  ThreadPool pool(o.threads.value_or(default_thread_count()));
  round_head_if_asked(o, model, pool, kernels);

  const RouteDetail detail = o.simulate_bias || o.suggest_bias ? RouteDetail::scores : RouteDetail::experts;
  const RouteHeader header = route_header(model, folder_name(folder), detail);
  gatherer.header(header);
  std::uint64_t request = 0;  // a window
  RouteCollector collector(header, [&](RouteToken& token) {
    token.request = request;
    gatherer.token(token);
  });
  Observer observer;
  collector.attach(observer);
  Progress progress(progress_mode(o), "read", ids.size(), "tokens", progress_screen());
  const auto start = Clock::now();
  const std::size_t window = std::min(ids.size(), model.config().max_position_embeddings);
  for (std::size_t begin = 0; begin < ids.size(); begin += window, ++request) {
    Session session(
        model, pool,
        {.context = window, .kv_format = o.kv_format, .kernels = &kernels, .cancel = SignalFlag::cancel()});
    const std::size_t count = std::min(window, ids.size() - begin);
    session.feed(
        std::span(ids).subspan(begin, count), kernels::Path::batch, Session::Want::none,
        [](std::size_t, std::span<const float>) {}, &observer);
    progress.update(begin + count, seconds_since(start));
  }
}

}  // namespace

std::vector<LayerBias> parse_biases(std::string_view text, const std::string& file) {
  const json document = parse_json_object(text, file);
  const json* layers = document.contains("layers") ? &document.at("layers") : nullptr;
  if (layers == nullptr || !layers->is_array())
    throw FormatError(file, "no list \"layers\", expected what baleen route-stats --suggest-bias prints");
  std::vector<LayerBias> biases;
  for (const json& entry : *layers) {
    const bool shaped = entry.is_object() && entry.contains("layer") && entry.contains("bias") &&
                        entry.at("layer").is_number_unsigned() && entry.at("bias").is_array();
    if (!shaped)
      throw FormatError(file, shown(entry) + ", expected an object with \"layer\" and a list \"bias\"");
    biases.push_back({.layer = entry.at("layer").get<std::size_t>(), .bias = {}});
    for (const json& value : entry.at("bias")) {
      if (!value.is_number()) throw FormatError(file, "bias " + shown(value) + ", expected a number");
      biases.back().bias.push_back(value.get<float>());
    }
  }
  if (biases.empty()) throw FormatError(file, "\"layers\" is empty, expected one at least");
  return biases;
}

Findings gather(const RouteStatsOptions& o) {
  Gatherer gatherer(o);
  std::uint64_t problems = 0;
  if (o.text) {
    read_text(o, gatherer);
  } else {
    read_logs(o, o.logs, gatherer, problems);
  }
  Findings found = gatherer.take();
  found.problems = problems;
  return found;
}

Findings gather_loads(const RouteStatsOptions& o, const std::string& file) {
  RouteStatsOptions plain;
  plain.by = o.by == By::prompt || o.by == By::generated ? o.by : By::all;
  plain.keep_going = o.keep_going;
  plain.quiet = o.quiet;
  Gatherer gatherer(plain);
  std::uint64_t problems = 0;
  read_logs(plain, {file}, gatherer, problems);
  Findings found = gatherer.take();
  found.problems = problems;
  return found;
}

}  // namespace baleen::cmd
