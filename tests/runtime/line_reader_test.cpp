#include "runtime/line_reader.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "checkpoint/files.h"
#include "checkpoint/fixture.h"
#include "error.h"

using namespace baleen;
using State = LineReader::State;

namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    out = FileDescriptor(ends[0]);
    in = FileDescriptor(ends[1]);
  }
  void write(std::string_view text) const {
    REQUIRE(::write(in.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void close() { in = FileDescriptor(); }
  FileDescriptor out, in;
};

FileDescriptor opened(const test::TempDir& folder, std::string_view text) {
  return FileDescriptor(::open(folder.write("lines", text).c_str(), O_RDONLY | O_CLOEXEC));
}

// All lines as the reader returns them; "(too long)" stands for a skipped one.
std::vector<std::string> lines_of(std::string_view text, std::size_t most_bytes) {
  const test::TempDir folder;
  const FileDescriptor file = opened(folder, text);
  LineReader reader(file.get(), "lines", most_bytes);
  std::vector<std::string> lines;
  while (true) {
    const LineReader::Result result = reader.next(true);
    REQUIRE(result.state != State::none_yet);
    if (result.state == State::end) break;
    lines.emplace_back(result.state == State::too_long ? "(too long)" : result.line);
  }
  CHECK(reader.next(true).state == State::end);
  CHECK(reader.bytes() == text.size());
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("lines, the last one without its newline too") {
  CHECK(lines_of("", 100) == Lines{});
  CHECK(lines_of("a", 100) == Lines{"a"});
  CHECK(lines_of("a\nbc\n", 100) == Lines{"a", "bc"});
  CHECK(lines_of("a\r\n b", 100) == Lines{"a\r", " b"});
  CHECK(lines_of(std::string("a\0b\nc", 5), 100) == Lines{std::string("a\0b", 3), "c"});
}

TEST_CASE("white space alone is no line, and a byte order mark is none of its text") {
  CHECK(lines_of("\n \t\r\n\na\n\v\f\n  ", 100) == Lines{"a"});
  CHECK(lines_of("\xEF\xBB\xBF{}\n\xEF\xBB\xBF\n", 100) == Lines{"{}", "\xEF\xBB\xBF"});
  CHECK(lines_of("\xEF\xBB\xBF\nb", 100) == Lines{"b"});
}

TEST_CASE("a line that is too long is skipped, the others go on") {
  CHECK(lines_of("1234\n12345\n123\n", 4) == Lines{"1234", "(too long)", "123"});
  CHECK(lines_of("12345", 4) == Lines{"(too long)"});
  // Longer than the pieces in which input is read, and ending in various places of them.
  for (std::size_t length : {65535, 65536, 65537, 131072, 300000}) {
    const std::string line(length, 'x');
    CHECK(lines_of("a\n" + line + "\nb", 1000) == Lines{"a", "(too long)", "b"});
    CHECK(lines_of("a\n" + line, 1000) == Lines{"a", "(too long)"});
    CHECK(lines_of("a\n" + line + "\nb\n", length) == Lines{"a", line, "b"});
    CHECK(lines_of("a\n" + line, length - 1) == Lines{"a", "(too long)"});
  }
}

TEST_CASE("where a line stands in the input") {
  const test::TempDir folder;
  const FileDescriptor file = opened(folder, "a\n\nbc\n12345\nd");
  LineReader reader(file.get(), "lines", 4);
  const auto place = [&] {
    (void)reader.next(true);
    return std::pair(reader.line_number(), reader.bytes());
  };
  using Place = std::pair<std::uint64_t, std::uint64_t>;
  CHECK(place() == Place{1, 2});
  CHECK(place() == Place{3, 6});
  CHECK(place() == Place{4, 12});
  CHECK(place() == Place{5, 13});
}

TEST_CASE("without waiting there is a line or none yet") {
  Pipe pipe;
  LineReader reader(pipe.out.get(), "pipe");
  CHECK(reader.next(false).state == State::none_yet);
  pipe.write("ab");
  CHECK(reader.next(false).state == State::none_yet);
  pipe.write("c\nd\n\nhalf");
  CHECK(reader.next(false).line == "abc");
  CHECK(reader.next(false).line == "d");
  CHECK(reader.next(false).state == State::none_yet);
  pipe.close();
  CHECK(reader.next(false).line == "half");
  CHECK(reader.next(false).state == State::end);
}

TEST_CASE("waiting for a line that comes in parts, on a descriptor that does not block") {
  Pipe pipe;
  REQUIRE(::fcntl(pipe.out.get(), F_SETFL, O_NONBLOCK) == 0);
  LineReader reader(pipe.out.get(), "pipe");
  std::thread writer([&] {
    for (const char* part : {"on", "e li", "ne\n"}) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      pipe.write(part);
    }
  });
  CHECK(reader.next(true).line == "one line");
  writer.join();
}

TEST_CASE("a wait can be cancelled") {
  Pipe pipe;
  std::atomic<bool> cancel = false;
  LineReader reader(pipe.out.get(), "pipe", 100, &cancel);
  std::thread signal([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    cancel = true;
  });
  CHECK(reader.next(true).state == State::none_yet);
  CHECK(cancel);
  signal.join();
  pipe.write("a\n");
  CHECK(reader.next(true).state == State::none_yet);
  cancel = false;
  CHECK(reader.next(true).line == "a");
}

TEST_CASE("what cannot be read is named") {
  const test::TempDir folder;
  const FileDescriptor file(::open(folder.path().c_str(), O_RDONLY | O_CLOEXEC));
  LineReader reader(file.get(), "batch.jsonl");
  CHECK_THROWS_WITH_AS(reader.next(true), "batch.jsonl: Is a directory", Error);
  LineReader closed(-1, "closed");
  CHECK_THROWS_WITH_AS(closed.next(false), "closed: Bad file descriptor", Error);
}
