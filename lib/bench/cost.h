// What tokens cost and earn. Dollars, or any other money.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baleen {

// Asked for a million tokens.
struct Prices {
  double in = 0;
  double cached = 0;  // input that was found in a cache
  double out = 0;
};

// Tokens that were served, and how long that took.
struct Volume {
  double in = 0;      // all input, cached or not
  double cached = 0;  // of it
  double out = 0;
  double hours = 24;
};

struct Books {
  double cost = 0;
  double income_in = 0;
  double income_cached = 0;
  double income_out = 0;

  double income() const { return income_in + income_cached + income_out; }
  double profit() const { return income() - cost; }
  double cost_profit_ratio() const { return profit() / cost; }
};

Books keep_books(const Volume&, const Prices&, double cost_per_hour);

// Tokens a second.
struct Speeds {
  double in = 0;
  double out = 0;
};

// What a million tokens cost on a machine that does nothing else.
double cost_per_million(double tokens_per_second, double cost_per_hour);

// A request, or many of its kind: what is measured or priced as a whole.
struct Request {
  double in = 0;
  double out = 0;

  double seconds(const Speeds& speeds) const { return in / speeds.in + out / speeds.out; }
};

// What a machine serves in an hour if requests of one kind follow each other without a gap.
Volume full_hour(const Request&, const Speeds&);

// What others ask for a million tokens.
struct PublishedPrice {
  std::string name;
  Prices prices;
};
struct PriceList {
  std::string date;      // as the file has it, may be empty
  std::string currency;  // "USD"
  std::vector<PublishedPrice> models;
};
// Reads the bytes of a price list, {"schema": 1, "date", "currency", "models": [{"name", "price_in",
// "price_out"}]}; `file` names it in errors. Throws FormatError listing what is wrong.
PriceList parse_price_list(std::string_view json, std::string_view file);

// From how many tokens a day on, in and out together, a machine is cheaper than buying them.
struct BreakEven {
  double tokens_per_day = 0;
  double share_of_capacity = 0;  // of what the machine can serve in a day; above 1 it never is
};
BreakEven break_even(const Request&, const Speeds&, const Prices&, double cost_per_hour);

}  // namespace baleen
