#include "quant/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "error.h"
#include "report/units.h"

namespace baleen {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::string_view journal_name = "journal.jsonl";
// Bytes after which, and time after which, what is finished goes to the disk: that much work an interruption
// costs at most.
constexpr std::uint64_t flush_bytes = std::uint64_t{128} << 20;
constexpr std::chrono::seconds flush_time{2};
// What a tensor's bytes are gathered to before they are written.
constexpr std::size_t write_bytes = std::size_t{1} << 20;
// Beside the shards: index, configuration, tokenizer, manifest.
constexpr std::uint64_t small_files = std::uint64_t{64} << 20;

fs::path without_slash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

// A folder of files with a config.json, as quantize and downloads leave them; what else a folder may be is
// nothing that a program should delete.
bool is_model(const fs::path& dir) {
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    if (it->is_directory(error) && !it->is_symlink(error) &&
        it->path().filename() != "additional_chat_templates")
      return false;
  return !error && path_exists(dir / "config.json");
}

void check_target(const fs::path& out, const fs::path& source, bool force) {
  std::error_code error;
  if (fs::equivalent(out, source, error))
    throw UsageError(out.string() + ": this is the model to be quantized, expected another folder");
  if (!path_exists(out)) return;
  if (!fs::is_directory(out, error)) throw Error(out.string() + ": exists and is no folder");
  if (fs::is_empty(out, error)) return;
  if (!force) throw Error(out.string() + ": exists already; --force replaces it");
  if (!is_model(out))
    throw Error(out.string() + ": holds more than a model's files; --force replaces nothing but models");
}

FileDescriptor open_file(const fs::path& path, int flags) {
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0666));
  if (file.get() < 0) throw_system_error(path, "", errno);
  return file;
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

// `module` is its number in the plan.
std::string journal_line(std::size_t module, const ModuleResult& result) {
  Json line{{"module", module}, {"error", result.error.error}, {"norm", result.error.norm}};
  for (const std::uint64_t checksum : result.checksums) line["checksums"].push_back(to_hex(checksum));
  return line.dump();
}

// Swaps two names, or gives `to` up if the file system cannot.
void replace_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;  // nothing there, or an empty folder
  if (errno != ENOTEMPTY && errno != EEXIST) throw_system_error(to, "", errno);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(from);
    return;
  }
  fs::path old = to;
  old += ".old";
  if (::rename(to.c_str(), old.c_str()) != 0) throw_system_error(old, "", errno);
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error(to, "", errno);
  fs::remove_all(old);
}

}  // namespace

std::string output_identity(const Plan& plan, const OutputOptions& options) {
  Checksum layout;
  for (const PlannedShard& shard : plan.shards) layout.add_text(shard.name).add_text(shard.header);
  for (const PlannedModule& module : plan.modules) layout.add_number(static_cast<std::uint64_t>(module.work));
  return Json{{"schema", 1},
              {"settings", options.settings},
              {"source", to_hex(options.source)},
              {"layout", to_hex(layout.value())}}
      .dump();
}

Output::Output(const fs::path& out, const Source& source, const Plan& plan, const OutputOptions& options)
    : out_(without_slash(out)),
      partial_(out_),
      source_(source),
      plan_(plan),
      options_(options),
      identity_(output_identity(plan, options)),
      results_(plan.modules.size()) {
  partial_ += ".partial";
  check_target(out_, source.dir(), options.force);
  if (path_exists(partial_) && options_.resume)
    resume();
  else
    create();
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
  if (path_exists(partial_)) {
    if (!options_.force)
      throw Error(partial_.string() +
                  ": unfinished work of an earlier run; --resume goes on with it, --force begins anew");
    if (!path_exists(partial_ / journal_name))
      throw Error(partial_.string() +
                  ": not the unfinished work of an earlier run; --force does not delete it");
    fs::remove_all(partial_);
  }
  check_space();
  if (::mkdir(partial_.c_str(), 0777) != 0) throw_system_error(partial_, "", errno);
  try {
    make_shards();
    journal_.emplace(partial_ / journal_name, LineFile::Mode::fresh);
    journal_->write(identity_);
  } catch (...) {  // nothing was begun: nothing to go on with
    std::error_code ignored;
    fs::remove_all(partial_, ignored);
    throw;
  }
}

void Output::resume() {
  if (!path_exists(partial_ / journal_name)) {
    throw Error(partial_.string() + ": no " + std::string(journal_name) +
                " in it, this is not the unfinished work of an earlier run");
  }
  journal_.emplace(partial_ / journal_name, LineFile::Mode::resume);
  std::size_t lines = 0;
  journal_->read_lines([&](std::string_view line) { read_journal_line(line, lines++); });
  if (lines == 0) throw Error(partial_.string() + ": its journal is empty; --force begins anew");
  journal_->truncate_to(lines);
  for (const PlannedShard& shard : plan_.shards) {
    std::error_code error;
    if (fs::file_size(partial_ / shard.name, error) != shard.bytes || error)
      throw Error((partial_ / shard.name).string() +
                  ": not as the interrupted run left it; --force begins anew");
  }
  check_space();
}

void Output::read_journal_line(std::string_view line, std::size_t number) {
  const auto fail = [&](const std::string& what) {
    throw FormatError((partial_ / journal_name).string(),
                      "line " + std::to_string(number + 1) + ": " + what + "; --force begins anew");
  };
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) fail("no JSON object");
  if (number == 0) {
    if (line == identity_) return;
    const std::string settings = json.value("settings", std::string());
    throw Error(partial_.string() + ": was begun " +
                (settings != options_.settings ? "with " + settings + ", now it is " + options_.settings
                                               : std::string("from another model")) +
                "\n--force begins anew");
  }
  const auto name = json.find("module");
  if (name == json.end() || !name->is_number_unsigned() || *name >= results_.size())
    fail("no module of this model");
  const std::size_t module = name->get<std::size_t>();
  ModuleResult result;
  const auto number_at = [&](const char* key) {
    const auto value = json.find(key);
    if (value == json.end() || !value->is_number()) fail(std::string("no number ") + key);
    return value->get<double>();
  };
  result.error.error = number_at("error");
  result.error.norm = number_at("norm");
  const auto checksums = json.find("checksums");
  if (checksums == json.end() || !checksums->is_array() ||
      checksums->size() != plan_.modules[module].tensor_count)
    fail("not the checksums of the module's tensors");
  for (const Json& text : *checksums) {
    const auto checksum = text.is_string() ? from_hex(text.get<std::string>()) : std::nullopt;
    if (!checksum) fail("a checksum that is none");
    result.checksums.push_back(*checksum);
  }
  results_[module] = std::move(result);
}

// Files of their whole size, with headers. Their room is reserved where the file system can do that.
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
  }
}

void Output::check_space() const {
  std::uint64_t there = 0;
  for (const PlannedShard& shard : plan_.shards) {
    struct stat status {};
    if (::stat((partial_ / shard.name).c_str(), &status) == 0)
      there += std::min<std::uint64_t>(static_cast<std::uint64_t>(status.st_blocks) * 512, shard.bytes);
  }
  const fs::path parent = out_.has_parent_path() ? out_.parent_path() : fs::path(".");
  struct statvfs space {};
  if (::statvfs(parent.c_str(), &space) != 0) throw_system_error(parent, "", errno);
  const std::uint64_t needed = plan_.file_bytes + small_files - there;
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
    if (::fdatasync(file.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
      throw_system_error(path, "", errno);
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
  if (::fsync(file.get()) != 0) throw_system_error(path, "", errno);
}

void Output::commit() {
  flush();
  if (std::any_of(results_.begin(), results_.end(), [](const auto& result) { return !result; }))
    throw std::logic_error("Output::commit: a module is not finished");
  check_target(out_, source_.dir(), options_.force);
  journal_.reset();
  sync_folder(partial_);
  replace_folder(partial_, out_);
  // Left behind by a kill at this moment it does no harm.
  if (::unlink((out_ / journal_name).c_str()) != 0) throw_system_error(out_ / journal_name, "", errno);
  sync_folder(out_.has_parent_path() ? out_.parent_path() : fs::path("."));
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
