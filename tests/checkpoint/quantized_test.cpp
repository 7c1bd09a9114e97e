#include "checkpoint/quantized.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "checkpoint/files.h"
#include "checkpoint/fixture.h"

using namespace baleen;
using namespace baleen::test;
using kernels::Format;
using kernels::Matrix;

namespace {

// ---- What a Matrix means, written down once more without any kernel's help.

template <typename T>
T load(const std::byte* bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
  return value;
}

float f16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const auto mantissa = static_cast<float>(bits & 1023);
  const float value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits >> 15 ? -value : value;
}

float fp8_value(std::uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const auto mantissa = static_cast<float>(bits & 7);
  const float value = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return bits >> 7 ? -value : value;
}

float e2m1_value(unsigned code) {
  const int exponent = static_cast<int>(code >> 1 & 3);
  const float fraction = static_cast<float>(code & 1) / 2;
  const float value = exponent == 0 ? fraction : std::ldexp(1 + fraction, exponent - 1);
  return code >> 3 ? -value : value;
}

float number(Format format, const std::byte* bytes, std::size_t i) {
  switch (format) {
    case Format::mxfp4:
      return e2m1_value(load<std::uint8_t>(bytes, i / 2) >> i % 2 * 4 & 15u);
    case Format::e8m0:
      return std::ldexp(1.0f, load<std::uint8_t>(bytes, i) - 127);
    case Format::f32:
      return load<float>(bytes, i);
    case Format::f16:
      return f16_value(load<std::uint16_t>(bytes, i));
    case Format::bf16:
      return std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(bytes, i)} << 16);
    default:
      return fp8_value(load<std::uint8_t>(bytes, i));
  }
}

int packed_value(unsigned bits, const std::byte* row, std::size_t i) {
  const auto word = load<std::uint32_t>(row, i * bits / 32);
  const unsigned value = word >> i * bits % 32 & ((1u << bits) - 1);
  return static_cast<int>(value) - (1 << (bits - 1));
}

float widened(const Matrix& m, std::size_t r, std::size_t c) {
  const std::byte* row = m.values + r * m.row_bytes;
  const bool packed = m.format == Format::int4 || m.format == Format::int8;
  if (m.scales == nullptr) return number(m.format, row, c);
  const std::size_t group =
      m.group_index ? static_cast<std::size_t>(load<std::int32_t>(m.group_index, c)) : c / m.block_cols;
  const float scale = number(m.scale_format, m.scales, r / m.block_rows * m.scale_cols + group);
  if (!packed) return number(m.format, row, c) * scale;
  const unsigned bits = m.format == Format::int4 ? 4 : 8;
  int value = packed_value(bits, row, c);
  if (m.zeros != nullptr) {  // a column of zeros is packed down the rows
    const auto word = load<std::uint32_t>(m.zeros, r * bits / 32 * m.scale_cols + group);
    value -= static_cast<int>(word >> r * bits % 32 & ((1u << bits) - 1)) - (1 << (bits - 1));
  }
  return static_cast<float>(value) * scale;
}

// ---- A one-module checkpoint and its config.

struct Fixture {
  std::vector<StoredTensor> tensors;
  nlohmann::json quantization;

  std::optional<Weight> find(std::size_t rows, std::size_t cols, std::string_view module = "m") {
    const TempDir folder;
    folder.write("model.safetensors", safetensors(tensors));
    checkpoint.emplace(Checkpoint::open(folder.path()));  // the mapping outlives the folder
    const std::string config = nlohmann::json{{"quantization_config", quantization}}.dump();
    problems.clear();
    return find_weight(*checkpoint, parse_quantization(config, "config.json"), module, rows, cols, problems);
  }

  std::string problem(std::size_t rows, std::size_t cols, std::string_view module = "m") {
    CHECK_FALSE(find(rows, cols, module).has_value());
    return problems.empty() ? "" : problems.front();
  }

  void add(const std::string& name, const char* dtype, std::vector<std::uint64_t> shape, std::string bytes) {
    tensors.push_back({name, dtype, std::move(shape), std::move(bytes)});
  }
  void remove(const std::string& name) {
    std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
  }
  void replace(const std::string& name, const char* dtype, std::vector<std::uint64_t> shape,
               std::string bytes) {
    remove(name);
    add(name, dtype, std::move(shape), std::move(bytes));
  }

  std::optional<Checkpoint> checkpoint;
  std::vector<std::string> problems;
};

nlohmann::json packed_config(const nlohmann::json& weights) {
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"ignore", {"lm_head", "re:.*gate$"}},
          {"config_groups",
           {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}, {"input_activations", nullptr}}}}}};
}

// Words that compressed-tensors 0.20 packs (pack_to_int32) for values (7 r + 5 c) mod 16 - 8 of [10, 24] and
// zero points (3 r + 5 g) mod 16 - 8 of [10, 3].
const std::string int4_words = raw<std::uint32_t>(
    {1049950800, 3055317720, 1049950800, 2768986567, 763619663,  2768986567, 477288510,  2499432630,
     477288510,  2213105573, 190957357,  2213105573, 4199593500, 1926774420, 4199593500, 1640443267,
     3914310923, 1640443267, 3627980026, 1354112114, 3627980026, 1336216417, 3341648873, 1336216417,
     3055317720, 1049950800, 3055317720, 763619663,  2768986567, 763619663});
const std::string int4_zeros = raw<std::uint32_t>({1392285232, 2806115205, 4237701338, 184, 13, 82});
// Likewise 8 bits: (7 r + 5 c) mod 256 - 128 of [5, 6], zero points 3 r - 128 of [5, 1].
const std::string int8_words = raw<std::uint32_t>(
    {252314880, 6420, 370215943, 8219, 488117006, 10018, 606018069, 11817, 723919132, 13616});
const std::string int8_zeros = raw<std::uint32_t>({151388928, 12});

float int4_scale(std::size_t r, std::size_t g) {
  return static_cast<float>(r + 1) + 0.25f * static_cast<float>(g);
}

Fixture int4_fixture() {
  Fixture f;
  std::string scales;
  for (std::size_t r = 0; r < 10; ++r)
    for (std::size_t g = 0; g < 3; ++g) scales += raw<float>({int4_scale(r, g)});
  f.add("m.weight_packed", "I32", {10, 3}, int4_words);
  f.add("m.weight_scale", "F32", {10, 3}, scales);
  f.add("m.weight_shape", "I64", {2}, raw<std::int64_t>({10, 24}));
  f.add("m.weight_zero_point", "I32", {2, 3}, int4_zeros);
  f.quantization = packed_config({{"num_bits", 4}, {"type", "int"}, {"symmetric", false}, {"group_size", 8}});
  return f;
}

// What compressed-tensors 0.20 packs (MXFP4PackedCompressor) of the values whose codes are (7 r + 5 c) mod 16
// of [3, 64], times 2^(r - g) for group g.
const std::string mxfp4_bytes = raw<std::uint8_t>(
    {80,  250, 148, 62,  208, 114, 28,  182, 80,  250, 148, 62,  208, 114, 28,  182, 80,  250, 148, 62,
     208, 114, 28,  182, 80,  250, 148, 62,  208, 114, 28,  182, 199, 97,  11,  165, 79,  233, 3,   45,
     199, 97,  11,  165, 79,  233, 3,   45,  199, 97,  11,  165, 79,  233, 3,   45,  199, 97,  11,  165,
     79,  233, 3,   45,  62,  208, 114, 28,  182, 80,  250, 148, 62,  208, 114, 28,  182, 80,  250, 148,
     62,  208, 114, 28,  182, 80,  250, 148, 62,  208, 114, 28,  182, 80,  250, 148});
const std::string mxfp4_scales = raw<std::uint8_t>({127, 126, 128, 127, 129, 128});

Fixture mxfp4_fixture() {
  Fixture f;
  f.add("m.weight_packed", "U8", {3, 32}, mxfp4_bytes);
  f.add("m.weight_scale", "U8", {3, 2}, mxfp4_scales);
  f.quantization = packed_config({{"num_bits", 4}, {"type", "float"}, {"group_size", 32}});
  f.quantization["format"] = "mxfp4-pack-quantized";
  return f;
}

Fixture fp8_fixture() {
  Fixture f;
  f.add("m.weight", "F8_E4M3", {3, 5}, std::string(15, '\x38'));  // 1.0
  f.add("m.weight_scale_inv", "F32", {2, 3}, raw<float>({1, 2, 3, 4, 5, 6}));
  f.quantization = {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {2, 2}}};
  return f;
}

}  // namespace

TEST_CASE("golden weights widen to what torch and compressed-tensors compute") {
  struct Value {
    std::size_t row, col;
    float value;
  };
  struct Case {
    const char* format;
    const char* module;
    std::size_t rows, cols;
    double sum_of_absolutes;
    std::array<Value, 8> values;
  };
  // float8_e4m3fn times block scale, and unpack_from_int32 times group scale, in float32.
  static constexpr Case cases[] = {
      {"fp8",
       "model.layers.0.mlp.down_proj",
       192,
       320,
       3286.74745,
       {{{0, 0, -0.00917867757f},
         {0, 319, -0.046180062f},
         {191, 0, 0.0573682636f},
         {191, 319, -0.0243082121f},
         {1, 31, 0.091786772f},
         {1, 32, 0.0298307016f},
         {127, 128, 0.0565988719f},
         {96, 106, -0.091786772f}}}},
      {"fp8",
       "model.layers.1.self_attn.q_a_proj",
       96,
       192,
       1267.22777,
       {{{0, 0, -0.146549225f},
         {0, 191, 0.0428529941f},
         {95, 0, -0.0976994783f},
         {95, 191, -0.15822643f},
         {1, 31, -0.0854870453f},
         {1, 32, -0.0793808252f},
         {95, 128, -0.052742146f},
         {48, 64, -0.0976994783f}}}},
      {"fp8",
       "model.layers.2.mlp.experts.7.gate_proj",
       160,
       192,
       2116.54507,
       {{{0, 0, 0.0598326065f},
         {0, 191, 0.0142494868f},
         {159, 0, 0.040228799f},
         {159, 191, -0.128578514f},
         {1, 31, -0.0930729434f},
         {1, 32, 0.0166201685f},
         {127, 128, -0.0102912961f},
         {80, 64, 0.073128745f}}}},
      {"int4",
       "model.layers.0.mlp.down_proj",
       192,
       320,
       3241.91791,
       {{{0, 0, -0.087890625f},
         {0, 319, 0.0231933594f},
         {191, 0, -0.173828125f},
         {191, 319, -0.0358886719f},
         {1, 31, -0.0622558594f},
         {1, 32, 0.0329589844f},
         {127, 128, -0.0375976562f},
         {96, 106, -0.0639648438f}}}},
      {"int4",
       "model.layers.2.mlp.experts.7.gate_proj",
       160,
       192,
       2114.16357,
       {{{0, 0, 0.f},
         {0, 191, -0.178710938f},
         {159, 0, 0.108398438f},
         {159, 191, 0.f},
         {1, 31, 0.f},
         {1, 32, -0.0446777344f},
         {127, 128, -0.204223633f},
         {80, 64, 0.f}}}},
      {"int4",
       "model.layers.1.self_attn.kv_a_proj_with_mqa",
       96,
       192,
       1248.75696,
       {{{0, 0, 0.f},
         {0, 191, 0.f},
         {95, 0, 0.0208740234f},
         {95, 191, -0.185424805f},
         {1, 31, -0.0490722656f},
         {1, 32, -0.0747070312f},
         {95, 128, -0.0329589844f},
         {48, 64, 0.f}}}},
      {"int8",
       "model.layers.0.mlp.down_proj",
       192,
       320,
       3283.13595,
       {{{0, 0, 0.0608444214f},
         {0, 319, -0.0238037109f},
         {191, 0, 0.015411377f},
         {191, 319, 0.0590515137f},
         {1, 31, -0.0293121338f},
         {1, 32, -0.0563049316f},
         {127, 128, 0.0646057129f},
         {96, 106, -0.100250244f}}}},
      {"int8",
       "model.layers.2.mlp.experts.7.gate_proj",
       160,
       192,
       2113.34922,
       {{{0, 0, -0.0751876831f},
         {0, 191, -0.0286102295f},
         {159, 0, 0.0720977783f},
         {159, 191, -0.0305175781f},
         {1, 31, 0.0718994141f},
         {1, 32, -0.128814697f},
         {127, 128, -0.0478057861f},
         {80, 64, -0.0352478027f}}}},
      {"int8",
       "model.layers.1.self_attn.kv_a_proj_with_mqa",
       96,
       192,
       1280.73772,
       {{{0, 0, -0.102005005f},
         {0, 191, -0.0424575806f},
         {95, 0, -0.0119781494f},
         {95, 191, -0.0969772339f},
         {1, 31, -0.00679016113f},
         {1, 32, -0.0355224609f},
         {95, 128, 0.0643005371f},
         {48, 64, 0.0294189453f}}}},
  };
  for (const Case& test : cases) {
    CAPTURE(test.format);
    CAPTURE(test.module);
    const auto dir = golden_model(std::string("deepseek_v3-") + test.format);
    const Checkpoint checkpoint = Checkpoint::open(dir);
    const Quantization quantization =
        parse_quantization(read_small_file(dir / "config.json", 1 << 20), "config.json");
    std::vector<std::string> problems;
    const auto weight = find_weight(checkpoint, quantization, test.module, test.rows, test.cols, problems);
    REQUIRE(weight.has_value());
    CHECK(weight->format_name.starts_with(test.format));
    double sum = 0;
    for (std::size_t r = 0; r < test.rows; ++r)
      for (std::size_t c = 0; c < test.cols; ++c) sum += std::abs(widened(weight->matrix, r, c));
    CHECK(sum == doctest::Approx(test.sum_of_absolutes).epsilon(1e-8));
    for (const Value& v : test.values) CHECK(widened(weight->matrix, v.row, v.col) == v.value);
  }
}

TEST_CASE("plain weights") {
  Fixture f;
  f.add("a.weight", "BF16", {2, 2}, raw<std::uint16_t>({0x3f80, 0x4000, 0xc040, 0}));
  f.add("b.weight", "F16", {1, 2}, raw<std::uint16_t>({0x3c00, 0xc000}));
  f.add("c.weight", "F32", {1, 1}, raw<float>({0.1f}));
  auto weight = f.find(2, 2, "a");
  REQUIRE(weight);
  CHECK(weight->format_name == "bf16");
  CHECK(weight->bytes == 8);
  CHECK(widened(weight->matrix, 1, 0) == -3);
  weight = f.find(1, 2, "b");
  REQUIRE(weight);
  CHECK(widened(weight->matrix, 0, 1) == -2);
  weight = f.find(1, 1, "c");
  REQUIRE(weight);
  CHECK(widened(weight->matrix, 0, 0) == 0.1f);
  CHECK(f.problem(2, 3, "a") == "model.safetensors: a.weight: shape [2, 2], expected [2, 3]");
  CHECK(f.problem(2, 3, "d") == "d.weight: missing, expected [2, 3]");
  f.add("e.weight", "I32", {1, 1}, raw<std::int32_t>({1}));
  CHECK(f.problem(1, 1, "e") == "model.safetensors: e.weight: dtype I32, expected BF16 or F16 or F32");
  f.add("a.weight_scale_inv", "F32", {1, 1}, raw<float>({1}));
  CHECK(contains(f.problem(2, 2, "a"), "a.weight_scale_inv: beside BF16 a.weight"));
}

TEST_CASE("fp8 blocks, partial ones at the edges") {
  Fixture f = fp8_fixture();
  auto weight = f.find(3, 5);
  REQUIRE(weight);
  CHECK(weight->format_name == "fp8 2x2");
  CHECK(weight->bytes == 15 + 24);
  CHECK(widened(weight->matrix, 0, 0) == 1);
  CHECK(widened(weight->matrix, 1, 4) == 3);
  CHECK(widened(weight->matrix, 2, 3) == 5);
  CHECK(widened(weight->matrix, 2, 4) == 6);
  f.replace("m.weight_scale_inv", "BF16", {2, 3}, std::string(12, '\0'));
  CHECK(f.find(3, 5).has_value());
  f.replace("m.weight_scale_inv", "F8_E8M0", {2, 3}, std::string(6, '\x7f'));
  CHECK(contains(f.problem(3, 5), "m.weight_scale_inv: dtype F8_E8M0, expected F32"));
  f.replace("m.weight_scale_inv", "F32", {1, 3}, std::string(12, '\0'));
  CHECK(contains(f.problem(3, 5), "m.weight_scale_inv: shape [1, 3], expected [2, 3]"));
  f.remove("m.weight_scale_inv");
  CHECK(f.problem(3, 5) == "m.weight_scale_inv: missing, expected scales [2, 3] of an F8_E4M3 weight");
}

TEST_CASE("fp8 with one scale") {
  Fixture f = fp8_fixture();
  f.quantization["weight_block_size"] = nullptr;
  for (const auto& shape : {std::vector<std::uint64_t>{}, {1}, {1, 1}}) {
    f.replace("m.weight_scale_inv", "F32", shape, raw<float>({0.5f}));
    const auto weight = f.find(3, 5);
    REQUIRE(weight);
    CHECK(weight->format_name == "fp8 per tensor");
    CHECK(widened(weight->matrix, 2, 4) == 0.5f);
  }
}

TEST_CASE("fp8 against its config") {
  Fixture f = fp8_fixture();
  f.quantization["modules_to_not_convert"] = {"lm_head", "m"};
  CHECK(contains(f.problem(3, 5), "lists it as not converted"));
  f.quantization = nullptr;
  CHECK(contains(f.problem(3, 5), "m.weight: F8_E4M3, but config.json has no quantization_config"));
  f = fp8_fixture();
  f.replace("m.weight", "F8_E5M2", {3, 5}, std::string(15, '\0'));
  CHECK(contains(f.problem(3, 5), "dtype F8_E5M2, expected F8_E4M3"));
}

TEST_CASE("int4 groups with zero points") {
  Fixture f = int4_fixture();
  const auto weight = f.find(10, 24);
  REQUIRE(weight);
  CHECK(weight->format_name == "int4 group 8 asymmetric");
  CHECK(weight->bytes == 120 + 120 + 16 + 24);
  for (std::size_t r = 0; r < 10; ++r)
    for (std::size_t c = 0; c < 24; ++c) {
      const int value = static_cast<int>((7 * r + 5 * c) % 16) - static_cast<int>((3 * r + 5 * (c / 8)) % 16);
      CHECK(widened(weight->matrix, r, c) == static_cast<float>(value) * int4_scale(r, c / 8));
    }
}

TEST_CASE("int4 columns in groups of their own order") {
  Fixture f = int4_fixture();
  std::string index;
  for (std::int32_t c = 0; c < 24; ++c) index += raw<std::int32_t>({c % 3});
  f.add("m.weight_g_idx", "I32", {24}, index);
  f.quantization["config_groups"]["group_0"]["weights"]["actorder"] = "group";
  const auto weight = f.find(10, 24);
  REQUIRE(weight);
  for (std::size_t c = 0; c < 24; ++c) {
    const int value = static_cast<int>((7 * 4 + 5 * c) % 16) - static_cast<int>((3 * 4 + 5 * (c % 3)) % 16);
    CHECK(widened(weight->matrix, 4, c) == static_cast<float>(value) * int4_scale(4, c % 3));
  }
  f.replace("m.weight_g_idx", "I32", {24}, std::string(96, '\xff'));  // all -1: in order
  const auto unset = f.find(10, 24);
  REQUIRE(unset);
  CHECK(unset->matrix.group_index == nullptr);
  f.replace("m.weight_g_idx", "I32", {24}, raw<std::int32_t>({-1}) + std::string(92, '\0'));
  CHECK(contains(f.problem(10, 24), "1 of 24 columns without a group"));
  f.replace("m.weight_g_idx", "I32", {24}, raw<std::int32_t>({3}) + std::string(92, '\0'));
  CHECK(contains(f.problem(10, 24), "column 0 in group 3, expected 0 to 2"));
  f.replace("m.weight_g_idx", "I32", {23}, std::string(92, '\0'));
  CHECK(contains(f.problem(10, 24), "m.weight_g_idx: shape [23], expected [24]"));
  f.remove("m.weight_g_idx");
  CHECK(contains(f.problem(10, 24), "m.weight_g_idx: missing"));
}

TEST_CASE("int8 with a scale a row, or one for all") {
  Fixture f;
  f.add("m.weight_packed", "I32", {5, 2}, int8_words);
  f.add("m.weight_scale", "F16", {5, 1}, raw<std::uint16_t>({0x3c00, 0x4000, 0x4200, 0x4400, 0x4500}));
  f.add("m.weight_shape", "I32", {2}, raw<std::int32_t>({5, 6}));
  f.add("m.weight_zero_point", "I32", {2, 1}, int8_zeros);
  f.quantization = packed_config({{"num_bits", 8}, {"symmetric", false}, {"strategy", "channel"}});
  auto weight = f.find(5, 6);
  REQUIRE(weight);
  CHECK(weight->format_name == "int8 channel asymmetric");
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t c = 0; c < 6; ++c)
      CHECK(widened(weight->matrix, r, c) == static_cast<float>((7 * r + 5 * c - 3 * r) * (r + 1)));
  f.remove("m.weight_zero_point");
  f.replace("m.weight_scale", "F32", {1}, raw<float>({2}));
  f.quantization = packed_config({{"num_bits", 8}});
  weight = f.find(5, 6);
  REQUIRE(weight);
  CHECK(weight->format_name == "int8 tensor");
  CHECK(widened(weight->matrix, 4, 5) == 2.f * (7 * 4 + 5 * 5 - 128));
}

TEST_CASE("mxfp4") {
  Fixture f = mxfp4_fixture();
  const auto weight = f.find(3, 64);
  REQUIRE(weight);
  CHECK(weight->format_name == "mxfp4");
  CHECK(weight->bytes == 96 + 6);
  CHECK(weight->tensors == 2);
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 64; ++c)
      CHECK(widened(weight->matrix, r, c) ==
            std::ldexp(e2m1_value((7 * r + 5 * c) % 16), static_cast<int>(r) - static_cast<int>(c / 32)));
}

TEST_CASE("what is wrong with an mxfp4 weight is named") {
  const auto problem_with = [](const std::string& name, const char* dtype, std::vector<std::uint64_t> shape,
                               std::string bytes) {
    Fixture f = mxfp4_fixture();
    f.replace(name, dtype, std::move(shape), std::move(bytes));
    return f.problem(3, 64);
  };
  CHECK(contains(problem_with("m.weight_packed", "I32", {3, 8}, std::string(96, '\0')),
                 "m.weight_packed: dtype I32, expected U8"));
  CHECK(contains(problem_with("m.weight_packed", "U8", {3, 33}, std::string(99, '\0')),
                 "shape [3, 33], expected [3, 32]"));
  CHECK(contains(problem_with("m.weight_scale", "BF16", {3, 2}, std::string(12, '\0')),
                 "m.weight_scale: dtype BF16, expected U8"));
  CHECK(contains(problem_with("m.weight_scale", "U8", {3, 1}, std::string(3, '\0')),
                 "shape [3, 1], expected [3, 2]"));
  CHECK(contains(problem_with("m.weight_zero_point", "U8", {3, 2}, std::string(6, '\0')),
                 "m.weight_zero_point: beside U8 m.weight_packed, expected none"));
  CHECK(contains(problem_with("m.weight_global_scale", "F32", {1}, std::string(4, '\0')),
                 "m.weight_global_scale: beside"));
  Fixture f = mxfp4_fixture();
  CHECK(contains(f.problem(3, 48), "group_size 32 does not divide the input size 48"));
  f.remove("m.weight_scale");
  CHECK(contains(f.problem(3, 64), "m.weight_scale: missing, expected scales [3, 2] of a packed weight"));
  f = mxfp4_fixture();
  f.quantization["ignore"] = {"m"};
  CHECK(contains(f.problem(3, 64), "packed, but on quantization_config's ignore list"));
  f = mxfp4_fixture();
  f.quantization["format"] = "mixed-precision";
  f.quantization["config_groups"]["group_0"]["format"] = "pack-quantized";
  f.quantization["config_groups"]["group_0"]["weights"]["type"] = "int";
  CHECK(contains(f.problem(3, 64), "m.weight_packed: dtype U8, expected I32"));
}

TEST_CASE("what is wrong with a packed weight is named") {
  const auto problem_with = [](const std::string& name, const char* dtype, std::vector<std::uint64_t> shape,
                               std::string bytes) {
    Fixture f = int4_fixture();
    f.replace(name, dtype, std::move(shape), std::move(bytes));
    return f.problem(10, 24);
  };
  CHECK(contains(problem_with("m.weight_packed", "I32", {10, 4}, std::string(160, '\0')),
                 "shape [10, 4], expected [10, 3]"));
  CHECK(contains(problem_with("m.weight_packed", "I64", {10, 3}, std::string(240, '\0')),
                 "dtype I64, expected I32"));
  CHECK(contains(problem_with("m.weight_scale", "F32", {10, 2}, std::string(80, '\0')),
                 "shape [10, 2], expected [10, 3]"));
  CHECK(contains(problem_with("m.weight_scale", "I32", {10, 3}, std::string(120, '\0')),
                 "dtype I32, expected BF16 or F16"));
  CHECK(contains(problem_with("m.weight_zero_point", "I8", {10, 3}, std::string(30, '\0')),
                 "dtype I8, expected I32"));
  CHECK(contains(problem_with("m.weight_shape", "I64", {2}, raw<std::int64_t>({10, 23})),
                 "says [10, 23], expected [10, 24]"));
  CHECK(contains(problem_with("m.weight", "BF16", {10, 24}, std::string(480, '\0')),
                 "m.weight_packed: beside m.weight"));
  for (const char* name : {"m.weight_scale", "m.weight_shape", "m.weight_zero_point"}) {
    Fixture f = int4_fixture();
    f.remove(name);
    CHECK(contains(f.problem(10, 24), std::string(name) + ": missing, expected"));
  }
}

TEST_CASE("a packed weight against its config") {
  Fixture f = int4_fixture();
  f.quantization["config_groups"]["group_0"]["weights"]["group_size"] = 7;
  CHECK(contains(f.problem(10, 24), "group_size 7 does not divide the input size 24"));
  f = int4_fixture();
  f.quantization["config_groups"]["group_0"]["weights"]["symmetric"] = true;
  CHECK(contains(f.problem(10, 24),
                 "m.weight_zero_point: zero points, but quantization_config says symmetric"));
  for (const char* entry : {"m", "re:m$", "re:"}) {
    f = int4_fixture();
    f.quantization["ignore"] = {entry};
    CHECK(contains(f.problem(10, 24), "packed, but on quantization_config's ignore list"));
  }
  f = int4_fixture();
  f.quantization["config_groups"]["group_0"]["targets"] = {"re:.*experts.*", "n"};
  CHECK(contains(f.problem(10, 24), "no config group of quantization_config targets m"));
  f.quantization = nullptr;
  CHECK(contains(f.problem(10, 24), "m.weight_packed: packed, but config.json has no quantization_config"));
}

TEST_CASE("of several config groups the closest applies") {
  Fixture f = int4_fixture();
  auto& groups = f.quantization["config_groups"];
  groups["group_9"] = groups["group_0"];
  groups["group_0"]["weights"]["group_size"] = 7;
  for (const char* target : {"m", "re:[a-m]", "re:m$"}) {
    groups["group_9"]["targets"] = {target};
    CHECK(f.find(10, 24).has_value());
  }
  // As Python's re.match: from the start.
  groups["group_9"]["targets"] = {"re:x"};
  CHECK_FALSE(f.find(10, 24).has_value());
}

TEST_CASE("a costly pattern is an error, not a wait") {
  Fixture f = int4_fixture();
  const std::string module = "m" + std::string(60, 'a');
  for (StoredTensor& tensor : f.tensors) tensor.name.replace(0, 1, module);
  f.quantization["ignore"] = {"re:m(a+)+(a+)+(a+)+[x-z]"};
  CHECK(contains(error_of([&] { f.find(10, 24, module); }), "cannot be matched with"));
}
