#include "quant/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>

#include "error.h"
#include "model/forward.h"
#include "model/layer_runner.h"
#include "quant/activations.h"
#include "quant/gptq.h"
#include "report/units.h"

namespace baleen {
namespace {

using kernels::Matrix;

// Tokens that pass a layer together, at least; a window may be longer.
constexpr std::size_t tokens_at_a_time = 1024;
// Tokens of a module's inputs that are gathered at a time.
constexpr std::size_t tile = 256;

// What modules read. Stages come in this order.
enum class Input : std::uint8_t { attention_normed, q_a, latent, attended, mlp_normed, inner };
enum class Stage : std::uint8_t { attention, mlp, down };

std::optional<Input> input_of(Role role) {
  switch (role) {
    case Role::q_proj:
    case Role::q_a_proj:
    case Role::kv_a_proj_with_mqa:
    case Role::k_proj:
    case Role::v_proj:
      return Input::attention_normed;
    case Role::q_b_proj:
      return Input::q_a;
    case Role::kv_b_proj:
      return Input::latent;
    case Role::o_proj:
      return Input::attended;
    case Role::gate_proj:
    case Role::up_proj:
    case Role::shared_gate_proj:
    case Role::shared_up_proj:
      return Input::mlp_normed;
    case Role::down_proj:
    case Role::shared_down_proj:
      return Input::inner;
    default:
      return std::nullopt;
  }
}

Stage stage_of(Input input) {
  if (input == Input::mlp_normed) return Stage::mlp;
  return input == Input::inner ? Stage::down : Stage::attention;
}

bool is_shared(Role role) {
  return role == Role::shared_gate_proj || role == Role::shared_up_proj || role == Role::shared_down_proj;
}

std::vector<Site> sites_of(const Config& config, std::size_t layer, Stage stage) {
  std::vector<Site> sites;
  std::map<std::tuple<Input, bool, std::size_t>, std::size_t> known;
  for (const TensorSpec& spec : tensor_table(config)) {
    const auto input = input_of(spec.role);
    if (!input || stage_of(*input) != stage || spec.kind != Kind::matrix) continue;
    if (spec.when && !spec.when(config, layer)) continue;
    const bool routed = spec.scope == Scope::expert;
    for (std::size_t e = 0; e < (routed ? config.n_routed_experts : 1); ++e) {
      const std::size_t none = config.n_routed_experts;
      const auto [at, fresh] =
          known.try_emplace({*input, is_shared(spec.role), routed ? e : none}, sites.size());
      if (fresh) {
        Site& site = sites.emplace_back();
        site.layer = layer;
        site.cols = spec.cols.of(config);
        if (routed) site.expert = e;
      }
      const std::string name = tensor_name(spec.name, layer, e);
      sites[at->second].modules.push_back(
          {name.substr(0, name.size() - std::string_view(".weight").size()), spec.role});
    }
  }
  return sites;
}

Matrix& matrix_of(Layer& layer, Role role, std::optional<std::size_t> expert) {
  if (!expert) return layer.weights[role];
  Mlp& mlp = layer.experts[*expert];
  return role == Role::gate_proj ? mlp.gate_proj : role == Role::up_proj ? mlp.up_proj : mlp.down_proj;
}

// Widths of what is kept of every token: the residual stream, and what attention's later projections read.
struct Widths {
  std::size_t residual, q_a, latent, attended;
  std::size_t sum() const { return residual + q_a + latent + attended; }
};

Widths widths_of(const Config& c) {
  if (c.attention == AttentionKind::mla)
    return {c.hidden_size, c.q_lora_rank, c.kv_lora_rank, c.num_attention_heads * c.v_head_dim};
  return {c.hidden_size, 0, 0, c.num_attention_heads * c.head_dim};
}

std::size_t chunk_of(const CalibrationOptions& options) {
  return std::max<std::size_t>(1, tokens_at_a_time / options.window) * options.window;
}

// Sizes in bytes.
struct Needs {
  std::uint64_t runner;       // one
  std::uint64_t lane;         // each
  std::uint64_t routes;       // which tokens go to an expert, and the tokens
  std::uint64_t activations;  // in memory or in a file
};

Needs needs_of(const Model& model, std::size_t tokens, const CalibrationOptions& options) {
  const Config& c = model.config();
  const Widths widths = widths_of(c);
  const std::size_t shared = c.n_shared_experts * c.moe_intermediate_size;
  const std::size_t inner = std::max({c.intermediate_size, c.moe_intermediate_size, shared});
  const std::size_t cols = std::max({widths.residual, widths.q_a, widths.latent, widths.attended, inner});
  const std::uint64_t hessian = options.blas ? std::uint64_t{cols} * cols : 0;
  // Inputs, what they are made from, and both packed for products.
  const std::uint64_t inputs = tile * std::uint64_t{2 * (c.hidden_size + inner) + cols};
  const std::size_t chunk = std::min(chunk_of(options), tokens);
  return {LayerRunner::memory(c, options.window, chunk) + chunk * std::uint64_t{c.hidden_size} * 4,
          (hessian + inputs) * sizeof(float) + cols * (sizeof(float) + sizeof(double)),
          std::uint64_t{tokens} * (c.num_experts_per_tok * 2 + 1) * sizeof(std::uint32_t),
          std::uint64_t{tokens} * widths.sum() * sizeof(float)};
}

}  // namespace

struct Calibration::State {
  const Model& model;
  const Config& config;
  ThreadPool& pool;
  CalibrationOptions options;
  std::vector<TokenId> ids;
  std::size_t chunk = 0;
  LayerRunner runner;

  // Of all tokens: the residual stream that enters what the stage is about, and the stage's captured inputs.
  std::optional<Activations> residual, q_a, latent, attended;
  std::vector<std::vector<std::uint32_t>> routed;  // tokens of each expert, ascending

  bool started = false;
  std::size_t layer_index = 0;
  Stage stage = Stage::attention;
  Layer layer;  // the model's, with replacements
  std::vector<Site> sites;

  struct Lane {
    std::vector<float> x, hidden, inner, room;  // of a tile of tokens
    std::vector<double> squares;                // [cols]
    std::vector<float> importance;              // [cols]
    std::vector<float> hessian;                 // [cols, cols]
  };
  std::vector<Lane> lanes;

  State(const Model& m, std::span<const TokenId> tokens, ThreadPool& threads, const CalibrationOptions& o)
      : model(m),
        config(m.config()),
        pool(threads),
        options(o),
        ids(tokens.begin(), tokens.end()),
        chunk(chunk_of(o)),
        runner(m, threads, *o.kernels, o.window,
               std::min(chunk, (ids.size() + o.window - 1) / o.window * o.window)) {
    const Needs needs = needs_of(m, ids.size(), o);
    std::size_t lane_count = pool.size();
    bool in_memory = true;
    if (o.memory > 0) {
      const std::uint64_t rest = o.memory - needs.runner - needs.routes;
      lane_count = std::clamp<std::size_t>(rest / needs.lane, 1, pool.size());
      in_memory = rest - lane_count * needs.lane >= needs.activations;
    }
    lanes.resize(lane_count);
    std::filesystem::path folder;
    if (!in_memory) folder = o.folder.empty() ? std::filesystem::temp_directory_path() : o.folder;
    const Widths widths = widths_of(config);
    const auto make = [&](std::optional<Activations>& rows, std::size_t width) {
      if (width > 0) rows.emplace(ids.size(), width, folder);
    };
    make(residual, widths.residual);
    make(q_a, widths.q_a);
    make(latent, widths.latent);
    make(attended, widths.attended);
  }

  // Calls body(first token, tokens, their residual rows) for one chunk of tokens after the other. The rows
  // are read before if there are any yet.
  template <typename Body>
  void for_chunks(bool read, const Body& body) {
    std::vector<float> rows(std::min(chunk, ids.size()) * config.hidden_size);
    for (std::size_t begin = 0; begin < ids.size(); begin += chunk) {
      check_cancelled(options.cancel);
      const std::size_t count = std::min(chunk, ids.size() - begin);
      if (read) residual->read(begin, count, rows.data());
      body(begin, count, rows.data());
      if (options.on_progress) options.on_progress(layer_index, begin + count);
    }
  }

  // Takes the residual stream through what is left of the layer before, if there is one, and captures what
  // the projections of this layer's attention read.
  void enter_layer(std::size_t index) {
    const Layer before = std::move(layer);
    layer = model.layers()[index];
    layer_index = index;
    for_chunks(index > 0, [&](std::size_t begin, std::size_t count, float* rows) {
      if (index == 0)
        runner.embed(std::span(ids).subspan(begin, count), rows);
      else
        runner.feed_forward(before, count, rows);
      residual->write(begin, count, rows, config.hidden_size);
      const auto inputs = runner.attention(layer, count, rows);
      if (q_a) q_a->write(begin, count, inputs.q_a, q_a->width());
      if (latent) latent->write(begin, count, inputs.latent, inputs.latent_stride);
      attended->write(begin, count, inputs.attended, attended->width());
    });
  }

  // Takes the residual stream through the layer's attention, and finds the experts' tokens.
  void enter_mlp() {
    routed.assign(layer.experts.size(), {});
    for_chunks(true, [&](std::size_t begin, std::size_t count, float* rows) {
      runner.attention(layer, count, rows);
      residual->write(begin, count, rows, config.hidden_size);
      const auto choices = runner.route(layer, count, rows);
      for (std::size_t i = 0; i < choices.size(); ++i)
        routed[choices[i].expert].push_back(
            static_cast<std::uint32_t>(begin + i / config.num_experts_per_tok));
    });
  }

  bool next() {
    if (!started) {
      started = true;
      enter_layer(0);
    } else if (stage == Stage::attention) {
      stage = Stage::mlp;
      enter_mlp();
    } else if (stage == Stage::mlp) {
      stage = Stage::down;
    } else {
      if (layer_index + 1 == model.layers().size()) return false;
      stage = Stage::attention;
      enter_layer(layer_index + 1);
    }
    sites = sites_of(config, layer_index, stage);
    for (Site& site : sites) site.tokens = site.expert ? routed[*site.expert].size() : ids.size();
    return true;
  }

  // Rows of the residual stream, normed as the layer does it for attention or for what is behind.
  void normed(const Site& site, std::size_t begin, std::size_t count, Role gain_role, float* x) const {
    if (site.expert)
      residual->gather(std::span(routed[*site.expert]).subspan(begin, count), x);
    else
      residual->read(begin, count, x);
    const Matrix& gain = layer.weights[gain_role];
    const std::size_t width = config.hidden_size;
    for (std::size_t t = 0; t < count; ++t)
      options.kernels->rms_norm(x + t * width, gain.values, gain.format, width,
                                static_cast<float>(config.rms_norm_eps), x + t * width);
  }

  // Inputs [count, site.cols] of the site's tokens from `begin` on.
  const float* inputs(const Site& site, std::size_t begin, std::size_t count, Lane& lane, std::size_t index) {
    lane.x.resize(tile * site.cols);
    float* x = lane.x.data();
    const Role role = site.modules.front().role;
    switch (*input_of(role)) {
      case Input::attention_normed:
        normed(site, begin, count, Role::input_layernorm, x);
        break;
      case Input::q_a:
        q_a->read(begin, count, x);
        break;
      case Input::latent:
        latent->read(begin, count, x);
        break;
      case Input::attended:
        attended->read(begin, count, x);
        break;
      case Input::mlp_normed:
        normed(site, begin, count, Role::post_attention_layernorm, x);
        break;
      case Input::inner: {
        lane.hidden.resize(tile * config.hidden_size);
        lane.room.resize(tile * site.cols);
        normed(site, begin, count, Role::post_attention_layernorm, lane.hidden.data());
        const bool shared = is_shared(role);
        const Matrix& gate = matrix_of(layer, shared ? Role::shared_gate_proj : Role::gate_proj, site.expert);
        const Matrix& up = matrix_of(layer, shared ? Role::shared_up_proj : Role::up_proj, site.expert);
        runner.inner(gate, up, lane.hidden.data(), count, x, lane.room.data(), index);
        break;
      }
    }
    return x;
  }

  Guide guide(const Site& site, std::size_t index) {
    if (site.tokens < options.least_tokens) return {};
    Lane& lane = lanes[index];
    const std::size_t cols = site.cols;
    lane.squares.assign(cols, 0);
    if (options.blas) lane.hessian.assign(cols * cols, 0);
    for (std::size_t begin = 0; begin < site.tokens; begin += tile) {
      check_cancelled(options.cancel);
      const std::size_t count = std::min(tile, site.tokens - begin);
      const float* x = inputs(site, begin, count, lane, index);
      for (std::size_t t = 0; t < count; ++t)
        for (std::size_t c = 0; c < cols; ++c) lane.squares[c] += double{x[t * cols + c]} * x[t * cols + c];
      if (options.blas) options.blas->add_gram(cols, count, x, lane.hessian.data());
    }
    lane.importance.resize(cols);
    for (std::size_t c = 0; c < cols; ++c)
      lane.importance[c] = static_cast<float>(lane.squares[c] / static_cast<double>(site.tokens));
    const auto finite = [](float x) { return std::isfinite(x); };
    if (!std::all_of(lane.importance.begin(), lane.importance.end(), finite)) return {};

    Guide guide{.importance = lane.importance};
    if (!options.blas) return guide;
    if (const auto damping = feedback_factor(*options.blas, cols, lane.hessian.data())) {
      guide.factor = lane.hessian.data();
      guide.damping = *damping;
    }
    return guide;
  }
};

Calibration::Memory Calibration::memory(const Model& model, std::size_t tokens, std::size_t threads,
                                        const CalibrationOptions& options) {
  const Needs needs = needs_of(model, tokens, options);
  return {needs.runner + needs.routes + needs.lane,
          needs.runner + needs.routes + needs.lane * threads + needs.activations};
}

void Calibration::check(const Model& model, std::span<const TokenId> ids, const CalibrationOptions& options) {
  const std::size_t vocab = model.config().vocab_size;
  if (ids.size() < 2)
    throw Error("a text of " + std::to_string(ids.size()) + " tokens is too short to calibrate on");
  for (const TokenId id : ids)
    if (id < 0 || static_cast<std::size_t>(id) >= vocab)
      throw Error("token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab));
  const std::uint64_t least = memory(model, ids.size(), 1, options).least;
  if (options.memory > 0 && options.memory < least)
    throw Error("calibrating on " + format_count(ids.size()) + " tokens needs at least " +
                format_bytes(least) + " of memory, allowed are " + format_bytes(options.memory));
}

Calibration::Calibration(const Model& model, std::span<const TokenId> ids, ThreadPool& pool,
                         const CalibrationOptions& options) {
  check(model, ids, options);
  state_ = std::make_unique<State>(model, ids, pool, options);
}

Calibration::~Calibration() = default;

bool Calibration::next() {
  return state_->next();
}
std::size_t Calibration::layer() const {
  return state_->layer_index;
}
std::span<const Site> Calibration::sites() const {
  return state_->sites;
}

void Calibration::for_each_site(const std::function<void(const Site&, std::size_t lane)>& body) {
  std::atomic<std::size_t> next_site{0};
  const std::vector<Site>& sites = state_->sites;
  state_->pool.parallel_for(state_->lanes.size(), [&](std::size_t lane, std::size_t) {
    try {
      for (std::size_t i = next_site++; i < sites.size(); i = next_site++) body(sites[i], lane);
    } catch (...) {
      next_site = sites.size();
      throw;
    }
  });
}

Guide Calibration::guide(const Site& site, std::size_t lane) {
  return state_->guide(site, lane);
}

void Calibration::replace(const Site& site, Role role, const Matrix& matrix) {
  matrix_of(state_->layer, role, site.expert) = matrix;
}

}  // namespace baleen
