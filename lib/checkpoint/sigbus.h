// What happens when a mapped file cannot be read any more: it shrank, or its disk fails. The system reports
// either by SIGBUS at the load that needed the bytes, in the middle of a kernel: there is no way back.
#pragma once

#include <string_view>

namespace baleen {

// Installs a handler that writes `PREFIX: FILE: the file shrank while it was mapped` to stderr, calls
// `cleanup` (if any; it may only do what a signal handler may) and ends the process with status 1. It is the
// one place where the library ends the process: a kernel that faulted can neither return nor throw. A SIGBUS
// anywhere else has its default effect. `prefix` ("baleen run") is copied, up to 63 bytes.
void install_sigbus_handler(std::string_view prefix, void (*cleanup)() = nullptr);

}  // namespace baleen
