#include "cmd/model_folder.h"

#include <optional>
#include <system_error>

#include "checkpoint/files.h"
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

constexpr const char* what_a_model_is =
    "a model is a folder with config.json, *.safetensors and tokenizer.json";

// For a name as models are published under, OWNER/NAME, which is no path here; else "".
std::string download_hint(std::string_view name) {
  const std::size_t slash = name.find('/');
  const bool is_published = slash != name.npos && slash > 0 && slash + 1 < name.size() &&
                            slash == name.rfind('/') && name[0] != '.' && name[0] != '~';
  if (!is_published) return "";
  return "\na model that is published under this name is downloaded first:\nhf download " +
         std::string(name) + " --local-dir DIR";
}

}  // namespace

fs::path check_folder(std::string_view name) {
  fs::path folder(name);
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found)
    throw Error(folder.string() + ": no such folder" + download_hint(name));
  if (error) throw Error(folder.string() + ": " + error.message());
  if (!fs::is_directory(status)) throw Error(folder.string() + ": not a folder; " + what_a_model_is);
  return folder;
}

void check_holds_model(const fs::path& folder) {
  if (!path_exists(folder / "config.json"))
    throw Error(folder.string() + ": no config.json in it; " + what_a_model_is);
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
