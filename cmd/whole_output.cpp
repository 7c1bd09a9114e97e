#include "cmd/whole_output.h"

#include "cmd/output.h"
#include "cmd/signals.h"
#include "model/forward.h"
#include "report/output_file.h"

namespace baleen::cmd {

void write_whole(const std::optional<std::string>& file, bool overwrite,
                 const std::function<void(const std::function<void(std::string_view)>& write)>& work) {
  std::optional<NewFile> output;
  int signal = 0;
  // A pipe may wait long for its reader, while no signal is held back.
  if (file && is_written_directly(*file)) output.emplace(*file, overwrite);
  {
    const SignalFlag flag;  // before there is a file that a signal would leave behind
    if (file && !output) output.emplace(*file, overwrite);
    try {
      if (output)
        work([&](std::string_view text) { output->write(text); });
      else
        work(write_output);
    } catch (const Cancelled&) {
    }
    signal = SignalFlag::signal();
  }
  if (signal != 0) {
    output.reset();  // what is half an answer does not appear
    raise_again(signal);
  }
  if (output) output->commit();
}

}  // namespace baleen::cmd
