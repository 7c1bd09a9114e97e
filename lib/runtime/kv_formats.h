// The names of --kv-type.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "kernels/kernels.h"

namespace baleen {

inline constexpr std::array<std::pair<std::string_view, kernels::KvFormat>, 3> kv_formats = {
    {{"bf16", kernels::KvFormat::bf16}, {"f32", kernels::KvFormat::f32}, {"int8", kernels::KvFormat::int8}}};

constexpr std::string_view kv_format_name(kernels::KvFormat format) {
  for (const auto& [name, value] : kv_formats) {
    if (value == format) return name;
  }
  return {};
}

}  // namespace baleen
