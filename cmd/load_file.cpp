#include "cmd/load_file.h"

#include <utility>

#include "checkpoint/files.h"
#include "cmd/loads_json.h"
#include "report/output_file.h"

namespace baleen::cmd {

LoadFile::LoadFile(std::filesystem::path path, bool overwrite, const Model& model, std::string name)
    : path_(std::move(path)),
      overwrite_(overwrite),
      header_(route_header(model, std::move(name), RouteDetail::experts)),
      loads_(header_),
      collector_(header_, [this](const RouteToken& token) { add(token); }) {
  // Whether a pipe has a reader shows when there is something to read.
  if (!path_exists(path_) || std::filesystem::is_regular_file(path_)) NewFile(path_, overwrite_);
}

void LoadFile::add(const RouteToken& token) {
  loads_.add(token);
  ++(token.generated ? generated_tokens_ : prompt_tokens_);
}

void LoadFile::write() const {
  NewFile file(path_, overwrite_);
  const LoadSummary summary{.source = LoadSummary::Source{.model = header_.model,
                                                          .experts = header_.experts,
                                                          .top_k = header_.top_k,
                                                          .tokens = prompt_tokens_ + generated_tokens_,
                                                          .prompt_tokens = prompt_tokens_,
                                                          .generated_tokens = generated_tokens_}};
  file.write("{" + loads_json(summary, loads_.layers()) + "}\n");
  file.commit();
}

}  // namespace baleen::cmd
