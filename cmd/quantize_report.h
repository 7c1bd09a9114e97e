// What `baleen quantize` tells: what becomes of each kind of tensor, and what it costs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/encode.h"
#include "quant/folder.h"
#include "quant/plan.h"
#include "quant/source.h"

namespace baleen::cmd {

struct QuantizeReport {
  const Source& source;
  const Plan& plan;
  std::span<const EncodeError> errors;  // of each module; empty: not known
  std::string_view error_source;        // what they are: "expected", "of weights", "read back"
};

// A table by kind of tensor and format, and one of the error by layer.
std::string quantize_text(const QuantizeReport&);
std::string quantize_json(const QuantizeReport&);

// What may be a surprise, a sentence each: matrices that the group does not divide, those that become bf16
// because their form cannot stand beside the others, and a result that is larger than its source.
std::vector<std::string> kept_notes(const Source&, const Plan&);

std::string check_text(const std::string& dir, const CheckResult&);
std::string check_json(const std::string& dir, const CheckResult&);

}  // namespace baleen::cmd
