// What the library throws. It never prints and never ends the process: cmd/ turns an Error into text on
// stderr and an exit status, in one place.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace baleen {

// Something outside the program is not as it must be: the message says where, what was found and what was
// expected, in one to three lines without a trailing newline.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A file whose content is wrong: `FILE: what was found, what was expected`.
class FormatError : public Error {
 public:
  FormatError(std::string_view file, std::string_view what)
      : Error(std::string(file) + ": " + std::string(what)) {}
};

// The command line or the environment asks for something that does not exist or does not fit together.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace baleen
