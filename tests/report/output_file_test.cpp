#include "report/output_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <vector>

#include "checkpoint/fixture.h"
#include "error.h"

using namespace baleen;
namespace fs = std::filesystem;
using Mode = LineFile::Mode;
using Lines = std::vector<std::string>;

namespace {

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.is_open());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::ptrdiff_t files_in(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777;
}

Lines lines_of(const LineFile& file) {
  Lines lines;
  file.read_lines([&](std::string_view line) { lines.emplace_back(line); });
  return lines;
}

// While it lives no file of this process may grow beyond so many bytes: a write ends in parts, then fails.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~SizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  SizeLimit(const SizeLimit&) = delete;
  SizeLimit& operator=(const SizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("a new file appears whole or not at all") {
  const test::TempDir folder;
  const fs::path path = folder.path() / "out.json";
  {
    NewFile abandoned(path, false);
    abandoned.write("half of");
    CHECK_FALSE(fs::exists(path));
    CHECK(files_in(folder.path()) == 1);
  }
  CHECK(files_in(folder.path()) == 0);
  NewFile file(path, false);
  file.write("one ");
  file.write("two");
  CHECK_FALSE(fs::exists(path));
  file.commit();
  CHECK(content(path) == "one two");
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("a new file has the mode that the umask leaves") {
  const test::TempDir folder;
  const mode_t before = ::umask(027);
  NewFile file(folder.path() / "out", false);
  ::umask(before);
  file.commit();
  CHECK(mode_of(folder.path() / "out") == 0640);
}

TEST_CASE("an existing file is overwritten only when told to") {
  const test::TempDir folder;
  const fs::path path = folder.write("out", "old");
  CHECK_THROWS_WITH_AS(NewFile(path, false),
                       (path.string() + ": exists already; --force overwrites it").c_str(), Error);
  fs::permissions(path, fs::perms(0604));
  {
    NewFile abandoned(path, true);
    abandoned.write("new");
  }
  CHECK(content(path) == "old");
  NewFile file(path, true);
  file.write("new");
  file.commit();
  CHECK(content(path) == "new");
  CHECK(mode_of(path) == 0604);
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("a file that comes to be in the meantime stays") {
  const test::TempDir folder;
  NewFile file(folder.path() / "out", false);
  file.write("ours");
  folder.write("out", "theirs");
  CHECK_THROWS_AS(file.commit(), Error);
  CHECK(content(folder.path() / "out") == "theirs");
}

TEST_CASE("a link stays one, and a link to nothing is something") {
  const test::TempDir folder, elsewhere;
  const fs::path target = elsewhere.write("target", "old");
  fs::create_symlink(target, folder.path() / "link");
  NewFile file(folder.path() / "link", true);
  file.write("new");
  file.commit();
  CHECK(fs::is_symlink(folder.path() / "link"));
  CHECK(content(target) == "new");
  fs::create_symlink(elsewhere.path() / "nothing", folder.path() / "dangling");
  CHECK_THROWS_AS(NewFile(folder.path() / "dangling", false), Error);
  fs::create_symlink("dangling", folder.path() / "relative");
  NewFile first(folder.path() / "relative", true);
  first.write("first");
  first.commit();
  CHECK(fs::is_symlink(folder.path() / "relative"));
  CHECK(fs::is_symlink(folder.path() / "dangling"));
  CHECK(content(elsewhere.path() / "nothing") == "first");
  const std::string loop = (folder.path() / "loop").string();
  fs::create_symlink("loop", loop);
  CHECK_THROWS_WITH_AS(NewFile(loop, true), (loop + ": Too many levels of symbolic links").c_str(), Error);
  CHECK(fs::is_symlink(loop));
}

TEST_CASE("where no file can be is known before anything is written") {
  const test::TempDir folder;
  const std::string missing = (folder.path() / "no" / "out").string();
  CHECK_THROWS_WITH_AS(NewFile(missing, false), (missing + ": No such file or directory").c_str(), Error);
  CHECK_THROWS_WITH_AS(NewFile(folder.path(), true), (folder.path().string() + ": Is a directory").c_str(),
                       Error);
  CHECK_THROWS_WITH_AS(LineFile(folder.path(), Mode::overwrite),
                       (folder.path().string() + ": Is a directory").c_str(), Error);
  const std::string under_file = (folder.write("file", "") / "out").string();
  CHECK_THROWS_WITH_AS(NewFile(under_file, false), (under_file + ": Not a directory").c_str(), Error);
  CHECK_THROWS_WITH_AS(LineFile(missing, Mode::resume), (missing + ": No such file or directory").c_str(),
                       Error);
}

TEST_CASE("pipes and devices are written directly") {
  NewFile full("/dev/full", false);
  CHECK_THROWS_WITH_AS(full.write("x"), "/dev/full: No space left on device", Error);
  LineFile full_lines("/dev/full", Mode::fresh);
  CHECK_THROWS_WITH_AS(full_lines.write("x"), "/dev/full: No space left on device", Error);
  CHECK_THROWS_AS(LineFile("/dev/null", Mode::resume), Error);
  NewFile nowhere("/dev/null", false);
  nowhere.write("x");
  CHECK_NOTHROW(nowhere.commit());

  const test::TempDir folder;
  const fs::path fifo = folder.path() / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  std::string received;
  std::thread reader([&] { received = content(fifo); });
  {
    LineFile file(fifo, Mode::fresh);
    file.write("one");
    file.write("two");
    file.close();
  }
  reader.join();
  CHECK(received == "one\ntwo\n");
  CHECK(fs::is_fifo(fifo));
}

TEST_CASE("a descriptor by its name goes on where it stands") {
  const test::TempDir folder;
  const fs::path path = folder.write("out", "before\n");
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  REQUIRE(::lseek(file.get(), 0, SEEK_END) == 7);
  LineFile lines("/dev/fd/" + std::to_string(file.get()), Mode::fresh);
  lines.write("after");
  lines.close();
  CHECK(content(path) == "before\nafter\n");
}

TEST_CASE("a log grows by lines") {
  const test::TempDir folder;
  const fs::path path = folder.path() / "log";
  LineFile file(path, Mode::fresh);
  file.write("one");
  CHECK(content(path) == "one\n");
  file.write("");
  CHECK(content(path) == "one\n\n");
  file.close();
  CHECK_THROWS_WITH_AS(
      LineFile(path, Mode::fresh),
      (path.string() + ": exists already; --force overwrites it, --resume goes on with a batch").c_str(),
      Error);
  LineFile again(path, Mode::overwrite);
  again.write("two");
  CHECK(content(path) == "two\n");
}

TEST_CASE("two runs cannot write one log") {
  const test::TempDir folder;
  const fs::path path = folder.write("log", "one\n");
  {
    const LineFile file(path, Mode::resume);
    for (const Mode mode : {Mode::overwrite, Mode::resume})
      CHECK_THROWS_WITH_AS(LineFile(path, mode), (path.string() + ": another run is writing it").c_str(),
                           Error);
    CHECK(content(path) == "one\n");
  }
  CHECK_NOTHROW(LineFile(path, Mode::resume));
}

TEST_CASE("an interrupted log is gone on with") {
  const test::TempDir folder;
  const fs::path path = folder.write("log", "a\nbc\n\nd\nhalf");
  {
    LineFile file(path, Mode::resume);
    CHECK(lines_of(file) == Lines{"a", "bc", "", "d"});
    CHECK_THROWS_AS(file.write("early"), std::logic_error);
    CHECK(content(path) == "a\nbc\n\nd\nhalf");  // nothing is cut before it is known where
    file.truncate_to(4);
    CHECK(content(path) == "a\nbc\n\nd\n");
    file.write("e");
    CHECK_THROWS_AS(file.truncate_to(1), std::logic_error);
  }
  CHECK(content(path) == "a\nbc\n\nd\ne\n");
  {
    LineFile file(path, Mode::resume);
    CHECK_THROWS_WITH_AS(file.truncate_to(6), (path.string() + ": 5 lines, expected at least 6").c_str(),
                         Error);
    file.truncate_to(2);
  }
  CHECK(content(path) == "a\nbc\n");
  LineFile file(path, Mode::resume);
  file.truncate_to(0);
  CHECK(content(path) == "");
}

TEST_CASE("there need not be a log to go on with") {
  const test::TempDir folder;
  LineFile file(folder.path() / "log", Mode::resume);
  CHECK(lines_of(file) == Lines{});
  file.truncate_to(0);
  file.write("a");
  CHECK(content(folder.path() / "log") == "a\n");
}

TEST_CASE("lines longer than the pieces in which a log is read") {
  const test::TempDir folder;
  const std::size_t piece = std::size_t{1} << 20U;
  const Lines lines = {std::string(piece - 1, 'a'), std::string(piece, 'b'), "c",
                       std::string(3 * piece, 'd')};
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  const fs::path path = folder.write("log", text + std::string(2 * piece, 'e'));
  LineFile file(path, Mode::resume);
  CHECK((lines_of(file) == lines));
  file.truncate_to(lines.size());
  CHECK((content(path) == text));
}

TEST_CASE("what a killed writer left is whole lines and a part of one") {
  const test::TempDir folder;
  const fs::path path = folder.path() / "log";
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    LineFile file(path, Mode::fresh);
    file.write("one");
    file.write("two");
    const SizeLimit limit(10);  // the next line is written in part, then the signal of the limit kills
    std::signal(SIGXFSZ, SIG_DFL);
    file.write("three");
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(content(path) == "one\ntwo\nth");
  LineFile file(path, Mode::resume);
  CHECK(lines_of(file) == Lines{"one", "two"});
  file.truncate_to(2);
  file.write("three");
  CHECK(content(path) == "one\ntwo\nthree\n");
}

TEST_CASE("a line that does not fit leaves the whole ones") {
  const test::TempDir folder;
  const fs::path path = folder.path() / "log";
  LineFile file(path, Mode::fresh);
  file.write("one");
  {
    const SizeLimit limit(10);
    CHECK_THROWS_WITH_AS(file.write("a longer line"), (path.string() + ": File too large").c_str(), Error);
    CHECK(content(path) == "one\n");
    NewFile whole(folder.path() / "whole", false);
    CHECK_THROWS_WITH_AS(whole.write("a longer text"),
                         ((folder.path() / "whole").string() + ": File too large").c_str(), Error);
  }
  CHECK(files_in(folder.path()) == 1);
  file.write("two");
  CHECK(content(path) == "one\ntwo\n");
}

TEST_CASE("a line is completed where the system takes it in parts") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const FileDescriptor out(ends[0]);
  const std::string line(1 << 20, 'x');  // more than a pipe holds
  std::string received;
  std::thread reader([&] {
    std::vector<char> part(1 << 16);
    for (ssize_t count = 1; count > 0;) {
      count = ::read(out.get(), part.data(), part.size());
      received.append(part.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    }
  });
  {
    const FileDescriptor in(ends[1]);
    REQUIRE(::fcntl(in.get(), F_SETFL, O_NONBLOCK) == 0);
    LineFile file("/dev/fd/" + std::to_string(in.get()), Mode::fresh);
    file.write(line);
  }
  reader.join();
  CHECK((received == line + "\n"));
}
