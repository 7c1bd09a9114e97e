#include "checkpoint/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "checkpoint/fixture.h"
#include "checkpoint/sigbus.h"
#include "error.h"

using namespace baleen;
using namespace baleen::test;

namespace {

struct Ended {
  int status = 0;
  std::string stderr_text;
};

// Runs `call` in a child process.
template <typename Call>
Ended in_child(Call&& call) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    call();
    _exit(0);
  }
  close(ends[1]);
  Ended ended;
  char buffer[256];
  for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    ended.stderr_text.append(buffer, static_cast<std::size_t>(got));
  close(ends[0]);
  waitpid(child, &ended.status, 0);
  return ended;
}

void say_cleaned() {
  [[maybe_unused]] const ssize_t wrote = write(STDERR_FILENO, "cleaned\n", 8);
}

}  // namespace

TEST_CASE("a file is mapped, moved and found by address") {
  const TempDir dir;
  const std::filesystem::path path = dir.write("file", "0123456789");
  const void* inside = nullptr;
  {
    MappedFile first(path);
    inside = first.bytes().data() + 3;
    MappedFile second = std::move(first);
    CHECK(first.bytes().empty());
    CHECK(second.bytes().size() == 10);
    CHECK(second.bytes()[3] == std::byte{'3'});
    MappedFile other(dir.write("other", "x"));
    CHECK(find_mapped_file(inside).path == path.string());
    CHECK(find_mapped_file(inside).offset == 3);
    CHECK(find_mapped_file(second.bytes().data() + 10).path == nullptr);
    other = std::move(second);
    CHECK(find_mapped_file(inside).path == path.string());
  }
  CHECK(find_mapped_file(inside).path == nullptr);
  CHECK(find_mapped_file(nullptr).path == nullptr);
}

TEST_CASE("an empty file maps to nothing") {
  const TempDir dir;
  CHECK(MappedFile(dir.write("empty", "")).bytes().empty());
}

TEST_CASE("a file that shrinks while mapped ends the process with a message") {
  const TempDir dir;
  const std::filesystem::path path = dir.write("shard", std::string(10'000, 'x'));
  const auto read_shrunk = [&](bool with_cleanup) {
    return in_child([&] {
      install_sigbus_handler("baleen run", with_cleanup ? say_cleaned : nullptr);
      const MappedFile file(path);
      if (truncate(path.c_str(), 100) != 0) _exit(7);
      const volatile std::byte* bytes = file.bytes().data();
      [[maybe_unused]] const std::byte last = bytes[9000];
    });
  };
  const std::string message = "baleen run: " + path.string() + ": the file shrank while it was mapped\n";
  Ended ended = read_shrunk(false);
  CHECK(WIFEXITED(ended.status));
  CHECK(WEXITSTATUS(ended.status) == 1);
  CHECK(ended.stderr_text == message);
  dir.write("shard", std::string(10'000, 'x'));
  CHECK(read_shrunk(true).stderr_text == message + "cleaned\n");
}

TEST_CASE("any other SIGBUS keeps its default effect") {
  const Ended ended = in_child([] {
    signal(SIGBUS, SIG_DFL);
    install_sigbus_handler("baleen run");
    raise(SIGBUS);
  });
  CHECK(WIFSIGNALED(ended.status));
  CHECK(WTERMSIG(ended.status) == SIGBUS);
  CHECK(ended.stderr_text.empty());
}
