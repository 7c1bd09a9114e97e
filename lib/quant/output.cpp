#include "quant/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <stdexcept>
#include <utility>

#include "error.h"
#include "report/units.h"

namespace baleen {
namespace {

namespace fs = std::filesystem;

// Bytes after which, and time after which, what is finished goes to the disk: that much work an interruption
// costs at most.
constexpr std::uint64_t flush_bytes = std::uint64_t{128} << 20;
constexpr std::chrono::seconds flush_time{2};
// What a tensor's bytes are gathered to before they are written.
constexpr std::size_t write_bytes = std::size_t{1} << 20;

fs::path partial_of(fs::path out) {
  return out += ".partial";
}

// A folder of weights and a config.json, as quantize and downloads leave them; what else a folder may be is
// nothing that a program should delete.
bool is_model(const fs::path& dir) {
  std::error_code error;
  bool weights = false;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    if (it->is_directory(error) && !it->is_symlink(error) &&
        it->path().filename() != "additional_chat_templates")
      return false;
    weights = weights || it->path().extension() == ".safetensors";
  }
  return !error && weights && path_exists(dir / "config.json");
}

// Whether a file of the source lies in the folder: the source may consist of links into it.
bool holds_source(const fs::path& dir, const fs::path& source) {
  std::error_code error;
  const fs::path folder = fs::canonical(dir, error);
  if (error) return false;
  for (fs::directory_iterator it(source, error), end; !error && it != end; it.increment(error)) {
    std::error_code dangling;
    if (fs::canonical(it->path(), dangling).parent_path() == folder) return true;
  }
  return false;
}

// Nothing that is done to OUT may touch the source.
void check_apart(const fs::path& out, const fs::path& source) {
  std::error_code error;
  if (fs::equivalent(out, source, error))
    throw UsageError(out.string() + ": this is the model to be quantized, expected another folder");
  const fs::path inside = fs::canonical(source, error);
  for (fs::path folder = fs::canonical(folder_of(out), error); !error; folder = folder.parent_path()) {
    if (folder == inside)
      throw UsageError(out.string() + ": lies in the model to be quantized, expected a folder beside it");
    if (folder == folder.parent_path()) break;
  }
  for (const fs::path& folder : {out, partial_of(out)})
    if (holds_source(folder, source))
      throw UsageError(folder.string() +
                       ": holds files of the model to be quantized, expected another folder");
}

void check_target(const fs::path& out, bool force) {
  std::error_code error;
  if (!path_exists(out)) return;
  if (!fs::is_directory(out, error)) throw Error(out.string() + ": exists and is no folder");
  struct stat status {};
  struct stat parent {};
  if (::stat(out.c_str(), &status) == 0 && ::stat(folder_of(out).c_str(), &parent) == 0 &&
      status.st_dev != parent.st_dev)
    throw Error(out.string() + ": another disk begins there, expected a folder in it");
  if (fs::is_empty(out, error)) return;
  if (!force) throw Error(out.string() + ": exists already; --force replaces it");
  if (!is_model(out))
    throw Error(out.string() + ": exists and is no folder of a model alone; --force replaces nothing else");
}

FileDescriptor open_file(const fs::path& path, int flags) {
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0666));
  if (file.get() < 0) throw_system_error(path, "", errno);
  return file;
}

// Some file systems have nothing to flush.
void sync_file(int fd, const fs::path& path) {
  if (::fdatasync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) throw_system_error(path, "", errno);
}

void sync_folder(const fs::path& path) {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) (void)::fsync(folder.get());
}

void write_at(int fd, const fs::path& path, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(path, "", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

void remove_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw_system_error(path, "cannot be removed", error.value());
}

// Swaps two names, or gives `to` up if the file system cannot.
void replace_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;  // nothing there, or an empty folder
  if (errno != ENOTEMPTY && errno != EEXIST) throw_system_error(to, "", errno);
  // Should it end up under the other name and remain, because of a kill, its empty journal says that nothing
  // is lost with it.
  const FileDescriptor mark(
      ::open((to / journal_name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0)
    return remove_folder(from);
  fs::path old = to;
  old += ".old";
  if (::rename(to.c_str(), old.c_str()) != 0) throw_system_error(old, "", errno);
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error(to, "", errno);
  remove_folder(old);
}

// The journal's first line; nothing if it has none, because the run was killed before it had begun. Throws
// Error for a file that is no journal.
std::optional<JournalHeader> header_of(const LineFile& journal, const fs::path& path) {
  std::optional<std::string> first;
  journal.read_lines([&](std::string_view line) {
    if (!first) first = line;
  });
  if (!first) return {};
  try {
    return parse_journal_header(*first);
  } catch (const Error& error) {
    throw FormatError(path.string(), "line 1: " + std::string(error.what()) + "; not the journal of a run");
  }
}

}  // namespace

std::string output_identity(const Plan& plan, const OutputOptions& options) {
  Checksum layout;
  for (const PlannedShard& shard : plan.shards) layout.add_text(shard.name).add_text(shard.header);
  for (const PlannedModule& module : plan.modules) layout.add_number(static_cast<std::uint64_t>(module.work));
  return journal_header({options.settings, options.source, layout.value()});
}

fs::path output_folder(const fs::path& out) {
  if (out.empty()) throw UsageError("'': expected a folder to write to");
  const fs::path path = out.has_filename() ? out : out.parent_path();
  std::error_code error;
  if (path.filename() != "." && path.filename() != ".." && !fs::is_symlink(path, error)) return path;
  const fs::path real = fs::canonical(path, error);
  if (error) throw_system_error(path, "", error.value());
  return real;
}

void tidy_output(const fs::path& out) {
  ::unlink((out / journal_name).c_str());
  const fs::path partial = partial_of(out);
  if (!path_exists(partial / journal_name)) return;
  const LineFile journal(partial / journal_name, LineFile::Mode::resume);
  if (!header_of(journal, partial / journal_name)) remove_folder(partial);
}

Output::Output(const fs::path& out, const Source& source, const Plan& plan, const OutputOptions& options)
    : out_(output_folder(out)),
      partial_(partial_of(out_)),
      plan_(plan),
      options_(options),
      identity_(output_identity(plan, options)),
      results_(plan.modules.size()) {
  check_apart(out_, source.dir());
  check_target(out_, options.force);
  if (!path_exists(partial_))
    create();
  else if (options_.resume)
    resume();
  else if (options_.force)
    throw_away(), create();
  else
    throw Error(partial_.string() +
                (path_exists(partial_ / journal_name)
                     ? ": unfinished work of an earlier run; --resume goes on with it, --force begins anew"
                     : ": exists, and the work would be done there; expected another name for OUT"));
  thread_ = std::thread([this] { journal_in_background(); });
}

// What is finished is journaled, so that --resume finds it.
Output::~Output() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Output::create() {
  check_space();
  if (::mkdir(partial_.c_str(), 0777) != 0) throw_system_error(partial_, "", errno);
  journal_.emplace(partial_ / journal_name, LineFile::Mode::fresh);
  try {
    make_shards();
    journal_->write(identity_);
  } catch (...) {  // nothing was begun: nothing to go on with
    std::error_code ignored;
    fs::remove_all(partial_, ignored);
    throw;
  }
}

// Removes OUT.partial if it is the work of a run that has ended.
void Output::throw_away() {
  std::error_code error;
  // Killed right after it was made.
  if (fs::is_directory(partial_, error) && fs::is_empty(partial_, error)) return remove_folder(partial_);
  const fs::path path = partial_ / journal_name;
  if (!path_exists(path)) {
    throw Error(partial_.string() + ": no " + std::string(journal_name) +
                " in it, this is not the unfinished work of an earlier run");
  }
  const LineFile journal(path, LineFile::Mode::resume);  // its lock keeps other runs away
  (void)header_of(journal, path);
  remove_folder(partial_);
}

void Output::resume() {
  const fs::path path = partial_ / journal_name;
  if (path_exists(path)) journal_.emplace(path, LineFile::Mode::resume);
  if (!journal_ || !header_of(*journal_, path)) {
    journal_.reset();
    throw_away();
    return create();
  }
  std::size_t lines = 0;
  journal_->read_lines([&](std::string_view line) { read_journal_line(line, lines++); });
  journal_->truncate_to(lines);
  check_shards();
  check_space();
}

void Output::read_journal_line(std::string_view line, std::size_t number) {
  if (number == 0) {
    const JournalHeader begun = parse_journal_header(line);
    const JournalHeader now = parse_journal_header(identity_);
    if (begun == now) return;
    throw Error(partial_.string() + ": was begun " +
                (begun.source != now.source       ? "from another model"
                 : begun.settings != now.settings ? "with " + begun.settings + ", now it is " + now.settings
                                                  : "with other formats or another size of shards") +
                "\n--force begins anew");
  }
  try {
    JournalLine read = parse_journal_line(line);
    if (read.module >= results_.size()) throw Error("no module of this model");
    if (read.result.checksums.size() != plan_.modules[read.module].tensor_count)
      throw Error("not the checksums of the module's tensors");
    results_[read.module] = std::move(read.result);
  } catch (const Error& error) {
    throw FormatError((partial_ / journal_name).string(),
                      "line " + std::to_string(number + 1) + ": " + error.what() + "; --force begins anew");
  }
}

void Output::check_shards() const {
  for (const PlannedShard& shard : plan_.shards) {
    std::error_code error;
    if (fs::file_size(partial_ / shard.name, error) != shard.bytes || error)
      throw Error((partial_ / shard.name).string() +
                  ": not as the interrupted run left it; --force begins anew");
  }
}

// Files of their whole size, with headers, on the disk before the journal's first line says so. Their room is
// reserved where the file system can do that.
void Output::make_shards() {
  for (const PlannedShard& shard : plan_.shards) {
    const fs::path path = partial_ / shard.name;
    const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL);
    const auto bytes = static_cast<off_t>(shard.bytes);
    const int refused = ::fallocate(file.get(), 0, 0, bytes) == 0 ? 0 : errno;
    if (refused == ENOSPC || refused == EFBIG || refused == EDQUOT)
      throw_system_error(path, format_bytes(shard.bytes), refused);
    if (refused != 0 && ::ftruncate(file.get(), bytes) != 0) throw_system_error(path, "", errno);
    write_at(file.get(), path, std::as_bytes(std::span(shard.header)), 0);
    sync_file(file.get(), path);
  }
  sync_folder(partial_);
}

void Output::check_space() const {
  std::uint64_t there = 0;
  for (const PlannedShard& shard : plan_.shards) {
    struct stat status {};
    if (::stat((partial_ / shard.name).c_str(), &status) == 0)
      there += std::min<std::uint64_t>(static_cast<std::uint64_t>(status.st_blocks) * 512, shard.bytes);
  }
  const fs::path parent = folder_of(out_);
  struct statvfs space {};
  if (::statvfs(parent.c_str(), &space) != 0) throw_system_error(parent, "", errno);
  const std::uint64_t needed = plan_.file_bytes + options_.beside - there;
  const std::uint64_t available = saturating_product(space.f_bavail, space.f_frsize);
  if (needed <= available) return;
  throw Error(out_.string() + ": takes " + format_bytes(needed) + (there > 0 ? " more" : "") +
              ", the disk has " + format_bytes(available) + " to spare: " + format_bytes(needed - available) +
              " are missing");
}

void Output::finish(std::size_t module, ModuleResult result) {
  std::uint64_t bytes = 0;
  for (const PlannedTensor& tensor : plan_.tensors_of(module)) bytes += tensor.bytes;
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  results_[module] = std::move(result);
  finished_.push_back(module);
  finished_bytes_ += bytes;
  if (finished_bytes_ >= flush_bytes) changed_.notify_all();
}

void Output::flush() {
  std::unique_lock lock(mutex_);
  flush_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return failure_ || (finished_.empty() && !busy_); });
  flush_ = false;
  if (failure_) std::rethrow_exception(failure_);
}

void Output::journal_in_background() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, flush_time, [&] {
      return stop_ || (flush_ && !finished_.empty()) || finished_bytes_ >= flush_bytes;
    });
    if (finished_.empty()) {
      if (stop_) return;
      continue;
    }
    const std::vector<std::size_t> modules = std::exchange(finished_, {});
    finished_bytes_ = 0;
    busy_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      sync_and_journal(modules);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    busy_ = false;
    failure_ = failure;
    changed_.notify_all();
    if (failure_) return;
  }
}

// First the weights, then the lines that say so. Written pages are dropped from the page cache: what the user
// keeps there is worth more than a file that was just made.
void Output::sync_and_journal(std::span<const std::size_t> modules) {
  std::set<std::size_t> shards;
  for (const std::size_t module : modules)
    for (const PlannedTensor& tensor : plan_.tensors_of(module)) shards.insert(tensor.shard);
  for (const std::size_t shard : shards) {
    const fs::path path = partial_ / plan_.shards[shard].name;
    const FileDescriptor file = open_file(path, O_WRONLY);
    sync_file(file.get(), path);
    (void)::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  for (const std::size_t module : modules) journal_->write(journal_line(module, *results_[module]));
}

void Output::add_file(std::string_view name, std::string_view bytes) {
  const fs::path path = partial_ / name;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
  write_at(file.get(), path, std::as_bytes(std::span(bytes)), 0);
  sync_file(file.get(), path);
}

void Output::commit() {
  flush();
  if (std::any_of(results_.begin(), results_.end(), [](const auto& result) { return !result; }))
    throw std::logic_error("Output::commit: a module is not finished");
  check_target(out_, options_.force);
  sync_folder(partial_);
  replace_folder(partial_, out_);
  journal_.reset();
  // Left behind by a kill at this moment it does no harm.
  if (::unlink((out_ / journal_name).c_str()) != 0) throw_system_error(out_ / journal_name, "", errno);
  sync_folder(folder_of(out_));
}

TensorWriter::TensorWriter(const Output& output, const PlannedTensor& tensor)
    : tensor_(tensor),
      path_(output.partial_ / output.plan_.shards[tensor.shard].name),
      file_(open_file(path_, O_WRONLY)) {}

void TensorWriter::append(std::span<const std::byte> bytes) {
  checksum_.add(bytes);
  if (waiting_.size() + bytes.size() >= write_bytes) {
    write(waiting_);
    waiting_.clear();
    if (bytes.size() >= write_bytes) return write(bytes);
  }
  waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
}

std::uint64_t TensorWriter::finish() {
  write(waiting_);
  waiting_.clear();
  if (written_ != tensor_.bytes) throw std::logic_error("TensorWriter: " + tensor_.name + " is not whole");
  return checksum_.value();
}

void TensorWriter::write(std::span<const std::byte> bytes) {
  if (bytes.size() > tensor_.bytes - written_)
    throw std::logic_error("TensorWriter: " + tensor_.name + " is too long");
  write_at(file_.get(), path_, bytes, tensor_.offset + written_);
  written_ += bytes.size();
}

}  // namespace baleen
