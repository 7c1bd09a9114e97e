#include "checkpoint/safetensors.h"

#include <doctest/doctest.h>

#include "checkpoint/fixture.h"
#include "error.h"

using namespace baleen;
using namespace baleen::test;

namespace {

SafetensorsHeader parse(std::string_view json, std::uint64_t data_bytes) {
  return parse_safetensors_header(as_bytes(json), data_bytes, "x.safetensors");
}

std::string parse_error(std::string_view json, std::uint64_t data_bytes) {
  return error_of([&] { parse(json, data_bytes); });
}

struct Bad {
  const char* name;
  const char* header;
  std::uint64_t data_bytes;
  const char* message;  // a part of it
};

constexpr Bad bad_headers[] = {
    {"empty", "", 0, "does not begin with '{'"},
    {"white space first", " {}", 0, "does not begin with '{'"},
    {"not JSON", "{]", 0, "not the JSON"},
    {"cut", R"({"a":{"dtype":"F32","shape":[1],"data_of)", 4, "not the JSON"},
    {"text behind it", R"({} x)", 0, "not the JSON"},
    {"not UTF-8", "{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not the JSON"},
    {"too deep", R"({"a":[[[[[[[[[[1]]]]]]]]]]})", 0, "not the JSON"},
    {"no object", R"({"a":7})", 0, "a: not an object"},
    {"no dtype", R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "a: no dtype"},
    {"no shape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "a: no shape"},
    {"no offsets", R"({"a":{"dtype":"F32","shape":[1]}})", 4, "a: no data_offsets"},
    {"dtype twice", R"({"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4,
     "dtype given twice"},
    {"unknown dtype", R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", 4,
     "a: dtype F4, supported are"},
    {"dtype a number", R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4,
     "a: dtype is not a string"},
    {"shape no list", R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "a: shape is not a list"},
    {"negative shape", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "a: shape holds -1"},
    {"fractional shape", R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4,
     "a: shape holds 1.5"},
    {"shape beyond 64 bits", R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})",
     4, "not the JSON"},
    {"overflowing shape", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
     "larger than any file"},
    // 2^62 * 4 bytes wraps around to 0.
    {"overflow by the element size",
     R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
     "larger than any file"},
    {"rank 5", R"({"a":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}})", 4,
     "more than 4 dimensions"},
    {"one offset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "not two whole numbers"},
    {"three offsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4,
     "not two whole numbers"},
    {"negative offset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4,
     "not two whole numbers"},
    {"backwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "run backwards"},
    {"behind the file", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
     "reach behind the file's 4 bytes"},
    {"hole at the front", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "leave a hole"},
    {"hole between",
     R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
     12, "b: data_offsets [8, 12] leave a hole, expected to begin at 4"},
    {"overlap",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     8, "b: data_offsets [4, 8] overlap"},
    {"data left over", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5,
     "5 bytes of data, expected 4"},
    {"size against shape", R"({"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,8]}})", 8,
     "a: BF16 [2, 3] takes 12 bytes"},
    {"name twice",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
     2, "a: twice"},
    {"metadata no object", R"({"__metadata__":[]})", 0, "__metadata__: not an object"},
    {"metadata no string", R"({"__metadata__":{"format":1}})", 0, "__metadata__: format: not a string"},
    {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__: twice"},
};

}  // namespace

TEST_CASE("a safetensors header is read") {
  const SafetensorsHeader header =
      parse(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
            R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
            R"("e\u00e9":{"shape":[0,7],"dtype":"I64","data_offsets":[16,16],"extra":null}}   )",
            16);
  REQUIRE(header.entries.size() == 3);
  CHECK(header.entries[0].name == "a");
  CHECK(header.entries[0].shape.rank == 0);
  CHECK(header.entries[1].name == "b");
  CHECK(header.entries[1].dtype == DType::bf16);
  CHECK(to_string(header.entries[1].shape) == "[2, 3]");
  CHECK(header.entries[1].begin == 4);
  CHECK(header.entries[1].end == 16);
  CHECK(header.entries[2].name == "e\u00e9");
  CHECK(header.entries[2].dtype == DType::i64);
  CHECK(parse("{}", 0).entries.empty());
}

TEST_CASE("every dtype has its name and size") {
  for (const char* name : {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "I64", "I32", "I16",
                           "I8", "U8", "BOOL"}) {
    const std::string text =
        std::string(R"({"a":{"dtype":")") + name + R"(","shape":[0],"data_offsets":[0,0]}})";
    const DType dtype = parse(text, 0).entries.at(0).dtype;
    CHECK(dtype_name(dtype) == name);
    CHECK(dtype_bytes(dtype) >= 1);
  }
  CHECK(dtype_bytes(DType::f64) == 8);
  CHECK(dtype_bytes(DType::bf16) == 2);
  CHECK(dtype_bytes(DType::f8_e4m3) == 1);
}

TEST_CASE("what is wrong with a safetensors header is named") {
  for (const Bad& bad : bad_headers) {
    CAPTURE(bad.name);
    const std::string error = parse_error(bad.header, bad.data_bytes);
    CAPTURE(error);
    CHECK(error.starts_with("x.safetensors: "));
    CHECK(contains(error, bad.message));
  }
}

TEST_CASE("a header's messages stay short and printable") {
  const std::string name = std::string(5000, 'n') + "\\u001b[31m";
  const std::string error = parse_error("{\"" + name + "\":1}", 0);
  CHECK(error.size() < 300);
  CHECK(contains(parse_error("{\"\\u001b[31m\":1}", 0), "?[31m"));
}

TEST_CASE("a header's size is checked against the file") {
  const auto size_error = [](std::string_view bytes) {
    return error_of([&] { safetensors_header_size(as_bytes(bytes), "x.safetensors"); });
  };
  CHECK(safetensors_header_size(as_bytes(safetensors("{}", "data")), "x") == 2);
  CHECK(contains(size_error(""), "too short"));
  CHECK(contains(size_error("1234567"), "too short"));
  CHECK(contains(size_error(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "a header of 3 bytes in a file of 10"));
  CHECK(contains(size_error(std::string(16, '\xff')), "a header of 18446744073709551615 bytes"));
  CHECK(contains(size_error(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10)), "expected at most 100000000"));
}
