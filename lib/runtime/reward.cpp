#include "runtime/reward.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstring>
#include <utility>

#include "error.h"
#include "runtime/shell_command.h"

namespace baleen {
namespace {

constexpr std::size_t most_output = 4096;
constexpr std::string_view white_space = " \t\r\n\v\f";

std::string_view trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(white_space), text.size()));
  return text.substr(0, text.find_last_not_of(white_space) + 1);
}

// The beginning of what a command printed, for a message of one line.
std::string shown(std::string_view text) {
  constexpr std::size_t most = 40;
  std::size_t length = std::min(text.size(), most);
  const auto splits_character = [&] { return (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U; };
  while (length > 0 && length < text.size() && splits_character()) --length;
  std::string result(text.substr(0, length));
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  }
  return "'" + result + (length < text.size() ? "...'" : "'");
}

std::string signal_name(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
}

double reward_of(const CommandResult& result) {
  using End = CommandResult::End;
  switch (result.end) {
    case End::stopped:
      throw Error("cancelled");
    case End::too_much_output:
      throw Error("printed more than " + std::to_string(most_output) + " bytes, expected one number");
    case End::signalled:
      throw Error("ended by " + signal_name(result.status));
    case End::exited:
      if (result.status != 0) throw Error("exited with status " + std::to_string(result.status));
  }
  return parse_reward(result.output);
}

// Linux counts both by thread, and a command inherits the priority of the thread that starts it.
void set_up_thread() {
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
  constexpr int yielding = 10;  // what nice(1) adds
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + yielding);
}

}  // namespace

double parse_reward(std::string_view output) {
  const std::string_view text = trim(output);
  if (text.empty()) throw Error("printed nothing");
  std::string_view number = text;
  if (number.starts_with('+') && !number.starts_with("+-")) number.remove_prefix(1);
  double value = 0;
  const char* const end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(number.data(), end, value);
  if (error == std::errc() && stop == end && std::isfinite(value)) return value;
  throw Error("expected one number, found " + shown(text));
}

RewardRunner::RewardRunner(std::string command, std::size_t at_a_time)
    : command_(std::move(command)), cancelled_(::eventfd(0, EFD_CLOEXEC)) {
  if (cancelled_.get() < 0) throw_system_error("eventfd", "", errno);
  for (std::size_t i = 0; i < std::max<std::size_t>(at_a_time, 1); ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
}

RewardRunner::~RewardRunner() {
  cancel();
}

void RewardRunner::submit(std::uint64_t key, std::string json) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({key, std::move(json)});
    ++outstanding_;
  }
  submitted_.notify_one();
}

std::vector<RewardRunner::Finished> RewardRunner::wait(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  finished_one_.wait_for(lock, at_most, [&] { return !finished_.empty() || outstanding_ == 0; });
  outstanding_ -= finished_.size();
  return std::exchange(finished_, {});
}

std::size_t RewardRunner::outstanding() const {
  const std::lock_guard lock(mutex_);
  return outstanding_;
}

void RewardRunner::cancel() {
  ::eventfd_write(cancelled_.get(), 1);
  {
    const std::lock_guard lock(mutex_);
    for (const Job& job : jobs_) finished_.push_back({job.key, {}, "reward: cancelled"});
    jobs_.clear();
  }
  finished_one_.notify_all();
}

void RewardRunner::work(const std::stop_token& stop) {
  set_up_thread();
  std::unique_lock lock(mutex_);
  while (submitted_.wait(lock, stop, [&] { return !jobs_.empty(); })) {
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    Finished finished = run(job);
    lock.lock();
    finished_.push_back(std::move(finished));
    finished_one_.notify_all();
  }
}

RewardRunner::Finished RewardRunner::run(const Job& job) const {
  try {
    const CommandResult result = run_shell_command(command_, job.json, most_output, cancelled_.get());
    return {job.key, reward_of(result), ""};
  } catch (const std::exception& error) {
    return {job.key, {}, std::string("reward: ") + error.what()};
  }
}

std::vector<std::optional<double>> group_advantages(std::span<const std::optional<double>> rewards) {
  double largest = 0;
  std::size_t count = 0;
  for (const std::optional<double>& reward : rewards) {
    if (!reward) continue;
    largest = std::max(largest, std::abs(*reward));
    ++count;
  }
  // Scaled by a power of two to [-1, 1], where no sum or square overflows; then less one of them, so that a
  // small spread around a large value is not lost when they are added up.
  int exponent = 0;
  std::frexp(largest, &exponent);
  std::vector<std::optional<double>> advantages;
  std::optional<double> pivot;
  double sum = 0;
  for (const std::optional<double>& reward : rewards) {
    std::optional<double>& difference = advantages.emplace_back();
    if (!reward) continue;
    const double scaled = std::ldexp(*reward, -exponent);
    if (!pivot) pivot = scaled;
    difference = scaled - *pivot;
    sum += *difference;
  }
  const double mean = sum / static_cast<double>(count);
  double squares = 0;
  for (std::optional<double>& difference : advantages) {
    if (!difference) continue;
    *difference -= mean;
    squares += *difference * *difference;
  }
  const double deviation = std::sqrt(squares / static_cast<double>(count - 1));
  for (std::optional<double>& advantage : advantages) {
    if (advantage) *advantage = squares == 0 ? 0 : *advantage / deviation;
  }
  return advantages;
}

}  // namespace baleen
