#include "bench/cost.h"

#include "checkpoint/json_fields.h"
#include "checkpoint/problems.h"
#include "error.h"

namespace baleen {
namespace {

constexpr double million = 1e6;
constexpr double seconds_per_hour = 3600;
constexpr double hours_per_day = 24;

PublishedPrice read_price(const nlohmann::json& entry, std::size_t index,
                          std::vector<std::string>& problems) {
  const JsonFields fields(entry, "models[" + std::to_string(index) + "].", problems);
  PublishedPrice price;
  const auto number = [&](std::string_view key) {
    if (!fields.has(key)) fields.expected(key, "a number above 0");
    return fields.positive(key).value_or(0);
  };
  price.name = fields.text("name").value_or("");
  if (!fields.has("name")) fields.expected("name", "a string");
  price.prices.in = number("price_in");
  price.prices.cached = fields.has("price_cached") ? number("price_cached") : price.prices.in;
  price.prices.out = number("price_out");
  return price;
}

}  // namespace

Books keep_books(const Volume& volume, const Prices& prices, double cost_per_hour) {
  return {.cost = cost_per_hour * volume.hours,
          .income_in = (volume.in - volume.cached) / million * prices.in,
          .income_cached = volume.cached / million * prices.cached,
          .income_out = volume.out / million * prices.out};
}

double cost_per_million(double tokens_per_second, double cost_per_hour) {
  return cost_per_hour / seconds_per_hour / tokens_per_second * million;
}

Volume full_hour(const Request& request, const Speeds& speeds) {
  const double requests = seconds_per_hour / request.seconds(speeds);
  return {.in = requests * request.in, .cached = 0, .out = requests * request.out, .hours = 1};
}

PriceList parse_price_list(std::string_view json, std::string_view file) {
  const nlohmann::json document = parse_json_object(json, file);
  std::vector<std::string> problems;
  const JsonFields fields(document, "", problems);
  PriceList list;
  if (fields.has("schema") && fields.whole("schema", 1, 1) != 1) throw_problems(file, problems);
  list.date = fields.has("date") ? fields.text("date").value_or("") : "";
  list.currency = fields.has("currency") ? fields.text("currency").value_or("") : "USD";
  const nlohmann::json* const models = fields.find("models");
  if (models == nullptr || !models->is_array() || models->empty()) {
    fields.expected("models", "a list of objects with name, price_in and price_out");
  } else {
    for (std::size_t i = 0; i < models->size(); ++i) {
      if ((*models)[i].is_object()) {
        list.models.push_back(read_price((*models)[i], i, problems));
      } else {
        problems.push_back("models[" + std::to_string(i) + "]: " + shown((*models)[i]) +
                           ", expected an object");
      }
    }
  }
  throw_problems(file, problems);
  return list;
}

BreakEven break_even(const Request& request, const Speeds& speeds, const Prices& prices,
                     double cost_per_hour) {
  const double bought = request.in / million * prices.in + request.out / million * prices.out;
  const double requests_per_day = cost_per_hour * hours_per_day / bought;
  const double capacity = hours_per_day * seconds_per_hour / request.seconds(speeds);
  return {.tokens_per_day = requests_per_day * (request.in + request.out),
          .share_of_capacity = requests_per_day / capacity};
}

}  // namespace baleen
