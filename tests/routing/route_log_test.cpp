// What is logged while a model runs, read back; against the experts that transformers chose.
#include "routing/route_log.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/router.h"
#include "routing/route_reader.h"
#include "routing/tally.h"
#include "runtime/session.h"

using namespace baleen;
using namespace baleen::testing;
namespace fs = std::filesystem;
using kernels::Path;

namespace {

// A folder that goes with the test.
struct Scratch {
  Scratch() {
    std::string name = (fs::temp_directory_path() / "baleen-routes-XXXXXX").string();
    dir = ::mkdtemp(name.data());
  }
  ~Scratch() { fs::remove_all(dir); }
  fs::path dir;
};

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// Everything that a log says.
struct Log {
  std::vector<RouteHeader> headers;
  std::vector<RouteToken> tokens;
  std::vector<RouteCounts> counts;
  std::vector<LayerLoad> loads;
  std::vector<std::string> notes;
  std::uint64_t problems = 0;
};

Log read_logs(const std::vector<fs::path>& files, bool keep_going = false) {
  Log log;
  RouteReader reader({.header = [&](const RouteHeader& h) { log.headers.push_back(h); },
                      .token = [&](const RouteToken& t) { log.tokens.push_back(t); },
                      .counts = [&](const RouteCounts& c) { log.counts.push_back(c); },
                      .load = [&](const LayerLoad& l) { log.loads.push_back(l); }},
                     {.weights = true, .scores = true}, keep_going);
  for (const fs::path& file : files) reader.read(file.string());
  log.notes = reader.notes();
  log.problems = reader.problems();
  return log;
}

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<TokenId> ids_of(const Expected& expected, std::string_view name) {
  std::vector<TokenId> ids;
  for (const std::int64_t id : expected.get<std::int64_t>(name)) ids.push_back(static_cast<TokenId>(id));
  return ids;
}

// The prompt in chunks, then the reference's own continuation, token by token.
void run_logged(const Model& model, const Expected& expected, RouteLog& log, std::size_t chunk = 2048) {
  ThreadPool pool(2);
  Session session(
      model, pool,
      {.kv_format = kernels::KvFormat::f32, .chunk = chunk, .kernels = kernels::find_kernels("scalar")});
  Observer observer;
  log.attach(observer);
  const auto ignore = [](std::size_t, std::span<const float>) {};
  session.feed(ids_of(expected, "input_ids"), Path::batch, Session::Want::none, ignore, &observer);
  const std::vector<TokenId> greedy = ids_of(expected, "greedy_ids");
  for (std::size_t i = 0; i + 1 < greedy.size(); ++i)
    session.feed({&greedy[i], 1}, Path::stream, Session::Want::none, ignore, &observer);
  log.finish();
}

fs::path golden_model(std::string_view name) {
  return golden_dir() / "models" / name;
}

}  // namespace

TEST_CASE("the log of every golden case holds the reference's experts, layer by layer") {
  const Scratch scratch;
  for (const fs::path& dir : golden_cases("models")) {
    CAPTURE(dir.filename().string());
    const Model model = Model::open(dir);
    const Expected expected(dir);
    const fs::path file = scratch.dir / (dir.filename().string() + ".jsonl");
    {
      RouteLog log(route_header(model, "m", RouteDetail::scores), file);
      run_logged(model, expected, log, 5);
    }
    const Log log = read_logs({file});
    REQUIRE(log.headers.size() == 1);
    const RouteHeader& header = log.headers[0];
    const std::vector<TokenId> prompt = ids_of(expected, "input_ids");
    const std::vector<TokenId> greedy = ids_of(expected, "greedy_ids");
    REQUIRE(log.tokens.size() == prompt.size() + greedy.size() - 1);
    for (std::size_t t = 0; t < log.tokens.size(); ++t) {
      const bool generated = t >= prompt.size();
      const TokenId id = generated ? greedy[t - prompt.size()] : prompt[t];
      CHECK(log.tokens[t].id == static_cast<std::uint64_t>(id));
      CHECK(log.tokens[t].position == t);
      CHECK(log.tokens[t].generated == generated);
      CHECK(log.tokens[t].pass == (generated ? (prompt.size() + 4) / 5 + t - prompt.size() : t / 5));
    }
    Tally tally(header);
    for (const RouteToken& token : log.tokens) tally.add(token);
    for (std::size_t l = 0; l < header.layers.size(); ++l) {
      const std::string name = "router." + std::to_string(header.layers[l]);
      const auto experts = expected.get<std::int64_t>(name + ".experts");
      const auto weights = expected.get<float>(name + ".weights");
      REQUIRE(experts.size() == prompt.size() * header.top_k);
      for (std::size_t i = 0; i < experts.size(); ++i) {
        const std::size_t at = l * header.top_k + i % header.top_k;
        CHECK(log.tokens[i / header.top_k].experts[at] == static_cast<std::uint32_t>(experts[i]));
        CHECK(log.tokens[i / header.top_k].weights[at] ==
              doctest::Approx(weights[i]).epsilon(1e-3).scale(0.1));
      }
      CHECK(tally.layers()[l].tokens == log.tokens.size());
    }
  }
}

TEST_CASE("scores are what was chosen by: the model's own choice comes out again") {
  for (const std::string name :
       {"deepseek_v3-moonlight", "deepseek_v3-grouped-yarn", "deepseek_v2-lite", "mixtral"}) {
    CAPTURE(name);
    const Scratch scratch;
    const Model model = Model::open(golden_model(name));
    {
      RouteLog log(route_header(model, name, RouteDetail::scores), scratch.dir / "log");
      run_logged(model, Expected(golden_model(name)), log);
    }
    const Log log = read_logs({scratch.dir / "log"});
    const RouteHeader& header = log.headers[0];
    CHECK(header.bias.empty() == (model.config().topk_method != TopkMethod::noaux_tc));
    if (header.method != TopkMethod::greedy && header.groups > 1 && header.bias.empty()) continue;
    for (const RouteToken& token : log.tokens)
      for (std::size_t l = 0; l < header.layers.size(); ++l) {
        // Without groups: no expert outside has a better biased score than one inside.
        if (header.groups > 1) continue;
        const auto biased = [&](std::size_t e) {
          return token.scores[l * header.experts + e] + (header.bias.empty() ? 0 : header.bias[l][e]);
        };
        std::vector<bool> inside(header.experts);
        for (std::size_t i = 0; i < header.top_k; ++i) inside[token.experts[l * header.top_k + i]] = true;
        float worst_inside = 1e30f;
        float best_outside = -1e30f;
        for (std::size_t e = 0; e < header.experts; ++e) {
          if (inside[e])
            worst_inside = std::min(worst_inside, biased(e));
          else
            best_outside = std::max(best_outside, biased(e));
        }
        CHECK(worst_inside >= best_outside);
      }
  }
}

TEST_CASE("each detail holds less, counts add up to the same loads") {
  const Scratch scratch;
  const Model model = Model::open(golden_model("qwen3_moe"));
  const Expected expected(golden_model("qwen3_moe"));
  std::map<RouteDetail, Log> logs;
  for (const RouteDetail detail : {RouteDetail::counts, RouteDetail::experts, RouteDetail::weights}) {
    const fs::path file = scratch.dir / std::string(route_detail_name(detail));
    {
      RouteLog log(route_header(model, "m", detail), file);
      log.name_request(0, "news", "\"first\"");
      run_logged(model, expected, log);
    }
    logs[detail] = read_logs({file});
  }
  const Log& counts = logs[RouteDetail::counts];
  const Log& experts = logs[RouteDetail::experts];
  CHECK(counts.tokens.empty());
  REQUIRE(counts.counts.size() == 2);  // prompt and generated
  CHECK(counts.counts[0].label == "news");
  CHECK(experts.tokens[0].weights.empty());
  CHECK(experts.tokens[0].label == "news");
  CHECK(logs[RouteDetail::weights].tokens[0].weights.size() == experts.tokens[0].experts.size());
  Tally by_counts(counts.headers[0]);
  for (const RouteCounts& c : counts.counts) by_counts.add(c);
  Tally by_tokens(experts.headers[0]);
  for (const RouteToken& t : experts.tokens) by_tokens.add(t);
  for (std::size_t l = 0; l < by_counts.layers().size(); ++l) {
    CHECK(by_counts.layers()[l].load == by_tokens.layers()[l].load);
    CHECK(by_counts.layers()[l].tokens == by_tokens.layers()[l].tokens);
  }
  CHECK(content(scratch.dir / "experts").find("{\"request\":0,\"id\":\"first\"}\n") != std::string::npos);
}

TEST_CASE("a log goes on where one of the same model ended, less a line that was cut off") {
  const Scratch scratch;
  const fs::path file = scratch.dir / "log";
  const Model model = Model::open(golden_model("olmoe"));
  const Expected expected(golden_model("olmoe"));
  const RouteHeader header = route_header(model, "olmoe", RouteDetail::experts);
  {
    RouteLog log(header, file);
    run_logged(model, expected, log);
    CHECK(message_of([&] { RouteLog(header, file); }) ==
          file.string() + ": another process writes this log now");
  }
  const std::string first = content(file);
  write_file(file, first + first.substr(first.find('\n') + 1, 30));
  const Log cut = read_logs({file});
  REQUIRE(cut.notes.size() == 1);
  CHECK(cut.notes[0].find("cut off") != std::string::npos);
  {
    RouteLog log(header, file);
    run_logged(model, expected, log);
  }
  CHECK(content(file) == first + first);
  const Log both = read_logs({file, file});
  CHECK(both.tokens.size() == 4 * cut.tokens.size());

  RouteHeader other = header;
  other.model = "another";
  CHECK(message_of([&] {
          RouteLog(other, file);
        }).find("model another, the log before it is of model olmoe") != std::string::npos);
  write_file(scratch.dir / "notes.txt", "my notes\n");
  CHECK(message_of([&] { RouteLog(header, scratch.dir / "notes.txt"); }).find("is there already") !=
        std::string::npos);
  CHECK(content(scratch.dir / "notes.txt") == "my notes\n");
  CHECK(message_of([&] { RouteLog(header, "/dev/full"); }) == "/dev/full: No space left on device");
  CHECK(message_of([&] { RouteLog(header, scratch.dir); }).find(scratch.dir.string()) == 0);
}

TEST_CASE("a pass that was cancelled leaves nothing") {
  const RouteHeader header{
      .model = "m", .layers = {1, 3}, .experts = 4, .top_k = 1, .detail = RouteDetail::weights};
  std::vector<RouteToken> seen;
  RouteCollector collector(header, [&](RouteToken& token) { seen.push_back(token); });
  Observer observer;
  collector.attach(observer);
  const std::vector<TokenInput> tokens = {{.id = 9, .position = 0, .request = 4},
                                          {.id = 8, .position = 1, .request = 4}};
  const std::vector<Choice> choices = {{2, 0.5f}, {3, 0.25f}};
  observer.route(1, tokens, choices);
  CHECK(seen.empty());
  observer.route(1, std::span(tokens).first(1), std::span(choices).last(1));
  observer.route(3, std::span(tokens).first(1), std::span(choices).first(1));
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].request == 4);
  CHECK(seen[0].experts == std::vector<std::uint32_t>{3, 2});
  CHECK(seen[0].weights == std::vector<float>{0.25f, 0.5f});
}

TEST_CASE("wrong logs: file and line, and what could be read") {
  const Scratch scratch;
  const std::string head =
      R"({"schema":1,"format":"baleen-routes","model":"a","layers":[1],"experts":4,"top_k":1,"scoring":"softmax",)"
      R"("method":"greedy","detail":"experts"})"
      "\n";
  const std::string good = R"({"r":0,"n":0,"p":0,"t":5,"g":0,"e":[[3]]})"
                           "\n";
  const std::string bad = R"({"r":0,"n":0,"p":0,"t":5,"g":0,"e":[[4]]})"
                          "\n";
  const fs::path file = scratch.dir / "log";
  write_file(file, head + good + bad + good + "nonsense\n" + good);
  CHECK(message_of([&] {
          read_logs({file});
        }).starts_with(file.string() + ": line 3: column 38: '4]]}', expected an expert"));
  const Log kept = read_logs({file}, true);
  CHECK(kept.tokens.size() == 3);
  CHECK(kept.problems == 2);
  CHECK(kept.notes.size() == 2);

  write_file(file, good);
  CHECK(message_of([&] { read_logs({file}); }) ==
        file.string() + ": line 1: no header in front of it that could be read");
  std::string other = head;
  other.replace(other.find("\"a\""), 3, "\"b\"");
  write_file(file, head + good + other + good + head + good);
  CHECK(message_of([&] { read_logs({file}); }) ==
        file.string() + ": line 3: model b, the log before it is of model a");
  const Log mixed = read_logs({file}, true);
  CHECK(mixed.tokens.size() == 2);
  CHECK(mixed.problems == 2);

  write_file(file, "");
  CHECK(message_of([&] { read_logs({file}); }) == file.string() + ": empty, expected a route log");
  write_file(file, head + good + good.substr(0, 20));
  CHECK(read_logs({file}).tokens.size() == 1);
  write_file(file, head + good + good.substr(0, good.size() - 1));  // whole, but for the newline
  CHECK(read_logs({file}).tokens.size() == 2);
  CHECK(message_of([&] { read_logs({scratch.dir / "none"}); }) ==
        (scratch.dir / "none").string() + ": No such file or directory");
}

TEST_CASE("long logs come through in pieces") {
  const Scratch scratch;
  std::string text =
      R"({"schema":1,"format":"baleen-routes","model":"a","layers":[1],"experts":4,"top_k":1,"scoring":"softmax",)"
      R"("method":"greedy","detail":"experts"})"
      "\n";
  std::uint64_t position = 0;
  while (text.size() < (std::size_t{5} << 20U)) {
    text += R"({"r":0,"n":0,"p":)" + std::to_string(position++) + R"(,"t":5,"g":0,"e":[[3]]})" + "\n";
    if (position % 1000 == 0) text.insert(text.size() - 2, ",\"x\":\"" + std::string(70000, 'x') + "\"");
  }
  write_file(scratch.dir / "log", text);
  const Log log = read_logs({scratch.dir / "log"});
  REQUIRE(log.tokens.size() == position);
  for (std::size_t i = 0; i < position; ++i)
    if (log.tokens[i].position != i) FAIL("token " << i);
}

TEST_CASE("loads as JSON, in every form") {
  const std::string layers =
      R"([{"layer":3,"load":[1,2,3],"tokens":3,"top_k":2,"gini":0.1},{"layer":4,"load":[6,0,1]}])";
  for (const std::string& text :
       {R"({"schema":1,"layers":)" + layers + "}", "{\n \"layers\":\n" + layers + "\n}\n", layers,
        std::string(R"({"layer":3,"load":[1,2,3],"tokens":3,"top_k":2})") + "\n\n" +
            R"({"layer":4,"load":[6,0,1]})" + "\n"}) {
    CAPTURE(text);
    const std::vector<LayerLoad> loads = parse_loads(text, "f");
    REQUIRE(loads.size() == 2);
    CHECK(loads[0].layer == 3);
    CHECK(loads[0].load == std::vector<std::uint64_t>{1, 2, 3});
    CHECK(loads[0].tokens == 3);
    CHECK(loads[0].top_k == 2);
    CHECK(loads[1].tokens == 7);
    CHECK(loads[1].top_k == 1);
  }
  const auto message = [](const std::string& text) { return message_of([&] { parse_loads(text, "f"); }); };
  CHECK(message(R"({"layer":3,"load":[1,2,3],"tokens":4,"top_k":2})") ==
        "f: layer 3: loads sum to 6, expected 4 tokens x 2 experts");
  CHECK(message(R"({"layer":3,"load":[1,-2]})") == "f: load of layer 3: -2, expected a number of tokens");
  CHECK(message(R"({"layer":3,"load":[]})").starts_with("f: load: [], expected"));
  CHECK(message(R"({"load":[1]})").starts_with("f: an object without \"layer\" and \"load\""));
  CHECK(message("hello").starts_with("f: not valid JSON"));
  CHECK(message(std::string(100000, '[')).find("nested deeper") != std::string::npos);
}

TEST_CASE("a second collector sees what the first one sees") {
  const fs::path dir = golden_model("deepseek_v3-moonlight");
  const Model model = Model::open(dir);
  const RouteHeader header = route_header(model, "m", RouteDetail::experts);
  std::vector<std::vector<std::uint32_t>> first;
  std::vector<std::vector<std::uint32_t>> second;
  RouteCollector one(header, [&](const RouteToken& token) { first.push_back(token.experts); });
  RouteCollector other(header, [&](const RouteToken& token) { second.push_back(token.experts); });
  Observer observer;
  one.attach(observer);
  other.attach(observer);
  ThreadPool pool(2);
  Session session(model, pool, {.context = 16, .kernels = kernels::find_kernels("scalar")});
  const std::vector<TokenId> ids = {5, 6, 7, 8};
  session.feed(ids, Path::batch, Session::Want::none, [](std::size_t, std::span<const float>) {}, &observer);
  CHECK(first.size() == ids.size());
  CHECK(second == first);
}
