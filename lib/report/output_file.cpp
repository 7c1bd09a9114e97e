#include "report/output_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "error.h"

namespace baleen {
namespace {

namespace fs = std::filesystem;

// The descriptor that a path means, if it is one of those that the system gives to the process's own:
// opened anew, a standard output that goes to a file would be written from its beginning.
std::optional<int> named_descriptor(const std::string& path) {
  if (path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    int fd = 0;
    const char* const end = path.data() + path.size();
    const auto [stop, error] = std::from_chars(path.data() + folder.size(), end, fd);
    if (error == std::errc() && stop == end) return fd;
  }
  return {};
}

// An open descriptor for what is written directly; none for a regular file and for what does not exist.
std::optional<FileDescriptor> open_directly(const fs::path& path) {
  if (!is_written_directly(path)) return {};
  const std::optional<int> named = named_descriptor(path.string());
  FileDescriptor file(named ? ::fcntl(*named, F_DUPFD_CLOEXEC, 0)
                            : ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) throw_system_error(path, "", errno);
  return file;
}

// Some file systems and devices have nothing to flush.
void flush(int fd, const fs::path& path) {
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP)
    throw_system_error(path, "", errno);
}

// Closing tells of writes that failed late, as on network file systems.
void close_file(FileDescriptor& file, const fs::path& path) {
  if (::close(file.release()) != 0 && errno != EINTR) throw_system_error(path, "", errno);
}

// A folder that may be written but not read cannot be opened; then the rename is on the disk a little later.
void flush_folder(const fs::path& folder, const fs::path& path) {
  const FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) flush(directory.get(), path);
}

// Creates ".NAME.NUMBER.tmp" beside the target, with the mode that any new file gets.
FileDescriptor create_beside(const fs::path& target, fs::path& temporary) {
  const std::string stem = "." + target.filename().string().substr(0, 200) + "." + std::to_string(::getpid());
  for (int i = 0;; ++i) {
    temporary = folder_of(target) / (stem + "-" + std::to_string(i) + ".tmp");
    FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.get() >= 0) return file;
    const int error = std::exchange(errno, 0);
    temporary.clear();
    if (error != EEXIST || i == 1000) throw_system_error(target, "", error);
  }
}

// Renames, but not over a file that came to be in the meantime. Returns false with errno set.
bool rename_to_new(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;  // those: this file system cannot
  struct stat status {};
  if (::lstat(to.c_str(), &status) == 0) return errno = EEXIST, false;
  return ::rename(from.c_str(), to.c_str()) == 0;
}

[[noreturn]] void throw_exists(const fs::path& path) {
  throw Error(path.string() + ": exists already; --force overwrites it");
}

}  // namespace

bool is_written_directly(const fs::path& path) {
  struct stat status {};
  return named_descriptor(path.string()) || (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode));
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {  // somebody made the pipe non-blocking
      pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

NewFile::NewFile(fs::path path, bool overwrite) : path_(std::move(path)), overwrite_(overwrite) {
  if (std::optional<FileDescriptor> direct = open_directly(path_)) {
    file_ = std::move(*direct);
    return;
  }
  struct stat status {};
  if (!overwrite && ::lstat(path_.c_str(), &status) == 0) throw_exists(path_);
  const bool replaces = ::stat(path_.c_str(), &status) == 0;
  std::error_code error;
  target_ = replaces ? fs::canonical(path_, error) : follow_links(path_);
  if (error) throw_system_error(path_, "", error.value());
  file_ = create_beside(target_, temporary_);
  constexpr mode_t permissions = 0777;
  if (replaces) (void)::fchmod(file_.get(), status.st_mode & permissions);
}

NewFile::~NewFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void NewFile::write(std::string_view bytes) {
  if (!write_all(file_.get(), bytes)) throw_system_error(path_, "", errno);
}

void NewFile::commit() {
  flush(file_.get(), path_);
  close_file(file_, path_);
  if (temporary_.empty()) return;
  if (overwrite_) {
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw_system_error(path_, "", errno);
  } else if (!rename_to_new(temporary_, target_)) {
    if (errno == EEXIST) throw_exists(path_);
    throw_system_error(path_, "", errno);
  }
  temporary_.clear();
  flush_folder(folder_of(target_), path_);
}

LineFile::LineFile(fs::path path, Mode mode) : path_(std::move(path)) {
  if (std::optional<FileDescriptor> direct = open_directly(path_)) {
    if (mode == Mode::resume) throw Error(path_.string() + ": no regular file, there is nothing to resume");
    file_ = std::move(*direct);
    return;
  }
  open_regular(mode);
}

void LineFile::open_regular(Mode mode) {
  const int creation = mode == Mode::fresh ? O_CREAT | O_EXCL : O_CREAT;
  file_ = FileDescriptor(::open(path_.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | creation, 0666));
  if (file_.get() < 0 && errno == EEXIST)
    throw Error(path_.string() + ": exists already; --force overwrites it, --resume goes on with a batch");
  if (file_.get() < 0) throw_system_error(path_, "", errno);
  regular_ = true;
  lock();
  if (mode == Mode::overwrite && ::ftruncate(file_.get(), 0) != 0) throw_system_error(path_, "", errno);
  if (mode == Mode::resume) size_.reset();
}

// Where the file system has no locks (NFS without its lock service) there is none.
void LineFile::lock() {
  while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) throw Error(path_.string() + ": another run is writing it");
    if (errno != EINTR) return;
  }
}

std::string LineFile::scan(const std::function<bool(std::string_view, std::uint64_t)>& on_line) const {
  constexpr std::size_t chunk_bytes = std::size_t{1} << 20U;
  constexpr std::size_t longest_line = std::size_t{1} << 30U;
  std::string chunk(chunk_bytes, '\0');
  std::string begun;  // of a line, in earlier chunks
  std::uint64_t offset = 0;
  while (true) {
    const ssize_t count = ::pread(file_.get(), chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(path_, "", errno);
    if (count == 0) return begun;
    std::string_view rest(chunk.data(), static_cast<std::size_t>(count));
    for (std::size_t end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
      if (!begun.empty()) begun.append(rest.substr(0, end));
      offset += end + 1;
      if (!on_line(begun.empty() ? rest.substr(0, end) : std::string_view(begun), offset)) return {};
      begun.clear();
      rest.remove_prefix(end + 1);
    }
    begun.append(rest);
    offset += rest.size();
    if (begun.size() > longest_line) throw Error(path_.string() + ": a line of more than a gigabyte");
  }
}

std::string LineFile::read_lines(const std::function<void(std::string_view)>& on_line) const {
  if (size_) throw std::logic_error("LineFile::read_lines: not resumed, or after truncate_to");
  return scan([&](std::string_view line, std::uint64_t) {
    on_line(line);
    return true;
  });
}

void LineFile::truncate_to(std::size_t lines) {
  if (size_) throw std::logic_error("LineFile::truncate_to: not resumed, or called twice");
  std::uint64_t size = 0;
  std::size_t found = 0;
  if (lines > 0) {
    scan([&](std::string_view, std::uint64_t end) {
      size = end;
      return ++found < lines;
    });
  }
  if (found < lines)
    throw Error(path_.string() + ": " + std::to_string(found) + " lines, expected at least " +
                std::to_string(lines));
  if (::ftruncate(file_.get(), static_cast<off_t>(size)) != 0) throw_system_error(path_, "", errno);
  size_ = size;
}

void LineFile::write(std::string_view line) {
  if (!size_) throw std::logic_error("LineFile::write: truncate_to comes first");
  line_.assign(line).push_back('\n');
  if (!write_all(file_.get(), line_)) {
    const int error = errno;
    // If even that fails there is a partial line at the end, which --resume cuts off.
    if (regular_) (void)!::ftruncate(file_.get(), static_cast<off_t>(*size_));
    throw_system_error(path_, "", error);
  }
  *size_ += line_.size();
}

void LineFile::close() {
  flush(file_.get(), path_);
  close_file(file_, path_);
}

}  // namespace baleen
