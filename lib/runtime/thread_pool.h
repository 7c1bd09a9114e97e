// A fixed set of threads that run one parallel loop at a time. Between loops a thread spins for some
// microseconds, then sleeps, so that an idle program takes no processor.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace baleen {

// Physical cores within the affinity mask and the cgroup's quota, at least 1.
std::size_t default_thread_count();

class ThreadPool {
 public:
  // `threads` includes the caller of parallel_for: threads - 1 are started. Throws Error if the system
  // refuses one.
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const { return workers_.size() + 1; }

  // Calls body(task, thread) once for every task in [0, tasks), each on any thread in [0, size()), and
  // returns when all are done. Tasks are handed out in ascending order as threads become free, so uneven
  // tasks balance. What a body throws ends the loop early and is thrown here, the first of several. The body
  // must not call parallel_for.
  template <typename Body>
  void parallel_for(std::size_t tasks, const Body& body) {
    run(tasks, [](const void* context, std::size_t task, std::size_t thread) {
      (*static_cast<const Body*>(context))(task, thread);
    }, &body);
  }

 private:
  using Call = void (*)(const void* context, std::size_t task, std::size_t thread);

  void run(std::size_t tasks, Call call, const void* context);
  void work(std::size_t thread);
  bool enter();
  void leave();
  void take_tasks(std::size_t thread) noexcept;
  void stop();

  Call call_ = nullptr;
  const void* context_ = nullptr;
  std::size_t tasks_ = 0;
  alignas(64) std::atomic<std::size_t> next_task_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};  // raised once for every loop
  // Workers inside the loop, and `closed` once no more may enter. A worker that the system wakes too late
  // finds the loop closed and is not waited for: an oversubscribed machine slows a loop down no more than by
  // the threads it lacks.
  alignas(64) std::atomic<std::uint32_t> inside_{closed};
  static constexpr std::uint32_t closed = std::uint32_t{1} << 31;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // what the body threw first; set by whoever set failed_
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace baleen
