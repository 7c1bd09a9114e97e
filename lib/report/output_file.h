// Files that a command writes. A result appears whole or not at all; a log grows by whole lines, and an
// interrupted one can be gone on with. What is no regular file (a pipe, a device, /dev/stdout) is written
// directly in both cases.
//
// All functions throw Error naming the file for what the system refuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/files.h"

namespace baleen {

// Writes all of `bytes`, in more than one piece if it must be. Returns false, with errno set, if that failed.
bool write_all(int fd, std::string_view bytes);

// Whether there is a pipe or a device of that name: what NewFile and LineFile write directly.
bool is_written_directly(const std::filesystem::path& path);

// Written under another name in the same folder, and renamed when it is whole.
class NewFile {
 public:
  // Throws Error too for a file that exists, unless it may be overwritten; that one keeps its mode. A
  // link stays a link, also one to a file that is still to come. Opening a pipe waits for its reader.
  NewFile(std::filesystem::path path, bool overwrite);
  // Takes an uncommitted file away again.
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  int fd() const { return file_.get(); }
  void write(std::string_view bytes);
  // Puts the file in its place, on the disk (fsync of file and folder). Nothing can be written afterwards.
  void commit();

 private:
  std::filesystem::path path_;  // as it was given, for errors
  std::filesystem::path target_;
  bool overwrite_;
  FileDescriptor file_;
  std::filesystem::path temporary_;  // empty: written directly, or committed
};

// Grows by whole lines: whenever the process ends, every line but the last one is whole.
class LineFile {
 public:
  enum class Mode {
    fresh,      // the file must not exist
    overwrite,  // what it holds goes away
    resume,     // its lines are read first; it need not exist
  };
  // Holds a lock on the file, so that no second LineFile writes it at the same time.
  LineFile(std::filesystem::path path, Mode mode);

  // With Mode::resume: hands out each whole line, without "\n", in order, and returns what stands behind the
  // last "\n". Needs memory for one line. Throws Error for a line of more than a gigabyte.
  std::string read_lines(const std::function<void(std::string_view)>& on_line) const;
  // With Mode::resume, once and before the first write: keeps that many whole lines and cuts off what is
  // behind them. Throws Error if there are fewer.
  void truncate_to(std::size_t lines);

  // Appends `line`, which holds no "\n", and "\n". If that fails, what was written of it is cut off again.
  void write(std::string_view line);
  // Puts all lines on the disk and ends the lock. Nothing can be written afterwards.
  void close();

 private:
  void open_regular(Mode mode);
  void lock();
  // Calls on_line(line, the offset behind its "\n") until that returns false; else returns the rest.
  std::string scan(const std::function<bool(std::string_view, std::uint64_t)>& on_line) const;

  std::filesystem::path path_;
  FileDescriptor file_;
  bool regular_ = false;
  std::optional<std::uint64_t> size_ = 0;  // bytes of whole lines; none: truncate_to is still to come
  std::string line_;                       // being written
};

}  // namespace baleen
