// Standard output and standard error, written at once and checked.
#pragma once

#include <exception>
#include <string_view>

#include "error.h"

namespace baleen::cmd {

// The reader of a pipe has gone: the program ends quietly, as the signal SIGPIPE would end it.
class ClosedPipe : public std::exception {
 public:
  const char* what() const noexcept override { return "closed pipe"; }
};

// What is printed cannot be written: whatever else may be gone on with, that ends the program.
class OutputError : public Error {
 public:
  using Error::Error;
};

// Fills the numbers of those of standard input, output and error that are closed, or the next file that is
// opened would get one of them, and with it what is printed. Using them stays an error.
void occupy_closed_streams();
// Writes all of `text`, unbuffered. Throws ClosedPipe, or OutputError for every other failure.
void write_output(std::string_view text);
// Closes standard output: some systems tell of a failed write only then. Nothing is written afterwards.
void close_output();
// To standard error. What cannot be written is lost: there is nowhere left to say so.
void write_message(std::string_view text);

}  // namespace baleen::cmd
