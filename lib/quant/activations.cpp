#include "quant/activations.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace baleen {
namespace {

FileDescriptor unnamed_file(const std::filesystem::path& folder) {
  std::string name = (folder / "activations-XXXXXX").string();
  FileDescriptor file(::mkstemp(name.data()));
  if (file.get() < 0) throw_system_error(folder, "no temporary file", errno);
  ::unlink(name.c_str());
  return file;
}

// Calls transfer(bytes done, bytes left) until all are done; it returns as read(2) does.
template <typename Transfer>
void transfer_all(std::size_t bytes, const std::filesystem::path& folder, const char* what,
                  const Transfer& transfer) {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n = transfer(done, bytes - done);
    if (n == 0) throw_system_error(folder, what, EIO);
    if (n < 0 && errno != EINTR) throw_system_error(folder, what, errno);
    done += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  }
}

}  // namespace

Activations::Activations(std::size_t rows, std::size_t width, const std::filesystem::path& folder)
    : width_(width), folder_(folder) {
  if (folder.empty())
    memory_.resize(rows * width);
  else
    file_ = unnamed_file(folder);
}

void Activations::write(std::size_t row, std::size_t rows, const float* from, std::size_t from_stride) {
  if (folder_.empty()) {
    for (std::size_t r = 0; r < rows; ++r)
      std::copy_n(from + r * from_stride, width_, memory_.data() + (row + r) * width_);
    return;
  }
  std::vector<float> dense(rows * width_);
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(from + r * from_stride, width_, dense.data() + r * width_);
  const auto bytes = std::as_bytes(std::span(dense));
  transfer_all(bytes.size(), folder_, "cannot write the activations",
               [&](std::size_t done, std::size_t left) {
                 return ::pwrite(file_.get(), bytes.data() + done, left,
                                 static_cast<off_t>(row * width_ * sizeof(float) + done));
               });
}

void Activations::read(std::size_t row, std::size_t rows, float* to) const {
  if (folder_.empty()) {
    std::copy_n(memory_.data() + row * width_, rows * width_, to);
    return;
  }
  const auto bytes = std::as_writable_bytes(std::span(to, rows * width_));
  transfer_all(bytes.size(), folder_, "cannot read the activations", [&](std::size_t done, std::size_t left) {
    return ::pread(file_.get(), bytes.data() + done, left,
                   static_cast<off_t>(row * width_ * sizeof(float) + done));
  });
}

void Activations::gather(std::span<const std::uint32_t> rows, float* to) const {
  for (std::size_t i = 0; i < rows.size(); ++i) read(rows[i], 1, to + i * width_);
}

}  // namespace baleen
