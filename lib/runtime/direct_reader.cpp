#include "runtime/direct_reader.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "clock.h"
#include "error.h"
#include "runtime/direct_file.h"
#include "runtime/read_ring.h"
#include "runtime/spin_wait.h"

namespace baleen {
namespace {

// How long a waiting thread looks before it sleeps. A piece takes the disk hundreds of microseconds, and the
// thread that takes it from the kernel may need this one's processor.
constexpr std::chrono::microseconds spin_time{20};
// Attempts that bring nothing, one after another, before a read counts as failed.
constexpr unsigned most_idle_attempts = 100;
// Milliseconds for which the ring may refuse everything before it is given up.
constexpr unsigned most_refusals = 1000;

// What one request may ask for: its length is a 32-bit number.
constexpr std::size_t most_bytes = std::size_t{1} << 30;

// A part of a read that is given to the kernel as one request. Address and offset are aligned.
struct Piece {
  std::size_t file = 0;
  std::uint64_t offset = 0;
  std::byte* memory = nullptr;
  std::size_t bytes = 0;
  std::size_t wanted = 0;  // of them: the file may end behind those
  std::size_t done = 0;    // have arrived; whole blocks if the file is read directly
  unsigned idle = 0;       // attempts since something arrived
  bool refused = false;    // the system said once that it does not read this way
};

}  // namespace

std::string_view to_string(ReadEngine engine) {
  constexpr std::string_view names[] = {"automatic", "io_uring", "pread"};
  return names[static_cast<std::size_t>(engine)];
}

// All but the status is guarded by the reader's mutex; the error may be read once the status says failed.
struct ReadBatch::State {
  static constexpr auto pending = static_cast<std::uint32_t>(ReadStatus::pending);

  std::atomic<std::uint32_t> status{pending};
  Urgency urgency = Urgency::needed;
  std::vector<Piece> pieces;
  std::size_t next = 0;       // pieces before this one have been started
  std::size_t under_way = 0;  // pieces that the kernel may be writing to
  std::size_t missing = 0;    // pieces that have not arrived
  bool cancelled = false;
  std::optional<ReadError> error;

  bool given_up() const { return cancelled || error; }
  bool all_started() const { return next == pieces.size(); }
};

ReadStatus ReadBatch::status() const {
  return static_cast<ReadStatus>(state_->status.load(std::memory_order_acquire));
}

class DirectReader::Core {
 public:
  using State = ReadBatch::State;
  using StatePointer = std::shared_ptr<State>;

  Core(std::span<const std::filesystem::path> files, DirectReaderOptions options);
  ~Core();

  std::size_t alignment() const { return alignment_; }
  ReadEngine engine() const { return ring_ ? ReadEngine::io_uring : ReadEngine::pread; }
  bool direct() const {
    return std::all_of(files_.begin(), files_.end(), [](const DirectFile& file) { return file.direct(); });
  }

  StatePointer submit(const ReadPlan&, std::span<std::byte> memory, Urgency);
  void promote(const StatePointer&);
  bool cancel(State&);
  std::uint32_t completions() const { return completions_.load(std::memory_order_acquire); }
  void wait_for_completion(std::uint32_t seen) const { wait_for_change(completions_, seen, spin_time); }
  Totals totals() const;

 private:
  struct Task {
    StatePointer batch;
    Piece piece;

    std::span<std::byte> memory() const { return {piece.memory + piece.done, piece.bytes - piece.done}; }
    std::uint64_t offset() const { return piece.offset + piece.done; }
  };

  // What the ring has been given, by number.
  struct RingTasks {
    std::vector<std::optional<Task>> tasks;
    std::vector<std::uint32_t> free;
    std::vector<ReadRing::Finished> finished;
  };

  std::vector<Piece> split(const ReadPlan&, std::byte* memory) const;

  // Under the mutex.
  bool may_start(Urgency, std::size_t bytes) const;
  bool take(Task&);
  void start(const Task&);
  void stop(const Task&);
  void arrived(Task&, ssize_t result);
  void again(Task&);
  void fail(State&, const Piece&, std::size_t at, const std::string& what);
  void give_up(State&);
  void settle_if_idle(State&);
  void notify();

  // The reader's own threads.
  void serve_ring();
  bool submit_ring(unsigned& refusals);
  void reap_ring(RingTasks&);
  void leave_ring(RingTasks&);
  void serve_pread();
  void finish(Task, ssize_t result);

  const DirectReaderOptions options_;
  std::deque<DirectFile> files_;
  std::size_t alignment_ = 1;
  std::size_t piece_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;     // for the pread engine: there may be something to take
  std::deque<StatePointer> queues_[2];  // by urgency: batches with pieces that are not started
  std::deque<Task> unfinished_;         // pieces of which a part arrived
  std::size_t pieces_under_way_ = 0;
  std::size_t bytes_under_way_ = 0;
  Clock::time_point busy_since_;
  Totals totals_;
  bool stopping_ = false;
  bool ring_in_use_ = false;
  bool ring_asleep_ = false;

  std::atomic<std::uint32_t> completions_{0};  // of batches, for those who wait for any of several
  std::unique_ptr<ReadRing> ring_;
  std::vector<std::thread> threads_;
};

DirectReader::Core::Core(std::span<const std::filesystem::path> files, DirectReaderOptions options)
    : options_(std::move(options)) {
  for (const std::filesystem::path& path : files) {
    files_.emplace_back(path, options_.direct);
    alignment_ = std::max(alignment_, files_.back().alignment());
  }
  piece_ = std::max(alignment_, std::min(options_.piece, most_bytes) / alignment_ * alignment_);
  if (options_.engine != ReadEngine::pread) ring_ = ReadRing::open(std::max(1U, options_.queue));
  if (!ring_ && options_.engine == ReadEngine::io_uring)
    throw Error("io_uring: the system does not allow it");
  ring_in_use_ = ring_ != nullptr;
  const std::size_t threads = ring_ ? 1 : std::max(1U, options_.threads);
  for (std::size_t i = 0; i < threads; ++i) {
    try {
      threads_.emplace_back([this] { ring_ ? serve_ring() : serve_pread(); });
    } catch (const std::system_error& error) {
      if (i > 0) break;  // fewer do it too
      throw Error("cannot start a thread that reads: " + error.code().message());
    }
  }
}

DirectReader::Core::~Core() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& queue : queues_)
      for (const StatePointer& batch : std::exchange(queue, {})) give_up(*batch);
    for (const Task& task : std::exchange(unfinished_, {})) give_up(*task.batch);
    changed_.notify_all();
    if (ring_in_use_) ring_->wake();
  }
  for (std::thread& thread : threads_) thread.join();
}

std::vector<Piece> DirectReader::Core::split(const ReadPlan& plan, std::byte* memory) const {
  std::vector<Piece> pieces;
  for (const ReadPlan::Read& read : plan.reads) {
    for (std::size_t begin = 0; begin < read.bytes; begin += piece_) {
      const std::size_t bytes = std::min(piece_, read.bytes - begin);
      pieces.push_back({.file = read.file,
                        .offset = read.offset + begin,
                        .memory = memory + read.at + begin,
                        .bytes = bytes,
                        .wanted = std::min(bytes, read.wanted - begin)});
    }
  }
  return pieces;
}

DirectReader::Core::StatePointer DirectReader::Core::submit(const ReadPlan& plan, std::span<std::byte> memory,
                                                            Urgency urgency) {
  if (memory.size() < plan.room || reinterpret_cast<std::uintptr_t>(memory.data()) % alignment_ != 0)
    throw std::invalid_argument("DirectReader::submit: memory that is too small or not aligned");
  for (const ReadPlan::Read& read : plan.reads)
    if (read.file >= files_.size() || read.offset % alignment_ != 0 || read.bytes % alignment_ != 0 ||
        read.at % alignment_ != 0 || read.wanted > read.bytes || read.bytes > memory.size() ||
        read.at > memory.size() - read.bytes)
      throw std::invalid_argument("DirectReader::submit: a plan that was made for other files");
  auto batch = std::make_shared<State>();
  batch->urgency = urgency;
  batch->pieces = split(plan, memory.data());
  batch->missing = batch->pieces.size();
  const std::lock_guard lock(mutex_);
  if (batch->pieces.empty()) {
    settle_if_idle(*batch);
  } else {
    queues_[static_cast<std::size_t>(urgency)].push_back(batch);
    notify();
  }
  return batch;
}

void DirectReader::Core::promote(const StatePointer& batch) {
  const std::lock_guard lock(mutex_);
  if (batch->urgency == Urgency::needed) return;
  batch->urgency = Urgency::needed;
  auto& [needed, ahead] = queues_;
  const auto place = std::find(ahead.begin(), ahead.end(), batch);
  if (place == ahead.end()) return;
  ahead.erase(place);
  needed.push_back(batch);
  notify();
}

bool DirectReader::Core::cancel(State& batch) {
  const std::lock_guard lock(mutex_);
  give_up(batch);
  return batch.status.load(std::memory_order_relaxed) != State::pending;
}

DirectReader::Totals DirectReader::Core::totals() const {
  const std::lock_guard lock(mutex_);
  Totals totals = totals_;
  if (pieces_under_way_ > 0) totals.seconds += seconds_since(busy_since_);
  return totals;
}

bool DirectReader::Core::may_start(Urgency urgency, std::size_t bytes) const {
  const std::size_t limit = urgency == Urgency::needed ? options_.in_flight : options_.ahead_in_flight;
  return pieces_under_way_ == 0 || bytes_under_way_ + bytes <= limit;
}

// Starts the piece that is to be read next; false if there is none, or the disk has enough to do.
bool DirectReader::Core::take(Task& task) {
  while (!unfinished_.empty()) {
    task = std::move(unfinished_.front());
    unfinished_.pop_front();
    if (task.batch->given_up()) continue;
    start(task);
    return true;
  }
  for (auto& queue : queues_) {
    while (!queue.empty() && queue.front()->all_started()) queue.pop_front();
    if (queue.empty()) continue;
    State& batch = *queue.front();
    const Piece& piece = batch.pieces[batch.next];
    if (!may_start(batch.urgency, piece.bytes)) return false;
    task = {queue.front(), piece};
    ++batch.next;
    start(task);
    return true;
  }
  return false;
}

void DirectReader::Core::start(const Task& task) {
  ++task.batch->under_way;
  bytes_under_way_ += task.memory().size();
  if (pieces_under_way_++ == 0) busy_since_ = Clock::now();
}

void DirectReader::Core::stop(const Task& task) {
  --task.batch->under_way;
  bytes_under_way_ -= task.memory().size();
  if (--pieces_under_way_ == 0) totals_.seconds += seconds_since(busy_since_);
}

// What an attempt came to. The caller settles the batch.
void DirectReader::Core::arrived(Task& task, ssize_t result) {
  State& batch = *task.batch;
  Piece& piece = task.piece;
  if (batch.given_up()) return;
  DirectFile& file = files_[piece.file];
  if (result == -EINVAL && !piece.refused) {
    // Some file systems open files for direct reads and refuse these later.
    piece.refused = true;
    file.give_up_direct();
    return again(task);
  }
  if ((result == -EINTR || result == -EAGAIN) && ++piece.idle < most_idle_attempts) return again(task);
  if (result < 0)
    return fail(batch, piece, piece.done, std::generic_category().message(static_cast<int>(-result)));
  const std::size_t reached = piece.done + static_cast<std::size_t>(result);
  if (reached >= piece.wanted) {
    --batch.missing;
    return;
  }
  const std::string missing = "expected " + std::to_string(piece.wanted - reached) + " more bytes";
  if (result == 0 || file.size() < piece.offset + piece.wanted)
    return fail(batch, piece, reached, "the file ends, " + missing);
  // A direct read goes on at the beginning of the block that it stopped in.
  const std::size_t done = file.direct() ? reached / alignment_ * alignment_ : reached;
  piece.idle = done > piece.done ? 0 : piece.idle + 1;
  if (piece.idle >= most_idle_attempts) return fail(batch, piece, reached, "reads stop here, " + missing);
  piece.done = done;
  again(task);
}

void DirectReader::Core::again(Task& task) {
  if (stopping_)
    give_up(*task.batch);
  else
    unfinished_.push_back(std::move(task));
}

void DirectReader::Core::fail(State& batch, const Piece& piece, std::size_t at, const std::string& what) {
  batch.error.emplace(files_[piece.file].path(), piece.file, piece.offset + at, what);
  batch.next = batch.pieces.size();
}

// What was not started will not be.
void DirectReader::Core::give_up(State& batch) {
  if (batch.status.load(std::memory_order_relaxed) != State::pending) return;
  batch.cancelled = true;
  batch.next = batch.pieces.size();
  settle_if_idle(batch);
}

void DirectReader::Core::settle_if_idle(State& batch) {
  if (batch.status.load(std::memory_order_relaxed) != State::pending) return;
  if (batch.under_way > 0 || (batch.missing > 0 && !batch.given_up())) return;
  const ReadStatus status = batch.error          ? ReadStatus::failed
                            : batch.missing == 0 ? ReadStatus::ready
                                                 : ReadStatus::cancelled;
  batch.status.store(static_cast<std::uint32_t>(status), std::memory_order_release);
  batch.status.notify_all();
  completions_.fetch_add(1, std::memory_order_release);
  completions_.notify_all();
}

// Something was queued. A ring that has all that it may have looks by itself when some of it has arrived.
void DirectReader::Core::notify() {
  if (!ring_in_use_) {
    changed_.notify_one();
  } else if (ring_asleep_ && may_start(Urgency::needed, piece_)) {
    ring_asleep_ = false;
    ring_->wake();
  }
}

void DirectReader::Core::finish(Task task, ssize_t result) {
  const ReadAttempt attempt{task.piece.file, task.offset(), task.memory()};
  if (options_.spoil) result = options_.spoil(attempt, result);
  files_[attempt.file].was_read(attempt.offset, attempt.memory.size());
  const std::lock_guard lock(mutex_);
  stop(task);
  totals_.bytes += static_cast<std::uint64_t>(std::max<ssize_t>(result, 0));
  const StatePointer batch = task.batch;
  arrived(task, result);
  settle_if_idle(*batch);
}

void DirectReader::Core::serve_pread() {
  std::unique_lock lock(mutex_);
  while (true) {
    Task task;
    while (!take(task)) {
      if (stopping_) return;
      changed_.wait(lock);
    }
    changed_.notify_one();  // there may be more
    lock.unlock();
    const std::span<std::byte> memory = task.memory();
    const ssize_t count = ::pread(files_[task.piece.file].fd(), memory.data(), memory.size(),
                                  static_cast<off_t>(task.offset()));
    finish(std::move(task), count < 0 ? -errno : count);
    lock.lock();
  }
}

void DirectReader::Core::serve_ring() {
  RingTasks ring;
  ring.tasks.resize(std::max(1U, options_.queue));
  for (std::size_t i = ring.tasks.size(); i-- > 0;) ring.free.push_back(static_cast<std::uint32_t>(i));
  unsigned refusals = 0;
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      Task task;
      while (!ring.free.empty() && take(task)) {
        const std::uint32_t number = ring.free.back();
        ring.free.pop_back();
        ring_->prepare(number, files_[task.piece.file].fd(), task.memory(), task.offset());
        ring.tasks[number] = std::move(task);
      }
      if (stopping_ && pieces_under_way_ == 0) return;
      ring_asleep_ = true;
    }
    const bool usable = submit_ring(refusals);
    reap_ring(ring);
    if (!usable) break;
  }
  leave_ring(ring);
  serve_pread();
}

// Sleeps until there is something to reap or to start. Returns whether the ring is of use still.
bool DirectReader::Core::submit_ring(unsigned& refusals) {
  int error = options_.refuse ? options_.refuse() : 0;
  if (error == 0) error = ring_->submit(true);
  if (error == 0) {
    refusals = 0;
    return true;
  }
  // Out of memory for requests, or completions wait to be taken: what was prepared is offered again.
  if ((error != EAGAIN && error != EBUSY) || ++refusals >= most_refusals) return false;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

void DirectReader::Core::reap_ring(RingTasks& ring) {
  ring_->reap(ring.finished);
  for (const ReadRing::Finished& read : ring.finished) {
    ring.free.push_back(read.number);
    finish(*std::exchange(ring.tasks[read.number], std::nullopt), read.result);
  }
  ring.finished.clear();
}

// A ring that takes nothing any more: what it has not taken is read by pread, after the rest has come.
void DirectReader::Core::leave_ring(RingTasks& ring) {
  {
    const std::lock_guard lock(mutex_);
    ring_in_use_ = false;
    for (const std::uint32_t number : ring_->take_back()) {
      Task task = *std::exchange(ring.tasks[number], std::nullopt);
      const StatePointer batch = task.batch;
      stop(task);
      again(task);
      settle_if_idle(*batch);
    }
  }
  while (
      std::any_of(ring.tasks.begin(), ring.tasks.end(), [](const auto& task) { return task.has_value(); })) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    reap_ring(ring);
  }
}

DirectReader::DirectReader(std::span<const std::filesystem::path> files, DirectReaderOptions options)
    : core_(std::make_unique<Core>(files, std::move(options))) {}

DirectReader::~DirectReader() = default;

std::size_t DirectReader::alignment() const {
  return core_->alignment();
}
ReadEngine DirectReader::engine() const {
  return core_->engine();
}
bool DirectReader::direct() const {
  return core_->direct();
}
DirectReader::Totals DirectReader::totals() const {
  return core_->totals();
}

ReadPlan DirectReader::plan(std::span<const FileRange> ranges) const {
  return plan_reads(ranges, core_->alignment());
}

ReadBatch DirectReader::submit(const ReadPlan& plan, std::span<std::byte> memory, Urgency urgency) {
  ReadBatch batch;
  batch.state_ = core_->submit(plan, memory, urgency);
  return batch;
}

void DirectReader::promote(const ReadBatch& batch) {
  if (batch.status() == ReadStatus::pending) core_->promote(batch.state_);
}

bool DirectReader::cancel(const ReadBatch& batch) {
  return core_->cancel(*batch.state_);
}

void DirectReader::wait(const ReadBatch& batch) {
  promote(batch);
  const ReadStatus status = settle(batch);
  if (status == ReadStatus::failed) throw ReadError(*batch.state_->error);
  if (status == ReadStatus::cancelled) throw Error("a read that was cancelled");
}

ReadStatus DirectReader::settle(const ReadBatch& batch) {
  // Until it settles, a status has but one value.
  wait_for_change(batch.state_->status, ReadBatch::State::pending, spin_time);
  return batch.status();
}

std::size_t DirectReader::wait_any(std::span<const ReadBatch> batches) {
  if (batches.empty()) throw std::invalid_argument("DirectReader::wait_any: no batch");
  for (const ReadBatch& batch : batches) promote(batch);
  while (true) {
    const std::uint32_t seen = core_->completions();
    const auto settled = std::find_if(batches.begin(), batches.end(), [](const ReadBatch& batch) {
      return batch.status() != ReadStatus::pending;
    });
    if (settled != batches.end()) return static_cast<std::size_t>(settled - batches.begin());
    core_->wait_for_completion(seen);
  }
}

}  // namespace baleen
