#include "quant/fit.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "error.h"
#include "quant/allocate.h"
#include "report/units.h"

namespace baleen {
namespace {

constexpr std::size_t formats = 3;  // int4, int8, as stored

// What is stored alike: a kind of matrix in a layer, or in a single expert.
struct Group {
  std::vector<std::size_t> modules;
  std::array<std::uint64_t, formats> bytes{};
  std::array<double, formats> error{};
  bool quantized_before = false;  // it cannot stay as it is: then it would be widened
};

std::uint64_t bytes_as(const SourceModule& module, const Target& target) {
  std::uint64_t bytes = 0;
  const kernels::Matrix& m = module.weight->matrix;
  for (const StoredPart& part : stored_parts(target, m.rows, m.cols, module.plain)) bytes += part.bytes;
  return bytes;
}

class Fitting {
 public:
  Fitting(const Source& source, ThreadPool& pool, const FitOptions& options)
      : source_(source),
        options_(options),
        targets_{{{Encoding::int4, options.group}, {Encoding::int8, options.group}}} {
    ChooseOptions base = options.choose;
    base.to = targets_[1];
    decisions_ = choose(source, base);
    gather();
    measure(pool);
    other_bytes_ = make_plan(source_, decisions_, options_.shard_size).tensor_bytes;
    for (const Group& group : groups_) other_bytes_ -= group.bytes[1];  // as decisions_ have it
  }

  // Choices are by the sizes of tensors; what headers take is known once they are laid out.
  std::vector<Decision> fit() {
    std::uint64_t headers = 0;
    while (true) {
      if (headers >= options_.size) throw_impossible(headers);
      const std::vector<Decision> decisions = allocate_within(options_.size - headers);
      const Plan plan = make_plan(source_, decisions, options_.shard_size);
      if (plan.file_bytes <= options_.size) return decisions;
      headers += std::max<std::uint64_t>(1, plan.file_bytes - options_.size);
    }
  }

 private:
  [[noreturn]] void throw_impossible(std::uint64_t headers) const {
    throw UsageError("--target-size " + format_bytes(options_.size) + ": the headers alone take " +
                     format_bytes(headers));
  }

  void gather() {
    std::map<std::tuple<std::size_t, std::string_view, std::size_t>, std::size_t> found;
    for (std::size_t i = 0; i < source_.modules().size(); ++i) {
      const SourceModule& module = source_.modules()[i];
      const bool free = module.quantizable && decisions_[i].kept == Kept::no &&
                        bits_rule(options_.choose.rules, module.part, module.layer) == nullptr;
      if (!free) continue;
      const std::size_t expert = options_.per_expert ? module.expert : no_number;
      const auto [at, fresh] = found.try_emplace({module.layer, module.part, expert}, groups_.size());
      if (fresh) groups_.emplace_back();
      Group& group = groups_[at->second];
      group.modules.push_back(i);
      for (std::size_t f = 0; f < targets_.size(); ++f) group.bytes[f] += bytes_as(module, targets_[f]);
      group.bytes[2] += module.bytes();
      group.quantized_before = group.quantized_before || module.is_quantized();
    }
    if (groups_.empty()) throw UsageError("--target-size: --bits, --keep and --only leave nothing to choose");
  }

  void measure(ThreadPool& pool) {
    std::vector<std::optional<Target>> targets(decisions_.size());
    for (std::size_t f = 0; f < targets_.size(); ++f) {
      for (const Group& group : groups_)
        for (const std::size_t i : group.modules) targets[i] = targets_[f];
      const std::vector<EncodeError> errors = sample_errors(source_, targets, pool, options_.sample);
      for (Group& group : groups_)
        for (const std::size_t i : group.modules) group.error[f] += load(i) * errors[i].error;
    }
  }

  // The share of tokens that meet a module.
  double load(std::size_t i) const {
    const SourceModule& module = source_.modules()[i];
    const Config& config = source_.model().config();
    if (module.expert == no_number) return 1;
    if (options_.shares && module.layer < options_.shares->layers.size())
      return options_.shares->layers[module.layer][module.expert];
    return static_cast<double>(config.num_experts_per_tok) / static_cast<double>(config.n_routed_experts);
  }

  std::vector<Decision> allocate_within(std::uint64_t size) const {
    std::vector<Unit> units;
    for (const Group& group : groups_) {
      Unit& unit = units.emplace_back();
      for (std::size_t f = 0; f < (group.quantized_before ? targets_.size() : formats); ++f)
        unit.options.push_back({group.bytes[f], group.error[f]});
    }
    const Allocation allocation = allocate(units, other_bytes_, size);
    std::vector<Decision> decisions = decisions_;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const std::size_t format = allocation.choices[g];
      for (const std::size_t i : groups_[g].modules)
        decisions[i] =
            format < targets_.size() ? Decision{targets_[format], Kept::no} : Decision{{}, Kept::by_request};
    }
    return decisions;
  }

  const Source& source_;
  const FitOptions& options_;
  std::array<Target, 2> targets_;
  std::vector<Decision> decisions_;
  std::vector<Group> groups_;
  std::uint64_t other_bytes_ = 0;  // of all tensors that nothing is chosen for
};

}  // namespace

std::vector<Decision> fit_size(const Source& source, ThreadPool& pool, const FitOptions& options) {
  return Fitting(source, pool, options).fit();
}

}  // namespace baleen
