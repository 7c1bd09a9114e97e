// Lines of a journal, and the manifest of a folder that is whole. Each is refused or read; what is read comes
// back the same when it is written and read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "error.h"
#include "quant/journal.h"
#include "quant/manifest.h"

using namespace baleen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const JournalHeader header = parse_journal_header(input);
    if (parse_journal_header(journal_header(header)) != header) std::abort();
  } catch (const Error&) {
  }
  try {
    const JournalLine line = parse_journal_line(input);
    const JournalLine back = parse_journal_line(journal_line(line.module, line.result));
    if (back.module != line.module || back.result.checksums != line.result.checksums ||
        back.result.error.error != line.result.error.error)
      std::abort();
  } catch (const Error&) {
  }
  try {
    const Manifest manifest = parse_manifest(input, "fuzz");
    for (const auto& [name, checksum] : manifest.files)
      if (name.empty() || name[0] == '/' || name == ".." || name.starts_with("../")) std::abort();
    if (manifest.identity.empty()) return 0;
    const Manifest back = parse_manifest(manifest_json(manifest), "fuzz");
    if (back.identity != manifest.identity || back.tensors != manifest.tensors ||
        back.files != manifest.files)
      std::abort();
  } catch (const Error&) {
  }
  return 0;
}
