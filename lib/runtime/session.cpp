#include "runtime/session.h"

#include <algorithm>
#include <string>
#include <vector>

#include "error.h"

namespace baleen {

Session::Session(const Model& model, ThreadPool& pool, const SessionOptions& options)
    : model_(model),
      forward_(model, pool, *options.kernels, options.cancel, options.experts),
      context_(options.context ? options.context : model.config().max_position_embeddings),
      cache_(KvLayout(model.config(), options.kv_format), model.config().num_hidden_layers, context_),
      chunk_(std::max<std::size_t>(1, options.chunk)),
      expansion_(options.expansion) {}

std::size_t Session::position() const {
  return cache_.length();
}

void Session::check(std::span<const TokenId> ids) const {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= model_.config().vocab_size)
      throw Error("token " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                  " is outside the vocabulary of " + std::to_string(model_.config().vocab_size));
  if (ids.size() > context_ - position())
    throw Error(std::to_string(position() + ids.size()) + " tokens do not fit the context of " +
                std::to_string(context_));
}

void Session::feed(std::span<const TokenId> ids, kernels::Path path, Want want, const OnLogits& on_logits,
                   const Observer* observer) {
  check(ids);
  Positions expanded;
  if (path == kernels::Path::batch)
    expanded = expansion_.of(model_.config(), position(), position() + ids.size());
  for (std::size_t begin = 0; begin < ids.size(); begin += chunk_) {
    const std::size_t count = std::min(chunk_, ids.size() - begin);
    std::vector<TokenInput> tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
      const bool last = begin + i + 1 == ids.size();
      const std::size_t at = position() + i;
      tokens[i] = {.id = ids[begin + i],
                   .cache = &cache_,
                   .position = static_cast<std::uint32_t>(at),
                   .path = path,
                   .wants_logits = want == Want::all || (want == Want::last && last),
                   .generated = path == kernels::Path::stream,
                   .expanded = expanded.has(at)};
    }
    forward_.run(
        tokens, [&](std::size_t i, std::span<const float> logits) { on_logits(begin + i, logits); },
        observer);
  }
}

}  // namespace baleen
