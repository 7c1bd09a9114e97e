#include "runtime/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "error.h"
#include "runtime/spin_wait.h"

namespace baleen {
namespace {

// A waiting thread looks this long before it sleeps: longer than the serial work between two loops of a
// decode step, short enough that an idle program is not seen in top.
constexpr auto spin_time = std::chrono::microseconds(50);

// The first line of a small kernel file; empty if it cannot be read.
std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Hyper-threads of one core share its matrix units and its caches: count each core once.
std::size_t physical_cores(const cpu_set_t& allowed) {
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string siblings =
        read_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  return cores.size();
}

// Processors that the cgroup's CPU quota pays for (cgroup v2 cpu.max: "quota period"), 0 if unlimited.
std::size_t cgroup_quota() {
  std::string group = read_line("/proc/self/cgroup");
  if (!group.starts_with("0::")) return 0;
  group.erase(0, 3);
  double least = 0;
  for (std::filesystem::path path = group;; path = path.parent_path()) {
    const std::string line = read_line("/sys/fs/cgroup" + path.string() + "/cpu.max");
    const std::size_t space = line.find(' ');
    if (space != std::string::npos && !line.starts_with("max")) {
      const double cpus = std::atof(line.c_str()) / std::max(1.0, std::atof(line.c_str() + space));
      least = least == 0 ? cpus : std::min(least, cpus);
    }
    if (!path.has_relative_path()) break;
  }
  return least == 0 ? 0 : std::max<std::size_t>(1, static_cast<std::size_t>(least + 0.5));
}

}  // namespace

std::size_t default_thread_count() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::size_t count = std::max(1u, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) count = std::max<std::size_t>(1, physical_cores(allowed));
  const std::size_t quota = cgroup_quota();
  return quota ? std::min(count, quota) : count;
}

ThreadPool::ThreadPool(std::size_t threads) {
  try {
    for (std::size_t thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error& error) {
    stop();
    throw Error("cannot start " + std::to_string(threads) + " threads: " + error.code().message() +
                "; try fewer with --threads");
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(std::size_t tasks, Call call, const void* context) {
  if (tasks <= 1 || workers_.empty()) {
    for (std::size_t task = 0; task < tasks; ++task) call(context, task, 0);
    return;
  }
  call_ = call;
  context_ = context;
  tasks_ = tasks;
  next_task_.store(0, std::memory_order_relaxed);
  inside_.store(0, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  take_tasks(0);
  std::uint32_t inside = inside_.fetch_or(closed, std::memory_order_acq_rel) | closed;
  for (; inside != closed; inside = inside_.load(std::memory_order_acquire)) wait_for_change(inside_, inside, spin_time);
  if (failed_.exchange(false)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// Joins the loop that is open, if any; its fields stay as they are until leave().
bool ThreadPool::enter() {
  std::uint32_t inside = inside_.load(std::memory_order_acquire);
  while (!(inside & closed))
    if (inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) return true;
  return false;
}

void ThreadPool::leave() {
  if (inside_.fetch_sub(1, std::memory_order_acq_rel) == closed + 1) inside_.notify_all();
}

void ThreadPool::take_tasks(std::size_t thread) noexcept {
  try {
    for (std::size_t task = next_task_.fetch_add(1, std::memory_order_relaxed); task < tasks_;
         task = next_task_.fetch_add(1, std::memory_order_relaxed))
      call_(context_, task, thread);
  } catch (...) {
    if (!failed_.exchange(true)) failure_ = std::current_exception();
    next_task_.store(tasks_, std::memory_order_relaxed);  // the others find nothing left to do
  }
}

void ThreadPool::work(std::size_t thread) {
  std::uint32_t seen = 0;
  for (;;) {
    wait_for_change(generation_, seen, spin_time);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_acquire)) return;
    if (!enter()) continue;
    take_tasks(thread);
    leave();
  }
}

}  // namespace baleen
