// Drives a fuzz target without libFuzzer: every file of a corpus folder, then seeded mutations of them for a
// number of seconds. Usage: TARGET SECONDS CORPUS_DIR
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

// One to four edits of the kinds that parsers stumble over: a byte, a run removed, repeated or overwritten
// with a boundary value.
void mutate(Bytes& input, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  static constexpr std::uint8_t boundary[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '\\', '9', '-'};
  for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
    if (input.empty()) {
      input.push_back(static_cast<std::uint8_t>(below(256)));
      continue;
    }
    const std::size_t at = below(input.size());
    const std::size_t run = 1 + below(std::min<std::size_t>(input.size() - at, 16));
    const auto from = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(5)) {
      case 0: input[at] = static_cast<std::uint8_t>(below(256)); break;
      case 1: input[at] = boundary[below(std::size(boundary))]; break;
      case 2: input.erase(from, from + static_cast<std::ptrdiff_t>(run)); break;
      case 3: {
        const Bytes piece(from, from + static_cast<std::ptrdiff_t>(run));
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size())), piece.begin(), piece.end());
        break;
      }
      default: input.resize(at); break;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s SECONDS CORPUS_DIR\n", argv[0]);
    return 2;
  }
  std::vector<Bytes> corpus;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
    std::ifstream file(entry.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: empty corpus\n", argv[2]);
    return 1;
  }
  for (const Bytes& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::mt19937 random(1);
  std::size_t runs = corpus.size();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[1]));
  while (std::chrono::steady_clock::now() < end) {
    Bytes input = corpus[random() % corpus.size()];
    mutate(input, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++runs;
  }
  std::printf("%zu inputs\n", runs);
}
