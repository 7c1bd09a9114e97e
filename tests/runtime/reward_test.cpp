#include "runtime/reward.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "error.h"

using namespace baleen;

namespace {

namespace fs = std::filesystem;
using Rewards = std::vector<std::optional<double>>;

struct TemporaryFolder {
  fs::path path;
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "baleen-reward-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryFolder() { fs::remove_all(path); }
};

// All that is outstanding.
std::vector<RewardRunner::Finished> finish(RewardRunner& runner) {
  std::vector<RewardRunner::Finished> all;
  while (runner.outstanding() > 0) {
    for (RewardRunner::Finished& one : runner.wait(std::chrono::hours(1))) all.push_back(std::move(one));
  }
  return all;
}

RewardRunner::Finished judge(const std::string& command, const std::string& json = "{}") {
  RewardRunner runner(command, 1);
  runner.submit(7, json);
  const std::vector<RewardRunner::Finished> all = finish(runner);
  REQUIRE(all.size() == 1);
  CHECK(all[0].key == 7);
  CHECK(all[0].reward.has_value() == all[0].error.empty());
  return all[0];
}

double reward(const std::string& command, const std::string& json = "{}") {
  const RewardRunner::Finished finished = judge(command, json);
  CHECK(finished.error == "");
  return finished.reward.value_or(std::nan(""));
}

std::string problem(const std::string& command) {
  return judge(command).error;
}

std::string parse_problem(const std::string& output) {
  try {
    return "found " + std::to_string(parse_reward(output));
  } catch (const Error& error) {
    return error.what();
  }
}

// What the command prints when it is run plainly, as a number.
double plainly(const std::string& command) {
  FILE* const pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 64> line{};
  REQUIRE(std::fgets(line.data(), line.size(), pipe) != nullptr);
  ::pclose(pipe);
  return std::strtod(line.data(), nullptr);
}

// A named pipe that is at its end once all who hold it open for writing have died.
class Witness {
 public:
  explicit Witness(const fs::path& file) : file_(file) { REQUIRE(::mkfifo(file.c_str(), 0600) == 0); }
  ~Witness() { ::close(fd_); }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  void wait_for_the_living() { fd_ = ::open(file_.c_str(), O_RDONLY); }  // returns when one has opened it
  bool wait_for_the_last() {
    char byte = 0;
    return ::read(fd_, &byte, 1) == 0;
  }

 private:
  fs::path file_;
  int fd_ = -1;
};

}  // namespace

TEST_CASE("numbers that a command may print") {
  CHECK(parse_reward("1") == 1);
  CHECK(parse_reward("  -2.5\n\n") == -2.5);
  CHECK(parse_reward("\t+1e3 \r\n") == 1000);
  CHECK(parse_reward("0") == 0);
  CHECK(parse_reward("1e308") == 1e308);
}

TEST_CASE("output that is not one number") {
  CHECK(parse_problem("") == "printed nothing");
  CHECK(parse_problem(" \n\t\n") == "printed nothing");
  CHECK(parse_problem("abc\n") == "expected one number, found 'abc'");
  CHECK(parse_problem("1 2") == "expected one number, found '1 2'");
  CHECK(parse_problem("1\n2\n") == "expected one number, found '1 2'");
  CHECK(parse_problem("1,5") == "expected one number, found '1,5'");
  CHECK(parse_problem("0x10") == "expected one number, found '0x10'");
  for (const char* const text : {"nan", "inf", "-inf", "1e999", "+-1", "+", "-", "1.0.0", "True"}) {
    CHECK(parse_problem(text) == "expected one number, found '" + std::string(text) + "'");
  }
  CHECK(parse_problem(std::string(100, 'a')) ==
        "expected one number, found '" + std::string(40, 'a') + "...'");
  CHECK(parse_problem(std::string(39, 'a') + "éé") ==
        "expected one number, found '" + std::string(39, 'a') + "...'");
  CHECK(parse_problem(std::string("1\0", 2)) == "expected one number, found '1 '");
}

TEST_CASE("the command reads the sample and prints a number") {
  CHECK(reward("echo 0.5") == 0.5);
  CHECK(reward("tr -dc 0-9", R"({"text": "42"})") == 42);
  CHECK(reward("-no-such-option 2>/dev/null; echo 2") == 2);
  CHECK(reward("wc -c", "") == 0);
}

TEST_CASE("samples of any size, read or not") {
  const std::string large(3U << 20U, 'x');
  CHECK(reward("wc -c", large) == static_cast<double>(large.size()));
  CHECK(reward("printf '%4000s' 3; cat >/dev/null", large) == 3);
  CHECK(reward("echo 1", large) == 1);
  CHECK(reward("exec <&-; echo 1", large) == 1);
  CHECK(reward("head -c 10 | wc -c", large) == 10);
}

TEST_CASE("commands that fail, in words") {
  CHECK(problem("exit 3") == "reward: exited with status 3");
  CHECK(problem("echo 1; exit 1") == "reward: exited with status 1");
  CHECK(problem("no-such-command 2>/dev/null") == "reward: exited with status 127");
  CHECK(problem("kill -KILL $$") == "reward: ended by SIGKILL");
  CHECK(problem(":") == "reward: printed nothing");
  CHECK(problem("exec >&-") == "reward: printed nothing");
  CHECK(problem("echo abc") == "reward: expected one number, found 'abc'");
  CHECK(problem("printf '%4097s' 1") == "reward: printed more than 4096 bytes, expected one number");
  CHECK(problem("yes") == "reward: printed more than 4096 bytes, expected one number");
  CHECK(reward("printf '%4096s' 1") == 1);
  CHECK(problem("# " + std::string(1U << 20U, 'x')) == "reward: /bin/sh: Argument list too long");
}

TEST_CASE("the command finds the world as any other does") {
  CHECK(problem("kill -PIPE $$; echo 1") == "reward: ended by SIGPIPE");
  CHECK(reward("grep -c '^SigBlk:.*[1-9a-f]' /proc/self/status || true") ==
        plainly("grep -c '^SigBlk:.*[1-9a-f]' /proc/self/status"));
  CHECK(reward("nice") == std::min(plainly("nice") + 10, 19.0));
  CHECK(getpriority(PRIO_PROCESS, 0) == plainly("nice"));
  // No pipe of another one's, though eight are started at once.
  const double open_files = plainly("ls /proc/self/fd | wc -l");
  RewardRunner runner("ls /proc/self/fd | wc -l", 8);
  for (std::uint64_t key = 0; key < 64; ++key) runner.submit(key, "{}");
  for (const RewardRunner::Finished& finished : finish(runner)) CHECK(finished.reward == open_files);
}

TEST_CASE("SIGPIPE ignored outside does not reach the command") {
  ::signal(SIGPIPE, SIG_IGN);
  CHECK(problem("kill -PIPE $$; echo 1") == "reward: ended by SIGPIPE");
  ::signal(SIGPIPE, SIG_DFL);
}

TEST_CASE("what a command leaves in the background is not waited for") {
  const TemporaryFolder folder;
  // Holds the standard output open until the folder is gone.
  CHECK(reward("(while [ -e " + folder.path.string() + " ]; do sleep 0.01; done) & echo 4") == 4);
}

TEST_CASE("several run at a time, and never more") {
  const TemporaryFolder folder;
  const std::string running = (folder.path / "running.").string();
  {
    // Each waits until four are there.
    RewardRunner runner("touch " + running + "$$; until [ $(ls " + running +
                            "* | wc -l) -ge 4 ]; do sleep 0.01; done; tr -dc 0-9",
                        4);
    for (std::uint64_t key = 0; key < 4; ++key) runner.submit(key, "{\"n\": " + std::to_string(key) + "}");
    std::map<std::uint64_t, double> rewards;
    for (const RewardRunner::Finished& finished : finish(runner)) rewards[finished.key] = *finished.reward;
    CHECK(rewards == std::map<std::uint64_t, double>{{0, 0}, {1, 1}, {2, 2}, {3, 3}});
  }
  const std::string now = (folder.path / "now.").string();
  RewardRunner runner(
      "touch " + now + "$$; sleep 0.01; ls " + now + "* 2>/dev/null | wc -l; rm " + now + "$$", 2);
  for (std::uint64_t key = 0; key < 20; ++key) runner.submit(key, "{}");
  const std::vector<RewardRunner::Finished> all = finish(runner);
  CHECK(all.size() == 20);
  for (const RewardRunner::Finished& finished : all) CHECK(finished.reward.value_or(9) <= 2);
}

TEST_CASE("waiting for what is not there") {
  RewardRunner runner("echo 1", 1);
  CHECK(runner.wait(std::chrono::hours(1)).empty());
  CHECK(runner.poll().empty());
  CHECK(runner.outstanding() == 0);
}

TEST_CASE("cancelling kills what runs, with all that it has started, and what is queued") {
  const TemporaryFolder folder;
  Witness witness(folder.path / "witness");
  RewardRunner runner("sleep 1000 >" + (folder.path / "witness").string() + " & sleep 1000 | cat", 1);
  for (std::uint64_t key = 0; key < 3; ++key) runner.submit(key, std::string(1U << 20U, 'x'));
  witness.wait_for_the_living();
  CHECK(runner.poll().empty());
  CHECK(runner.outstanding() == 3);
  runner.cancel();
  runner.submit(3, "{}");
  const std::vector<RewardRunner::Finished> all = finish(runner);
  CHECK(all.size() == 4);
  for (const RewardRunner::Finished& finished : all) {
    CHECK_FALSE(finished.reward.has_value());
    CHECK(finished.error == "reward: cancelled");
  }
  CHECK(witness.wait_for_the_last());
}

TEST_CASE("the end of a runner is the end of its commands") {
  const TemporaryFolder folder;
  Witness witness(folder.path / "witness");
  {
    RewardRunner runner("sleep 1000 >" + (folder.path / "witness").string(), 2);
    for (std::uint64_t key = 0; key < 5; ++key) runner.submit(key, "{}");
    witness.wait_for_the_living();
  }
  CHECK(witness.wait_for_the_last());
}

TEST_CASE("advantages within a group") {
  const double root_half = std::sqrt(0.5);
  const auto advantages = [](const Rewards& rewards) { return group_advantages(rewards); };
  CHECK(advantages({}) == Rewards{});
  CHECK(advantages({3}) == Rewards{0});
  CHECK(advantages({{}, 3, {}}) == Rewards{{}, 0, {}});
  CHECK(advantages({{}, {}}) == Rewards{{}, {}});
  CHECK(advantages({0, 0, 0}) == Rewards{0, 0, 0});
  const Rewards two = advantages({{}, 1, 0});
  CHECK_FALSE(two[0].has_value());
  CHECK(*two[1] == doctest::Approx(root_half));
  CHECK(*two[2] == doctest::Approx(-root_half));
  // 1 to 4: mean 2.5, sum of squares 5, variance 5 / 3.
  const Rewards four = advantages({1, 2, 3, 4});
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(*four[i] == doctest::Approx((static_cast<double>(i) - 1.5) / std::sqrt(5.0 / 3.0)));
  }
}

TEST_CASE("advantages of rewards that are extreme") {
  const double huge = std::numeric_limits<double>::max();
  const double tiny = std::numeric_limits<double>::denorm_min();
  const double next = std::nextafter(1.0, 2.0);
  const Rewards halves = {-std::sqrt(0.5), std::sqrt(0.5)};
  for (const double value : {huge, -huge, 0.1, 1e15 + 0.125, tiny}) {
    CHECK(group_advantages(Rewards(7, value)) == Rewards(7, 0.0));
  }
  for (const Rewards& pair : {Rewards{-huge, huge}, Rewards{0, huge}, Rewards{0, tiny}, Rewards{1, next},
                              Rewards{-next, -1}, Rewards{1e15, 1e15 + 0.125}}) {
    const Rewards found = group_advantages(pair);
    CHECK(*found[0] == doctest::Approx(*halves[0]).epsilon(1e-15));
    CHECK(*found[1] == doctest::Approx(*halves[1]).epsilon(1e-15));
  }
}

TEST_CASE("advantages as defined, wherever the rewards lie") {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform_reward(-1, 1);
  for (int round = 0; round < 500; ++round) {
    const double offset = std::array{0.0, 1.0, 1e6}[random() % 3];
    Rewards rewards(2 + random() % 30);
    for (std::optional<double>& reward : rewards) {
      if (random() % 5 != 0) reward = offset + (random() % 2 == 0 ? uniform_reward(random) : 1);
    }
    rewards[0] = offset;
    rewards[1] = offset + 1;
    // The definition in long double.
    long double sum = 0;
    long double count = 0;
    for (const auto& reward : rewards) sum += reward.value_or(0), count += reward ? 1 : 0;
    long double squares = 0;
    for (const auto& reward : rewards)
      squares += reward ? (*reward - sum / count) * (*reward - sum / count) : 0;
    const Rewards found = group_advantages(rewards);
    REQUIRE(found.size() == rewards.size());
    for (std::size_t i = 0; i < rewards.size(); ++i) {
      REQUIRE(found[i].has_value() == rewards[i].has_value());
      if (!found[i]) continue;
      const auto expected =
          static_cast<double>((*rewards[i] - sum / count) / std::sqrt(squares / (count - 1)));
      CHECK(std::abs(*found[i] - expected) <= 1e-13);
    }
  }
}
