// Costs, prices and books, as text and JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bench/cost.h"
#include "cmd/bench_report.h"

namespace baleen::cmd {

struct CostReport {
  Request request;  // a prompt and an answer
  Speeds speeds;
  double cost_per_hour = 0;
  std::optional<Prices> prices;
  std::optional<PriceList> list;
};

std::string cost_text(const CostReport&);
Json cost_json(const CostReport&);

struct BooksReport {
  Volume volume;
  Prices prices;
  double cost_per_hour = 0;
};

std::string books_text(const BooksReport&);
Json books_json(const BooksReport&);

}  // namespace baleen::cmd
