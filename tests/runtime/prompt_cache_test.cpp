#include "runtime/prompt_cache.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "checkpoint/checksum.h"
#include "checkpoint/fixture.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/forward.h"
#include "model/model.h"
#include "report/version.h"

using namespace baleen;
using namespace baleen::test;
using kernels::KvFormat;

namespace {

constexpr KvFormat formats[] = {KvFormat::f32, KvFormat::bf16, KvFormat::int8};
const char* const models[] = {"models/deepseek_v3-moonlight", "models/qwen3_moe"};  // MLA, grouped queries

std::vector<TokenId> random_ids(std::size_t count, std::size_t vocab) {
  std::mt19937 random(3);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % vocab);
  return ids;
}

// A model that runs prompts on the scalar kernels, and the caches and files of one storage format.
struct Bench {
  Bench(const std::string& name, KvFormat format)
      : model(Model::open(testing::golden_dir() / name)),
        layout(model.config(), format),
        origin(kv_origin("0123456789abcdef", "scalar", layout, model.config().num_hidden_layers)),
        ids(random_ids(24, model.config().vocab_size)) {}

  KvCache empty(std::size_t context = 40) const {
    return {layout, model.config().num_hidden_layers, context};
  }

  // Feeds ids[cache.length(), ids.size()); returns the logits of all of them.
  std::vector<float> feed(KvCache& cache) {
    Forward forward(model, pool, *kernels::find_kernels("scalar"));
    std::vector<TokenInput> tokens;
    for (std::size_t i = cache.length(); i < ids.size(); ++i)
      tokens.push_back({ids[i], &cache, static_cast<std::uint32_t>(i), kernels::Path::batch, true});
    std::vector<float> logits;
    forward.run(tokens, [&](std::size_t, std::span<const float> row) {
      logits.insert(logits.end(), row.begin(), row.end());
    });
    return logits;
  }

  // A cache whose bytes are all different from their neighbours', without computing anything.
  KvCache filled() const {
    KvCache cache = empty();
    std::mt19937 random(5);
    for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
      const auto fill = [&](std::byte* at, std::size_t bytes) {
        std::generate_n(at, bytes, [&] { return static_cast<std::byte>(random()); });
      };
      fill(cache.keys(layer, 0), ids.size() * cache.key_stride());
      if (layout.value_width) fill(cache.values(layer, 0), ids.size() * cache.value_stride());
    }
    cache.set_length(ids.size());
    return cache;
  }

  void save(const std::filesystem::path& path, const KvCache& cache) const {
    NewFile file(path, true);
    save_prompt_cache(file, origin, ids, cache);
  }

  ThreadPool pool{2};
  Model model;
  KvLayout layout;
  KvOrigin origin;
  std::vector<TokenId> ids;
};

bool same_rows(const KvCache& a, const KvCache& b, std::size_t layers, std::size_t positions) {
  for (std::size_t layer = 0; layer < layers; ++layer) {
    if (std::memcmp(a.keys(layer, 0), b.keys(layer, 0), positions * a.key_stride()) != 0) return false;
    if (std::memcmp(a.values(layer, 0), b.values(layer, 0), positions * a.value_stride()) != 0) return false;
  }
  return true;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t files_in(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator entries(folder);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

// A file's parts, to put together again with one of them changed.
struct Parts {
  nlohmann::ordered_json header;
  std::string data;

  static Parts of(const std::string& file) {
    std::uint32_t size = 0;
    std::memcpy(&size, file.data() + 12, sizeof size);
    return {nlohmann::ordered_json::parse(file.substr(prompt_cache_prefix, size)),
            file.substr(prompt_cache_prefix + size)};
  }
  std::string bytes() const {
    const std::string json = header.dump();
    return "baleenKV" + raw<std::uint32_t>({2, static_cast<std::uint32_t>(json.size())}) +
           raw<std::uint64_t>({Checksum().add(as_bytes(json)).value()}) + json + data;
  }
};

// What loading `bytes` as a file, and copying everything out of it, throws; the file's folder is left out.
std::string damage(const Bench& bench, const std::string& bytes) {
  const TempDir dir;
  const auto path = dir.write("cache", bytes);
  KvCache cache = bench.empty();
  std::string message = error_of([&] {
    const PromptCache loaded = PromptCache::load(path, bench.origin);
    loaded.copy_into(cache, loaded.ids().size());
  });
  if (!message.empty()) CHECK(cache.length() == 0);
  if (message.starts_with(path.string())) message.erase(0, path.string().size() - 5);
  return message;
}

}  // namespace

TEST_CASE("a prompt goes on from saved rows as from rows it computed, bit for bit") {
  for (const char* name : models) {
    for (const KvFormat format : formats) {
      CAPTURE(name);
      CAPTURE(static_cast<int>(format));
      const TempDir dir;
      Bench bench(name, format);
      const std::size_t layers = bench.model.config().num_hidden_layers;
      KvCache computed = bench.empty();
      const std::vector<float> logits = bench.feed(computed);
      bench.save(dir.path() / "cache", computed);

      const PromptCache loaded = PromptCache::load(dir.path() / "cache", bench.origin);
      CHECK(loaded.ids() == bench.ids);
      for (const std::size_t positions : {std::size_t{1}, std::size_t{17}, bench.ids.size() - 1}) {
        KvCache cache = bench.empty(bench.ids.size());  // of another context: values lie elsewhere
        loaded.copy_into(cache, positions);
        CHECK(cache.length() == positions);
        const std::vector<float> rest = bench.feed(cache);
        REQUIRE(rest.size() == (bench.ids.size() - positions) * bench.model.config().vocab_size);
        CHECK(std::equal(rest.rbegin(), rest.rend(), logits.rbegin()));
        CHECK(same_rows(cache, computed, layers, bench.ids.size()));
      }
    }
  }
}

TEST_CASE("the prefix that a prompt and a file have in common") {
  const TempDir dir;
  Bench bench(models[0], KvFormat::bf16);
  bench.save(dir.path() / "cache", bench.filled());
  const PromptCache loaded = PromptCache::load(dir.path() / "cache", bench.origin);
  std::vector<TokenId> prompt = bench.ids;
  CHECK(loaded.common_rows(bench.model.config(), prompt) == prompt.size());
  prompt.push_back(1);
  CHECK(loaded.common_rows(bench.model.config(), prompt) == bench.ids.size());
  prompt[5] ^= 1;
  CHECK(loaded.common_rows(bench.model.config(), prompt) == 5);
  prompt.resize(3);
  CHECK(loaded.common_rows(bench.model.config(), prompt) == 3);
  prompt[0] ^= 1;
  CHECK(loaded.common_rows(bench.model.config(), prompt) == 0);
}

TEST_CASE("a file of another origin is refused by what differs") {
  const TempDir dir;
  Bench bench(models[1], KvFormat::bf16);
  bench.save(dir.path() / "cache", bench.filled());
  const auto refusal = [&](KvOrigin expected) {
    return error_of([&] { PromptCache::load(dir.path() / "cache", expected); });
  };
  const std::string file = (dir.path() / "cache").string();
  const std::string advice = "\nremove it or give another file";
  KvOrigin other = bench.origin;
  other.model = "ffffffffffffffff";
  CHECK(refusal(other) ==
        file + ": made with another model, fingerprint 0123456789abcdef, expected ffffffffffffffff" + advice);
  other = bench.origin;
  other.kernels = "avx2 (avx2 fma f16c)";
  CHECK(refusal(other) ==
        file + ": made on another instruction set, scalar, expected avx2 (avx2 fma f16c)" + advice);
  other = bench.origin;
  other.program = "baleen 99";
  CHECK(refusal(other) == file + ": made by another version, baleen " + std::string(version()) +
                              ", expected baleen 99" + advice);
  const KvLayout exact(bench.model.config(), KvFormat::f32);
  CHECK(refusal(kv_origin(bench.origin.model, bench.origin.kernels, exact, bench.origin.layers)) ==
        file + ": made for --kv-type bf16, expected f32" + advice);
  other = bench.origin;
  other.heads *= 2;
  CHECK(contains(refusal(other), "sizes of keys and values"));
}

TEST_CASE("a damaged file is refused, and says how") {
  const TempDir dir;
  Bench bench(models[1], KvFormat::int8);
  bench.save(dir.path() / "cache", bench.filled());
  const std::string good = read(dir.path() / "cache");
  REQUIRE(damage(bench, good).empty());

  CHECK(damage(bench, "") == "cache: not a prompt cache, expected one that --prompt-cache made, or no file");
  CHECK(damage(bench, "A text that is the prompt") == damage(bench, ""));
  const std::string advice = "\nremove it or give another file";
  CHECK(damage(bench, "baleenKV") == "cache: 8 bytes, expected 24 at least; the file is damaged" + advice);
  std::string file = good;
  file[8] = 3;
  CHECK(damage(bench, file) == "cache: a prompt cache of version 3, expected 2" + advice);
  file = good;
  file[15] = '\x7f';
  CHECK(contains(damage(bench, file), " bytes, expected "));
  file = good;
  file[prompt_cache_prefix + 20] ^= 1;
  CHECK(contains(damage(bench, file), "cache: header: checksum "));

  // Cut anywhere, or with more behind it: the sizes tell.
  for (const std::size_t size : {std::size_t{1}, std::size_t{30}, good.size() / 2, good.size() - 1})
    CHECK(!damage(bench, good.substr(0, size)).empty());
  CHECK(contains(damage(bench, good + "x"), " bytes of tokens and rows, expected 96 + "));

  // Any flipped bit of tokens and rows is found, and named.
  const std::size_t data = good.size() - Parts::of(good).data.size();
  file = good;
  file[data + 7] ^= 0x10;
  CHECK(contains(damage(bench, file), "cache: token ids: checksum "));
  CHECK(damage(bench, file).ends_with(advice));
  file = good;
  file.back() ^= 1;
  CHECK(contains(damage(bench, file),
                 "cache: layer " + std::to_string(bench.origin.layers - 1) + ": checksum "));
  file = good;
  file[data + bench.ids.size() * sizeof(TokenId)] ^= 1;
  CHECK(contains(damage(bench, file), "cache: layer 0: checksum "));
}

TEST_CASE("a header that its checksum fits is not believed either") {
  const TempDir dir;
  Bench bench(models[0], KvFormat::f32);
  bench.save(dir.path() / "cache", bench.filled());
  const Parts good = Parts::of(read(dir.path() / "cache"));
  REQUIRE(damage(bench, good.bytes()).empty());
  const auto with = [&](const char* key, const nlohmann::ordered_json& value) {
    Parts parts = good;
    parts.header[key] = value;
    return damage(bench, parts.bytes());
  };
  const std::uint64_t huge = ~std::uint64_t{0};
  CHECK(contains(with("schema", 2), "cache: schema: 2, expected "));
  CHECK(contains(with("tokens", 0), "cache: tokens: 0, expected a whole number from 1"));
  CHECK(contains(with("tokens", huge), "cache: tokens: "));
  CHECK(contains(with("tokens", 1U << 31), " bytes of tokens and rows, expected "));
  CHECK(contains(with("tokens", -1), "cache: tokens: -1"));
  CHECK(contains(with("layers", 1U << 20), "cache: layers: "));
  CHECK(contains(with("layers", 1), "cache: layer_checksums: "));
  CHECK(contains(with("heads", std::uint64_t{1} << 40), " bytes of tokens and rows, expected "));
  CHECK(contains(with("key_row_bytes", std::uint64_t{1} << 40), " bytes of tokens and rows, expected "));
  CHECK(contains(with("value_row_bytes", 4), " bytes of tokens and rows, expected "));
  CHECK(contains(with("model", "\x1b[2J"), "cache: model: \"\\u001b[2J\", expected a short text"));
  CHECK(contains(with("kernels", std::string(1000, 'x')), "cache: kernels: "));
  CHECK(contains(with("ids_checksum", "00"),
                 "cache: ids_checksum: \"00\", expected sixteen hexadecimal digits"));
  CHECK(contains(with("layer_checksums", {1, 2}), "cache: layer_checksums: "));

  Parts parts = good;
  parts.header.erase("tokens");
  CHECK(contains(damage(bench, parts.bytes()), "cache: tokens: not given, expected a whole number"));
  parts.header = nlohmann::ordered_json::array();
  CHECK(contains(damage(bench, parts.bytes()), "expected a JSON object"));
}

TEST_CASE("saving replaces a file at once or not at all") {
  Bench bench(models[0], KvFormat::f32);
  const TempDir dir;
  const auto path = dir.write("cache", "the old content");
  {
    NewFile file(path, true);
    file.write("half of the new");
    CHECK(read(path) == "the old content");
  }
  CHECK(read(path) == "the old content");
  CHECK(files_in(dir.path()) == 1);
  bench.save(path, bench.filled());
  CHECK(damage(bench, read(path)).empty());
  CHECK(files_in(dir.path()) == 1);
}

TEST_CASE("where there is no room for the new file the old one stays") {
  Bench bench(models[0], KvFormat::f32);
  const TempDir dir;
  const auto path = dir.write("cache", "the old content");
  // A limit on the size of files is met as a full disk is: by a write that takes a part, then by one that
  // fails.
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit low{2000, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
  const std::string message = error_of([&] { bench.save(path, bench.filled()); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(message == path.string() + ": File too large");
  CHECK(read(path) == "the old content");
  CHECK(files_in(dir.path()) == 1);
}

TEST_CASE("a process killed while it saves leaves the old file, and the next one saves") {
  Bench bench(models[0], KvFormat::f32);
  const TempDir dir;
  const auto path = dir.path() / "cache";
  bench.save(path, bench.filled());
  const std::string before = read(path);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    NewFile file(path, true);
    file.write(std::string_view(before).substr(0, before.size() / 2));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(read(path) == before);
  bench.ids[0] ^= 1;
  bench.save(path, bench.filled());
  CHECK(PromptCache::load(path, bench.origin).ids() == bench.ids);
}
