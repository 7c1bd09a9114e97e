#include "runtime/scheduler.h"

#include <doctest/doctest.h>

#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/model.h"

using namespace baleen;
using namespace baleen::testing;

namespace {

struct Request {
  std::vector<TokenId> prompt;
  GenerateOptions options;
};

using Top = std::vector<std::pair<TokenId, double>>;

struct Outcome {
  std::vector<std::vector<TokenId>> ids;    // by request
  std::vector<std::vector<Top>> likeliest;  // likewise, the likeliest tokens in the place of each
  std::vector<std::string> errors;
  std::size_t computed = 0;  // prompt tokens
  std::size_t shared = 0;
  std::size_t passes = 0;
  std::size_t widest = 0;  // generated tokens in one pass
};

std::vector<TokenId> random_ids(std::mt19937& random, std::size_t count, std::size_t vocab) {
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % vocab);
  return ids;
}

// Requests of uneven length, sampled; every other one begins with the same 70 tokens.
std::vector<Request> some_requests(std::size_t count, std::size_t vocab) {
  std::mt19937 random(7);
  const std::vector<TokenId> system = random_ids(random, 70, vocab);
  std::vector<Request> requests(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 2 == 0) requests[i].prompt = system;
    const auto rest = random_ids(random, 1 + random() % 90, vocab);
    requests[i].prompt.insert(requests[i].prompt.end(), rest.begin(), rest.end());
    requests[i].options.max_new_tokens = 1 + random() % 12;
    requests[i].options.logprobs = 3;
    requests[i].options.sampling.temperature = i % 3 == 0 ? 0 : 1.5;
    requests[i].options.sampling.seed = i;
  }
  return requests;
}

Outcome run(const Model& model, const std::vector<Request>& requests, const SchedulerOptions& options,
            std::size_t threads = 2) {
  ThreadPool pool(threads);
  Scheduler scheduler(model, pool, options);
  Outcome outcome;
  outcome.ids.resize(requests.size());
  outcome.likeliest.resize(requests.size());
  outcome.errors.resize(requests.size());
  std::vector<std::unique_ptr<Generation>> generations;
  std::size_t next = 0;
  Observer observer;
  observer.route = [&](std::size_t, std::span<const TokenInput> tokens, std::span<const Choice>) {
    std::size_t generated = 0;
    for (const TokenInput& token : tokens) generated += token.generated;
    outcome.widest = std::max(outcome.widest, generated);
  };
  while (next < requests.size() || !scheduler.idle()) {
    while (next < requests.size() && scheduler.wants_more()) {
      const auto on_token = [&likeliest = outcome.likeliest[next]](const Step& step) {
        if (step.logprobs) likeliest.push_back(step.logprobs->top);
      };
      generations.push_back(std::make_unique<Generation>(requests[next].prompt, requests[next].options,
                                                         nullptr, model.config().vocab_size, 400,
                                                         GenerateEvents{on_token, {}}));
      scheduler.add(*generations.back());
      ++next;
    }
    for (const Finished& finished : scheduler.step(&observer)) {
      const auto at = std::find_if(generations.begin(), generations.end(),
                                   [&](const auto& g) { return g.get() == finished.generation; });
      const auto i = static_cast<std::size_t>(at - generations.begin());
      outcome.ids[i] = finished.generation->ids();
      outcome.computed += finished.times.prefilled_tokens;
      outcome.shared += finished.times.shared_tokens;
      CHECK(finished.times.prefilled_tokens + finished.times.shared_tokens == requests[i].prompt.size());
      CHECK_FALSE(finished.error);
    }
    ++outcome.passes;
    REQUIRE(outcome.passes < 10000);
  }
  return outcome;
}

SchedulerOptions options_for(const kernels::Kernels& kernels, std::size_t parallel) {
  SchedulerOptions options;
  options.kernels = &kernels;
  options.parallel = parallel;
  return options;
}

// Runs `count` generations to their end, of which `failing` alone must have an error: that.
std::exception_ptr only_error(Scheduler& scheduler, const Generation& failing, std::size_t count) {
  std::exception_ptr error;
  std::size_t errors = 0, done = 0;
  while (!scheduler.idle()) {
    for (const Finished& finished : scheduler.step()) {
      ++done;
      if (!finished.error) continue;
      ++errors;
      CHECK(finished.generation == &failing);
      error = finished.error;
    }
  }
  CHECK(errors == 1);
  CHECK(done == count);
  return error;
}

const kernels::Kernels& scalar() {
  return *kernels::find_kernels("scalar");
}

Model tiny_model(const std::string& name = "deepseek_v3-moonlight") {
  return Model::open(golden_dir() / "models" / name);
}

// The token that comes after the first `tokens` ids.
Generation first_token_after(const Model& model, const std::vector<TokenId>& ids, std::size_t tokens) {
  GenerateOptions options;
  options.max_new_tokens = 1;
  return Generation({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(tokens)}, options, nullptr,
                    model.config().vocab_size, 400, {[](auto&) {}, {}});
}

}  // namespace

TEST_CASE("a generation gives the same alone and in company, computed and copied, on every table") {
  for (const std::string name : {"deepseek_v3-moonlight", "qwen3_moe"}) {
    const Model model = tiny_model(name);
    const std::vector<Request> requests = some_requests(10, model.config().vocab_size);
    for (const auto& table : kernels::usable_tables()) {
      const std::string isa = std::string(table.isa) + " " + table.features;
      CAPTURE(name);
      CAPTURE(isa);
      SchedulerOptions alone = options_for(*table.kernels, 1);
      alone.kept = 0;
      const Outcome expected = run(model, requests, alone);
      CHECK(expected.shared == 0);
      CHECK(expected.widest == 1);
      for (const std::size_t parallel : {1, 3, 40}) {
        CAPTURE(parallel);
        SchedulerOptions together = options_for(*table.kernels, parallel);
        const Outcome outcome = run(model, requests, together, parallel == 3 ? 3 : 2);
        CHECK(outcome.ids == expected.ids);
        CHECK(outcome.likeliest == expected.likeliest);
        CHECK(outcome.shared >= 4 * 69);
        CHECK(outcome.widest <= parallel);
        if (parallel > 3) CHECK(outcome.widest > 3);
      }
      SchedulerOptions chunked = options_for(*table.kernels, 4);
      chunked.chunk = 33;
      chunked.mixed_chunk = 7;
      CHECK(run(model, requests, chunked).likeliest == expected.likeliest);
    }
  }
}

TEST_CASE(
    "generated tokens on the path of prompts: the same in company, and what they would give as a prompt") {
  const Model model = tiny_model();
  const std::vector<Request> requests = some_requests(10, model.config().vocab_size);
  for (const auto& table : kernels::usable_tables()) {
    const std::string isa = std::string(table.isa) + " " + table.features;
    CAPTURE(isa);
    SchedulerOptions alone = options_for(*table.kernels, 1);
    alone.generated_path = kernels::Path::batch;
    SchedulerOptions together = alone;
    together.parallel = 40;
    const Outcome outcome = run(model, requests, together);
    CHECK(run(model, requests, alone).likeliest == outcome.likeliest);
    CHECK(outcome.widest > 3);
    Request longer = requests[0];  // greedy
    REQUIRE(longer.options.sampling.temperature == 0);
    longer.options.max_new_tokens = 1;
    for (const TokenId id : outcome.ids[0]) {
      CHECK(run(model, {longer}, alone).ids[0] == std::vector<TokenId>{id});
      longer.prompt.push_back(id);
    }
  }
}

TEST_CASE("expanded blocks of prompts: the same alone and in company, computed and copied, in any chunks") {
  const Model model = tiny_model();
  const std::vector<Request> requests = some_requests(16, model.config().vocab_size);
  for (const auto& table : kernels::usable_tables()) {
    const std::string isa = std::string(table.isa) + " " + table.features;
    CAPTURE(isa);
    SchedulerOptions alone = options_for(*table.kernels, 1);
    alone.kept = 0;
    alone.expansion = {.first = 32, .block = 32, .far = 64, .far_block = 64};
    const Outcome expected = run(model, requests, alone);
    for (const std::size_t parallel : {1, 3, 40}) {
      CAPTURE(parallel);
      SchedulerOptions together = alone;
      together.parallel = parallel;
      together.kept = 2;
      const Outcome outcome = run(model, requests, together);
      CHECK(outcome.likeliest == expected.likeliest);
      CHECK(outcome.shared >= 7 * 64);  // whole blocks of the 70 tokens that every other one begins with
    }
    for (const std::size_t chunk : {5, 16, 40}) {
      CAPTURE(chunk);
      SchedulerOptions chunked = alone;
      chunked.parallel = 4;
      chunked.chunk = 2 * chunk;
      chunked.mixed_chunk = chunk;
      CHECK(run(model, requests, chunked).likeliest == expected.likeliest);
    }
  }
}

TEST_CASE("only rows that both prompts attend to in the same form are shared") {
  const Model model = tiny_model();
  std::mt19937 random(5);
  const std::vector<TokenId> ids = random_ids(random, 100, model.config().vocab_size);
  const auto shared = [&](std::size_t first, std::size_t second) {
    std::vector<Request> both(2);
    both[0].prompt.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(first));
    both[1].prompt.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(second));
    for (Request& request : both) request.options.max_new_tokens = 1;
    SchedulerOptions options = options_for(scalar(), 1);
    options.expansion = {.first = 32, .block = 16};
    return run(model, both, options).shared;
  };
  CHECK(shared(30, 31) == 30);
  CHECK(shared(30, 47) == 30);
  CHECK(shared(47, 49) == 32);  // [32, 48) is expanded in the second
  CHECK(shared(48, 49) == 48);
  CHECK(shared(48, 63) == 48);
  CHECK(shared(60, 90) == 48);
  CHECK(shared(90, 60) == 48);
  CHECK(shared(90, 95) == 90);
}

TEST_CASE("what is kept of a prompt that was cancelled has the form of the whole prompt") {
  const Model model = tiny_model();
  std::mt19937 random(5);
  const std::vector<TokenId> ids = random_ids(random, 100, model.config().vocab_size);
  std::atomic<bool> cancel{false};
  SchedulerOptions options = options_for(scalar(), 1);
  options.cancel = &cancel;
  options.chunk = 10;
  options.expansion = {.first = 32, .block = 16};
  const auto beginning = [&](std::size_t tokens) { return first_token_after(model, ids, tokens); };
  for (const auto& [prompt_tokens, shared] :
       {std::pair<std::size_t, std::size_t>{45, 32}, {48, 42}, {99, 42}}) {
    CAPTURE(prompt_tokens);
    ThreadPool pool(2);
    Scheduler scheduler(model, pool, options);
    Generation whole = beginning(100);
    scheduler.add(whole);
    for (int pass = 0; pass < 5; ++pass) scheduler.step();
    REQUIRE(scheduler.prefilled(whole) == 42);  // in the middle of a block
    cancel = true;
    CHECK(scheduler.step().size() == 1);
    cancel = false;
    Generation next = beginning(prompt_tokens);
    CHECK(generate(scheduler, next).shared_tokens == shared);
  }
}

TEST_CASE("a cache has a prompt's rows if it has them in the prompt's form") {
  const Model model = tiny_model();
  std::mt19937 random(5);
  const std::vector<TokenId> ids = random_ids(random, 100, model.config().vocab_size);
  SchedulerOptions options = options_for(scalar(), 1);
  options.expansion = {.first = 32, .block = 16};
  const auto beginning = [&](std::size_t tokens) { return first_token_after(model, ids, tokens); };
  ThreadPool pool(2);
  Scheduler scheduler(model, pool, options);
  Generation whole = beginning(90);
  generate(scheduler, whole);
  REQUIRE(scheduler.prompt_rows(whole) != nullptr);
  for (const std::size_t same : {1, 32, 48, 80, 85, 90}) {
    CAPTURE(same);
    CHECK(scheduler.prompt_rows(beginning(same)) == scheduler.prompt_rows(whole));
  }
  for (const std::size_t other : {33, 47, 79, 91}) {
    CAPTURE(other);
    CHECK(scheduler.prompt_rows(beginning(other)) == nullptr);
  }
  Generation shorter = beginning(40);
  generate(scheduler, shorter);
  CHECK(scheduler.prompt_rows(shorter) != nullptr);
  CHECK(scheduler.prompt_rows(whole) != nullptr);
}

TEST_CASE("a prompt that several begin with is computed once") {
  const Model model = tiny_model();
  std::vector<Request> requests = some_requests(1, model.config().vocab_size);
  requests.resize(6, requests[0]);
  const std::size_t tokens = requests[0].prompt.size();
  for (const std::size_t parallel : {1, 2, 6}) {
    const Outcome outcome = run(model, requests, options_for(scalar(), parallel));
    CHECK(outcome.computed == tokens + 5);  // each its own last token, for the logits
    CHECK(outcome.shared == 5 * (tokens - 1));
  }
}

TEST_CASE("two prompts in turns, one at a time: both stay in a cache") {
  const Model model = tiny_model();
  std::vector<Request> requests = some_requests(2, model.config().vocab_size);
  for (int i = 0; i < 6; ++i) requests.push_back(requests[static_cast<std::size_t>(i % 2)]);
  const std::size_t tokens = requests[0].prompt.size() + requests[1].prompt.size();
  CHECK(run(model, requests, options_for(scalar(), 1)).computed == tokens + 6);
}

TEST_CASE("prompts whose logits are all asked for are computed whole") {
  const Model model = tiny_model();
  std::vector<Request> requests = some_requests(1, model.config().vocab_size);
  requests[0].options.logprobs = 0;
  requests[0].options.prompt_logprobs = true;
  requests.resize(3, requests[0]);
  CHECK(run(model, requests, options_for(scalar(), 2)).shared == 0);
}

TEST_CASE("KV caches stay within their memory, one sequence at least goes on") {
  const Model model = tiny_model();
  const std::vector<Request> requests = some_requests(9, model.config().vocab_size);
  const Outcome expected = run(model, requests, options_for(scalar(), 8));
  SchedulerOptions options = options_for(scalar(), 8);
  const KvLayout layout(model.config(), options.kv_format);
  options.kv_bytes = 3 * 256 * layout.position_bytes * model.config().num_hidden_layers;
  const Outcome narrow = run(model, requests, options);
  CHECK(narrow.ids == expected.ids);
  CHECK(narrow.widest <= 3);
  CHECK(narrow.widest > 1);
  options.kv_bytes = 0;
  CHECK(run(model, requests, options).widest == 1);
}

TEST_CASE("a cache that was taken over counts as what it is") {
  const Model model = tiny_model();
  std::mt19937 random(3);
  const std::size_t vocab = model.config().vocab_size;
  const std::vector<TokenId> begin = random_ids(random, 40, vocab);
  const std::vector<TokenId> other = random_ids(random, 40, vocab);
  SchedulerOptions options = options_for(scalar(), 2);
  const KvLayout layout(model.config(), options.kv_format);
  options.kv_bytes = (256 + 512) * layout.position_bytes * model.config().num_hidden_layers;
  ThreadPool pool(2);
  Scheduler scheduler(model, pool, options);
  const auto generation = [&](const std::vector<TokenId>& prompt, std::size_t tokens,
                              std::vector<TokenId> end_tokens = {}) {
    GenerateOptions generate;
    generate.max_new_tokens = tokens;
    generate.end_tokens = std::move(end_tokens);
    return Generation(prompt, generate, nullptr, vocab, 500, GenerateEvents{[](auto&) {}, {}});
  };
  // The first needs 512 tokens of cache, ends at once, and leaves it to the second, which needs 256.
  std::vector<TokenId> any(vocab);
  std::iota(any.begin(), any.end(), 0);
  Generation first = generation(begin, 400, any);
  scheduler.add(first);
  REQUIRE(scheduler.step().size() == 1);
  Generation second = generation(begin, 3);
  Generation third = generation(other, 400);
  scheduler.add(second);
  scheduler.step();
  scheduler.add(third);
  scheduler.step();
  CHECK(scheduler.prefilled(second) == begin.size());
  CHECK(scheduler.prefilled(third) == 0);  // there is no room for 512 more
  REQUIRE(scheduler.step().size() == 1);
  scheduler.step();
  CHECK(scheduler.prefilled(third) == other.size());
}

TEST_CASE("an error of one generation is its own") {
  const Model model = tiny_model();
  const std::vector<Request> requests = some_requests(3, model.config().vocab_size);
  ThreadPool pool(2);
  Scheduler scheduler(model, pool, options_for(scalar(), 3));
  std::vector<std::unique_ptr<Generation>> generations;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto on_token = [i](const Step&) {
      if (i == 1) throw Error("no more of this");
    };
    generations.push_back(std::make_unique<Generation>(requests[i].prompt, requests[i].options, nullptr,
                                                       model.config().vocab_size, 400,
                                                       GenerateEvents{on_token, {}}));
    scheduler.add(*generations.back());
  }
  const std::exception_ptr error = only_error(scheduler, *generations[1], 3);
  REQUIRE(error);
  CHECK_THROWS_WITH_AS(std::rethrow_exception(error), "no more of this", Error);
}

TEST_CASE("a KV cache that cannot be had is an error of its generation") {
  const Model model = tiny_model();
  const std::vector<Request> requests = some_requests(3, model.config().vocab_size);
  ThreadPool pool(2);
  Scheduler scheduler(model, pool, options_for(scalar(), 3));
  std::vector<std::unique_ptr<Generation>> generations;
  for (std::size_t i = 0; i < 3; ++i) {
    GenerateOptions options = requests[i].options;
    if (i == 1) options.max_new_tokens.reset();
    const std::size_t context = i == 1 ? std::size_t{1} << 44 : 400;
    generations.push_back(std::make_unique<Generation>(requests[i].prompt, options, nullptr,
                                                       model.config().vocab_size, context,
                                                       GenerateEvents{[](const Step&) {}, {}}));
    scheduler.add(*generations.back());
  }
  const std::exception_ptr error = only_error(scheduler, *generations[1], 3);
  REQUIRE(error);
  CHECK_THROWS_AS(std::rethrow_exception(error), Error);
}

TEST_CASE("a pass that fails ends all, and the next generation begins anew") {
  const Model model = tiny_model();
  std::vector<Request> requests = some_requests(3, model.config().vocab_size);
  requests[2].options.max_new_tokens = 5;
  ThreadPool pool(2);
  SchedulerOptions options = options_for(scalar(), 1);
  options.kept = 1;
  Scheduler scheduler(model, pool, options);
  const auto generation = [&](const Request& request) {
    return std::make_unique<Generation>(request.prompt, request.options, nullptr, model.config().vocab_size,
                                        400, GenerateEvents{[](auto&) {}, {}});
  };
  Observer full_disk;
  full_disk.route = [](std::size_t, std::span<const TokenInput>, std::span<const Choice>) {
    throw Error("no space left");
  };
  {
    const auto runs = generation(requests[2]), waits = generation(requests[1]);
    scheduler.add(*runs);
    scheduler.step();
    scheduler.add(*waits);
    CHECK_THROWS_WITH_AS(scheduler.step(&full_disk), "no space left", Error);
  }
  CHECK(scheduler.idle());
  const auto again = generation(requests[2]);
  generate(scheduler, *again);
  const auto alone = generation(requests[2]);
  Scheduler other(model, pool, options);
  generate(other, *alone);
  CHECK(again->ids() == alone->ids());
}

TEST_CASE("the cancel flag ends those that run and those that wait") {
  const Model model = tiny_model();
  const std::vector<Request> requests = some_requests(4, model.config().vocab_size);
  std::atomic<bool> cancel{false};
  ThreadPool pool(2);
  SchedulerOptions options = options_for(scalar(), 2);
  options.cancel = &cancel;
  Scheduler scheduler(model, pool, options);
  std::vector<std::unique_ptr<Generation>> generations;
  for (const Request& request : requests) {
    generations.push_back(std::make_unique<Generation>(request.prompt, request.options, nullptr,
                                                       model.config().vocab_size, 400,
                                                       GenerateEvents{[](auto&) {}, {}}));
    scheduler.add(*generations.back());
  }
  scheduler.step();
  cancel = true;
  CHECK(scheduler.step().size() == 4);
  CHECK(scheduler.idle());
  for (const auto& generation : generations) CHECK(generation->finish_reason() == FinishReason::cancelled);
}

TEST_CASE("rows that were computed elsewhere are taken for a prompt's beginning") {
  const Model model = tiny_model("qwen3_moe");
  std::mt19937 random(9);
  Request request;
  request.prompt = random_ids(random, 80, model.config().vocab_size);
  request.options.max_new_tokens = 5;
  request.options.sampling.temperature = 0;
  ThreadPool pool(2);
  const auto generation = [&](std::size_t prompt_tokens) {
    std::vector<TokenId> prompt = request.prompt;
    prompt.resize(prompt_tokens);
    return Generation(prompt, request.options, nullptr, model.config().vocab_size, 400, {[](auto&) {}, {}});
  };
  Scheduler first(model, pool, options_for(scalar(), 1));
  Generation whole = generation(80);
  CHECK(first.prompt_rows(whole) == nullptr);
  generate(first, whole);
  REQUIRE(first.prompt_rows(whole) != nullptr);
  Generation beginning = generation(50);
  CHECK(first.prompt_rows(beginning) == first.prompt_rows(whole));
  Generation longer = generation(81);
  CHECK(first.prompt_rows(longer) == nullptr);

  Scheduler second(model, pool, options_for(scalar(), 1));
  Generation again = generation(80);
  KvCache rows = second.new_cache(again);
  for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer)
    rows.copy_rows(*first.prompt_rows(whole), layer, 60);
  rows.set_length(60);
  second.keep({request.prompt.begin(), request.prompt.begin() + 60}, 80, std::move(rows));
  const GenerateTimes times = generate(second, again);
  CHECK(times.shared_tokens == 60);
  CHECK(times.prefilled_tokens == 20);
  CHECK(again.ids() == whole.ids());
}
