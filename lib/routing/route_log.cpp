#include "routing/route_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "error.h"
#include "kernels/dispatch.h"
#include "report/output_file.h"

namespace baleen {
namespace {

// Lines are written together up to here: a prompt of 2,048 tokens is some megabytes of text.
constexpr std::size_t write_bytes = std::size_t{1} << 20U;
// A crash loses no more counts than these tokens'.
constexpr std::uint64_t counts_tokens = 65536;
// A header with a bias of 4,096 experts in 1,024 layers fits.
constexpr std::size_t longest_header = std::size_t{64} << 20U;

std::vector<float> bias_of(const Layer& layer, std::size_t experts) {
  std::vector<float> bias;
  const kernels::Matrix& stored = layer.weights[Role::e_score_correction_bias];
  if (stored.values == nullptr) return bias;
  bias.resize(experts);
  kernels::find_kernels("scalar")->widen_row[static_cast<std::size_t>(stored.format)](stored, 0, bias.data());
  return bias;
}

void read_at(const std::filesystem::path& file, int fd, std::size_t at, std::size_t size,
             std::string& bytes) {
  bytes.resize(size);
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got = ::pread(fd, bytes.data() + have, size - have, static_cast<off_t>(at + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_system_error(file, "", errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
}

// The first line without its newline; all of the file if it has none.
std::string first_line(const std::filesystem::path& file, int fd, std::size_t size) {
  std::string line;
  for (std::size_t step = 4096; line.find('\n') == line.npos && line.size() < std::min(size, longest_header);
       step *= 4)
    read_at(file, fd, 0, std::min(size, step), line);
  return line.substr(0, line.find('\n'));
}

// Bytes up to and with the last newline.
std::size_t whole_lines(const std::filesystem::path& file, int fd, std::size_t size) {
  std::string piece;
  while (size > 0) {
    const std::size_t step = std::min<std::size_t>(size, std::size_t{1} << 16U);
    read_at(file, fd, size - step, step, piece);
    const std::size_t newline = piece.rfind('\n');
    if (newline != piece.npos) return size - step + newline + 1;
    size -= step;
  }
  return 0;
}

}  // namespace

RouteHeader route_header(const Model& model, std::string name, RouteDetail detail) {
  const Config& config = model.config();
  RouteHeader header{.model = std::move(name),
                     .layers = {},
                     .experts = config.n_routed_experts,
                     .top_k = config.num_experts_per_tok,
                     .scoring = config.scoring_func,
                     .method = config.topk_method,
                     .groups = config.n_group,
                     .top_groups = config.topk_group,
                     .detail = detail,
                     .bias = {}};
  for (std::size_t l = 0; l < config.num_hidden_layers; ++l) {
    if (!config.is_moe_layer[l]) continue;
    header.layers.push_back(l);
    if (detail != RouteDetail::scores) continue;
    if (std::vector<float> bias = bias_of(model.layers()[l], config.n_routed_experts); !bias.empty())
      header.bias.push_back(std::move(bias));
  }
  return header;
}

// ---- RouteCollector

RouteCollector::RouteCollector(const RouteHeader& header, OnToken on_token,
                               std::function<void()> on_pass_done)
    : top_k_(header.top_k),
      experts_(header.experts),
      detail_(header.detail),
      layers_(header.layers),
      on_token_(std::move(on_token)),
      on_pass_done_(std::move(on_pass_done)) {}

void RouteCollector::attach(Observer& observer) {
  observer.route = [this, before = std::move(observer.route)](std::size_t layer,
                                                              std::span<const TokenInput> tokens,
                                                              std::span<const Choice> choices) {
    if (before) before(layer, tokens, choices);
    route(layer, tokens, choices);
  };
  if (detail_ != RouteDetail::scores) return;
  observer.scores = [this](std::size_t layer, std::span<const TokenInput> tokens,
                           std::span<const float> values) { scores(layer, tokens, values); };
}

std::size_t RouteCollector::index_of(std::size_t layer) const {
  return static_cast<std::size_t>(std::lower_bound(layers_.begin(), layers_.end(), layer) - layers_.begin());
}

void RouteCollector::scores(std::size_t layer, std::span<const TokenInput>, std::span<const float> values) {
  scores_.resize(layers_.size() * values.size());
  std::copy(values.begin(), values.end(),
            scores_.begin() + static_cast<std::ptrdiff_t>(index_of(layer) * values.size()));
}

void RouteCollector::route(std::size_t layer, std::span<const TokenInput> tokens,
                           std::span<const Choice> choices) {
  choices_.resize(layers_.size() * choices.size());
  std::copy(choices.begin(), choices.end(),
            choices_.begin() + static_cast<std::ptrdiff_t>(index_of(layer) * choices.size()));
  if (layer == layers_.back()) hand_on(tokens);
}

void RouteCollector::hand_on(std::span<const TokenInput> tokens) {
  const std::size_t count = tokens.size();
  const bool scored = detail_ == RouteDetail::scores;
  for (std::size_t t = 0; t < count; ++t) {
    const TokenInput& input = tokens[t];
    token_.label.clear();
    token_.experts.resize(layers_.size() * top_k_);
    token_.weights.resize(layers_.size() * top_k_);
    token_.scores.resize(scored ? layers_.size() * experts_ : 0);
    token_.request = input.request;
    token_.position = input.position;
    token_.id = static_cast<std::uint64_t>(input.id);
    token_.generated = input.generated;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Choice* chosen = choices_.data() + (l * count + t) * top_k_;
      for (std::size_t i = 0; i < top_k_; ++i) {
        token_.experts[l * top_k_ + i] = chosen[i].expert;
        token_.weights[l * top_k_ + i] = chosen[i].weight;
      }
      if (scored)
        std::copy_n(scores_.data() + (l * count + t) * experts_, experts_,
                    token_.scores.data() + l * experts_);
    }
    on_token_(token_);
  }
  ++token_.pass;
  if (on_pass_done_) on_pass_done_();
}

// ---- RouteLog

RouteLog::RouteLog(const RouteHeader& header, const std::filesystem::path& file)
    : header_(header),
      file_(file),
      collector_(
          header, [this](RouteToken& token) { add(token); }, [this] { pass_done(); }) {
  if (file_ == "-") {
    file_ = "standard output";
    fd_ = FileDescriptor(::dup(STDOUT_FILENO));
  } else {
    open();
  }
  append_header(lines_, header_);
  write();
}

RouteLog::~RouteLog() {
  try {
    finish();
  } catch (const Error&) {  // a run that failed says why it did
  }
}

void RouteLog::open() {
  struct stat status {};
  regular_ = ::stat(file_.c_str(), &status) != 0 || S_ISREG(status.st_mode);
  // A pipe, to a compressor for instance, is only written.
  const int mode = regular_ ? O_RDWR | O_CREAT : O_WRONLY;
  fd_ = FileDescriptor(::open(file_.c_str(), mode | O_APPEND | O_CLOEXEC, 0666));
  if (fd_.get() < 0) throw_system_error(file_, "", errno);
  if (!regular_) return;
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw Error(file_.string() + ": another process writes this log now");
  if (::fstat(fd_.get(), &status) != 0) throw_system_error(file_, "", errno);
  if (status.st_size > 0) begin_behind(static_cast<std::size_t>(status.st_size));
}

void RouteLog::begin_behind(std::size_t size) {
  try {
    check_same_model(parse_header(first_line(file_, fd_.get(), size)), header_);
  } catch (const Error& error) {
    throw Error(file_.string() + ": is there already, and a log of this run cannot go behind it\n" +
                error.what());
  }
  const std::size_t whole = whole_lines(file_, fd_.get(), size);
  if (whole < size && ::ftruncate(fd_.get(), static_cast<off_t>(whole)) != 0)
    throw_system_error(file_, "", errno);
}

void RouteLog::name_request(std::uint64_t request, std::string label, std::string_view id_json) {
  if (label.size() > longest_label)
    throw Error("a label of " + std::to_string(label.size()) + " bytes, expected at most " +
                std::to_string(longest_label));
  if (label.empty()) {
    labels_.erase(request);
  } else {
    labels_[request] = std::move(label);
  }
  if (id_json.empty() || header_.detail == RouteDetail::counts) return;
  append_request(lines_, request, id_json);
}

void RouteLog::add(RouteToken& token) {
  if (const auto label = labels_.find(token.request); label != labels_.end()) token.label = label->second;
  if (header_.detail == RouteDetail::counts) return count(token);
  if (header_.detail == RouteDetail::experts) token.weights.clear();
  append_token(lines_, token, header_);
  if (lines_.size() >= write_bytes) write();
}

void RouteLog::count(const RouteToken& token) {
  RouteCounts& counts = counts_[{token.label, token.generated}];
  if (counts.load.empty()) {
    counts.label = token.label;
    counts.generated = token.generated;
    counts.load.resize(header_.layers.size() * header_.experts);
  }
  ++counts.tokens;
  ++counted_;
  for (std::size_t i = 0; i < token.experts.size(); ++i)
    ++counts.load[i / header_.top_k * header_.experts + token.experts[i]];
}

void RouteLog::pass_done() {
  if (counted_ >= counts_tokens) finish();
  write();
}

void RouteLog::finish() {
  for (const auto& [key, counts] : counts_) append_counts(lines_, counts, header_);
  counts_.clear();
  counted_ = 0;
  write();
}

void RouteLog::write() {
  const bool written = write_all(fd_.get(), lines_);
  const int error = errno;
  lines_.clear();
  if (written) return;
  // A full disk took a part: what stays are whole lines.
  struct stat status {};
  if (regular_ && ::fstat(fd_.get(), &status) == 0)
    (void)!::ftruncate(fd_.get(), static_cast<off_t>(whole_lines(file_, fd_.get(),
                                                                 static_cast<std::size_t>(status.st_size))));
  throw_system_error(file_, "", error);
}

}  // namespace baleen
