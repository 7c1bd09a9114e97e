#include <doctest/doctest.h>

#include <numeric>
#include <stdexcept>
#include <vector>

#include "runtime/thread_pool.h"

using baleen::ThreadPool;

TEST_CASE("every task runs exactly once, on a thread of the pool") {
  for (const std::size_t threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    for (const std::size_t tasks : {0, 1, 2, 5, 1000}) {
      std::vector<std::atomic<int>> runs(tasks);
      std::atomic<bool> foreign{false};
      pool.parallel_for(tasks, [&](std::size_t task, std::size_t thread) {
        ++runs[task];
        if (thread >= threads) foreign = true;
      });
      for (const auto& count : runs) CHECK(count == 1);
      CHECK_FALSE(foreign);
    }
  }
}

TEST_CASE("loops follow each other: what one wrote the next one reads") {
  ThreadPool pool(3);
  std::vector<std::size_t> values(64, 0);
  for (int round = 0; round < 2000; ++round)
    pool.parallel_for(values.size(), [&](std::size_t i, std::size_t) { ++values[values.size() - 1 - i]; });
  CHECK(std::accumulate(values.begin(), values.end(), std::size_t{0}) == 64 * 2000);
}

TEST_CASE("a pool that slept wakes up") {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<std::size_t> sum{0};
    pool.parallel_for(100, [&](std::size_t i, std::size_t) { sum += i; });
    CHECK(sum == 4950);
  }
}

TEST_CASE("what a body throws arrives at the caller, and the pool goes on") {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    CHECK_THROWS_WITH_AS(pool.parallel_for(100,
                                           [](std::size_t task, std::size_t) {
                                             if (task == 50) throw std::runtime_error("task 50");
                                           }),
                         "task 50", std::runtime_error);
    std::atomic<int> runs{0};
    pool.parallel_for(10, [&](std::size_t, std::size_t) { ++runs; });
    CHECK(runs == 10);
  }
}

TEST_CASE("more threads than processors, short loops, other bodies each time") {
  ThreadPool pool(9);
  std::size_t total = 0;
  for (std::size_t round = 0; round < 3000; ++round) {
    std::atomic<std::size_t> sum{0};
    pool.parallel_for(2, [&, round](std::size_t task, std::size_t) { sum += round + task; });
    total += sum == 2 * round + 1;
  }
  CHECK(total == 3000);
}

TEST_CASE("the default is at least one thread") { CHECK(baleen::default_thread_count() >= 1); }
