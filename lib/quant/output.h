// The folder that a quantized checkpoint grows in: OUT.partial until it is whole, then OUT. Every tensor has
// its place from the beginning; a journal tells which modules are on the disk, so that work which was
// interrupted at any moment goes on from there and ends in the same bytes.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "checkpoint/checksum.h"
#include "quant/journal.h"
#include "quant/plan.h"
#include "report/output_file.h"

namespace baleen {

struct OutputOptions {
  bool resume = false;
  bool force = false;        // replaces OUT, if that is a model or empty
  std::string settings;      // what the result depends on beside source and layout; others are not resumed
  std::uint64_t source = 0;  // likewise: the source's fingerprint
  std::uint64_t beside = 0;  // bytes of what add_file will bring
};

// What the bytes of a result depend on, as JSON.
std::string output_identity(const Plan&, const OutputOptions&);

// The folder that is meant, under a name that can be given: no slash at its end, no ".", no link.
std::filesystem::path output_folder(const std::filesystem::path& out);

// Clears away what a kill at the very end may have left of an output that is whole: its journal, and the
// folder that it replaced.
void tidy_output(const std::filesystem::path& out);

// Throws UsageError or Error if OUT cannot be written: it is there already, is or holds the source, lacks
// space, or the work of another run lies in OUT.partial.
class Output {
 public:
  Output(const std::filesystem::path& out, const Source&, const Plan&, const OutputOptions&);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  const std::filesystem::path& partial() const { return partial_; }
  const std::string& identity() const { return identity_; }
  // The result of a module that is written; nothing for one that is still to be done.
  const std::optional<ModuleResult>& result(std::size_t module) const { return results_[module]; }

  // From any thread, once for a module, when all its tensors are written. It is journaled when its bytes have
  // reached the disk, a little later. Throws what went wrong with the journal or the disk since.
  void finish(std::size_t module, ModuleResult result);

  // Journals all that is finished. Throws like finish.
  void flush();

  // Writes a small file of the result.
  void add_file(std::string_view name, std::string_view bytes);

  // Gives OUT its name, when every module is finished. Nothing can be done afterwards.
  void commit();

 private:
  friend class TensorWriter;

  void create();
  void resume();
  void throw_away();
  void read_journal_line(std::string_view line, std::size_t number);
  void make_shards();
  void check_shards() const;
  void check_space() const;
  void journal_in_background();
  void sync_and_journal(std::span<const std::size_t> modules);

  std::filesystem::path out_;
  std::filesystem::path partial_;
  const Plan& plan_;
  OutputOptions options_;
  std::string identity_;  // the journal's first line
  std::optional<LineFile> journal_;
  std::vector<std::optional<ModuleResult>> results_;

  std::mutex mutex_;  // of what follows, and of results_
  std::condition_variable changed_;
  std::vector<std::size_t> finished_;  // not yet journaled
  std::uint64_t finished_bytes_ = 0;
  bool flush_ = false;
  bool busy_ = false;
  bool stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

// Writes one tensor from its beginning to its end.
class TensorWriter {
 public:
  TensorWriter(const Output&, const PlannedTensor&);

  // Throws Error naming the file for what the system refuses.
  void append(std::span<const std::byte> bytes);
  // The checksum of the whole. Throws std::logic_error if bytes are missing.
  std::uint64_t finish();

 private:
  void write(std::span<const std::byte> bytes);

  const PlannedTensor& tensor_;
  std::filesystem::path path_;
  FileDescriptor file_;
  Checksum checksum_;
  std::vector<std::byte> waiting_;
  std::uint64_t written_ = 0;
};

}  // namespace baleen
