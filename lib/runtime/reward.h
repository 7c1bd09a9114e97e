// Rewards of samples, as reinforcement learning with verifiable rewards has them (GRPO: DeepSeekMath,
// arXiv:2402.03300; DeepSeek-R1, arXiv:2501.12948): a command of the user's judges each sample, and the
// rewards of one prompt's samples become advantages.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "checkpoint/files.h"

namespace baleen {

// The one finite number in what a command printed; white space around it is allowed. Throws Error with what
// was found instead.
double parse_reward(std::string_view output);

// Runs a command for each sample, some at a time, beside whatever else the program does. The commands run at
// a lower priority, so that those who decode keep the processors. All functions may be called from any
// thread.
class RewardRunner {
 public:
  struct Finished {
    std::uint64_t key;             // as submitted
    std::optional<double> reward;  // none: `error` says why, "reward: exited with status 3"
    std::string error;
  };

  // `command` goes to sh -c; at least one runs at a time.
  RewardRunner(std::string command, std::size_t at_a_time);
  // Cancels.
  ~RewardRunner();
  RewardRunner(const RewardRunner&) = delete;
  RewardRunner& operator=(const RewardRunner&) = delete;

  // Queues a run of the command with `json` on its standard input.
  void submit(std::uint64_t key, std::string json);

  // Those that have finished since the last call, in the order in which they did. wait() returns when there
  // is one, when nothing is outstanding, or after `at_most`.
  std::vector<Finished> poll() { return wait(std::chrono::milliseconds(0)); }
  std::vector<Finished> wait(std::chrono::milliseconds at_most);

  // How many were submitted and not handed out by poll() or wait().
  std::size_t outstanding() const;

  // Kills what runs and forgets what is queued: all of it finishes soon, with the error "reward: cancelled",
  // as does what is submitted from now on.
  void cancel();

 private:
  struct Job {
    std::uint64_t key;
    std::string json;
  };

  void work(const std::stop_token& stop);
  Finished run(const Job& job) const;

  std::string command_;
  FileDescriptor cancelled_;  // readable once cancelled
  mutable std::mutex mutex_;
  std::condition_variable_any submitted_;
  std::condition_variable finished_one_;
  std::deque<Job> jobs_;
  std::vector<Finished> finished_;
  std::size_t outstanding_ = 0;
  std::vector<std::jthread> threads_;  // last: they end before what they use
};

// GRPO's group-relative advantages: (r - mean) / standard deviation, the sample's (n - 1), over the rewards
// that there are; none where there is no reward. 0 for a group of one, or of equal rewards. Rewards are
// finite.
std::vector<std::optional<double>> group_advantages(std::span<const std::optional<double>> rewards);

}  // namespace baleen
