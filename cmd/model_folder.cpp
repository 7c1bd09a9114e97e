#include "cmd/model_folder.h"

#include <optional>
#include <system_error>

#include "error.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;

bool holds_model(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.json", error);
}

// The program can be moved, so it looks from where it stands.
std::optional<fs::path> bundled_model() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {};
  fs::path folder = program.parent_path();
  if (const fs::path installed = folder.parent_path() / "share/baleen/model"; holds_model(installed))
    return installed;
  // A build folder lies in the source tree: build/cmd, or build/PRESET/cmd.
  for (int levels = 0; levels < 3; ++levels) {
    folder = folder.parent_path();
    if (const fs::path model = folder / "examples/model"; holds_model(model)) return model;
  }
  return {};
}

}  // namespace

fs::path check_folder(std::string_view name) {
  fs::path folder(name);
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) throw Error(folder.string() + ": no such folder");
  if (error) throw Error(folder.string() + ": " + error.message());
  if (!fs::is_directory(status)) {
    throw Error(folder.string() +
                ": not a folder; a model is a folder with config.json, *.safetensors and tokenizer.json");
  }
  return folder;
}

fs::path default_model_folder() {
  if (const auto bundled = bundled_model()) return *bundled;
  throw UsageError(
      "no model is given, and none came with this program\ngive one with -m DIR or in $BALEEN_MODEL");
}

std::string folder_name(const fs::path& folder) {
  const fs::path path = fs::absolute(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

}  // namespace baleen::cmd
