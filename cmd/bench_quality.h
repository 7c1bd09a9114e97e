// What `baleen bench --ppl` and `--kl` found, as text and JSON.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "bench/quality.h"
#include "cmd/bench_report.h"

namespace baleen::cmd {

struct QualityReport {
  std::string model;
  std::string reference;  // empty: none
  std::string text;
  std::string kernels;
  std::string kv_type;
  std::size_t tokens = 0;  // of the text
  std::size_t window = 0;
  std::span<const Prediction> predictions;
};

std::string quality_text(const QualityReport&);
Json quality_json(const QualityReport&);

}  // namespace baleen::cmd
