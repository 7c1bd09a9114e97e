#include "cmd/bench_cost.h"

#include <cmath>

#include "report/table.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

constexpr double million = 1e6;

// "$0.0210", "$2.19", "$87,072"
std::string money(double dollars) {
  const double size = std::abs(dollars);
  std::string text = format_fixed(size, size >= 999.5 ? 0 : size >= 0.0995 || size == 0 ? 2 : 4);
  const std::size_t whole = std::min(text.find('.'), text.size());
  for (std::size_t at = whole; at > 3; at -= 3) text.insert(at - 3, ",");
  return (dollars < 0 ? "-$" : "$") + text;
}

// Rounded down, as DeepSeek published theirs.
std::string ratio(const Books& books) {
  return format_fixed(std::floor(100 * books.cost_profit_ratio() + 1e-9), 0) + " %";
}

std::string count(double tokens) {
  return format_count(static_cast<std::uint64_t>(std::llround(tokens)));
}

// What kinds of service are priced: input alone, output alone, and requests.
struct Service {
  std::string name;
  Request request;
};
std::vector<Service> services(const CostReport& r) {
  return {{"input", {.in = 1, .out = 0}},
          {"output", {.in = 0, .out = 1}},
          {format_fixed(r.request.in, 0) + " in, " + format_fixed(r.request.out, 0) + " out", r.request}};
}

std::string service_table(const CostReport& r) {
  using enum Table::Align;
  std::vector<Table::Column> columns = {{"tokens"}, {"tokens/s", right}, {"cost per million", right}};
  if (r.prices) {
    for (const char* heading : {"income per hour", "cost-profit ratio"}) columns.push_back({heading, right});
  }
  Table table(columns);
  for (const Service& service : services(r)) {
    const Volume hour = full_hour(service.request, r.speeds);
    const double speed = (hour.in + hour.out) / 3600;
    std::vector<std::string> row = {service.name, format_fixed(speed, 2),
                                    money(cost_per_million(speed, r.cost_per_hour))};
    if (r.prices) {
      const Books books = keep_books(hour, *r.prices, r.cost_per_hour);
      row.push_back(money(books.income()));
      row.push_back(ratio(books));
    }
    table.add(row);
  }
  return table.text();
}

std::string price_table(const CostReport& r) {
  using enum Table::Align;
  Table table({{"a million tokens from"},
               {"in", right},
               {"out", right},
               {"cheaper from, tokens a day", right},
               {"of capacity", right}});
  const double capacity = 24 * (full_hour(r.request, r.speeds).in + full_hour(r.request, r.speeds).out);
  table.add({"this machine", money(cost_per_million(r.speeds.in, r.cost_per_hour)),
             money(cost_per_million(r.speeds.out, r.cost_per_hour)), "", count(capacity) + " a day"});
  for (const PublishedPrice& price : r.list->models) {
    const BreakEven even = break_even(r.request, r.speeds, price.prices, r.cost_per_hour);
    table.add({price.name, money(price.prices.in), money(price.prices.out), count(even.tokens_per_day),
               format_fixed(std::ceil(100 * even.share_of_capacity), 0) + " %" +
                   (even.share_of_capacity > 1 ? ": never" : "")});
  }
  return table.text();
}

}  // namespace

std::string cost_text(const CostReport& r) {
  std::string text = "cost " + money(r.cost_per_hour) + " per hour";
  if (r.prices)
    text += "; sold at " + money(r.prices->in) + " in and " + money(r.prices->out) + " out per million";
  text += "\n\n" + service_table(r);
  if (r.prices) text += "\nIncome is theoretical: the machine never waits, and every token is paid.\n";
  if (r.list) {
    text += "\npublished prices" + (r.list->date.empty() ? "" : " of " + r.list->date) + ", " +
            r.list->currency + ", for requests of " + services(r)[2].name + "\n\n" + price_table(r);
  }
  return text;
}

Json cost_json(const CostReport& r) {
  Json object{{"cost_per_hour_dollars", r.cost_per_hour},
              {"request_tokens_in", whole_if_it_is(r.request.in)},
              {"request_tokens_out", whole_if_it_is(r.request.out)},
              {"tokens_in_per_second", r.speeds.in},
              {"tokens_out_per_second", r.speeds.out},
              {"cost_per_million_in_dollars", cost_per_million(r.speeds.in, r.cost_per_hour)},
              {"cost_per_million_out_dollars", cost_per_million(r.speeds.out, r.cost_per_hour)}};
  if (r.prices) {
    const auto hour = [&](std::size_t service) {
      const Books books =
          keep_books(full_hour(services(r)[service].request, r.speeds), *r.prices, r.cost_per_hour);
      return Json{{"income_per_hour_dollars", books.income()},
                  {"cost_profit_ratio", books.cost_profit_ratio()}};
    };
    object["price_per_million_in_dollars"] = r.prices->in;
    object["price_per_million_out_dollars"] = r.prices->out;
    object["input"] = hour(0);
    object["output"] = hour(1);
    object["requests"] = hour(2);
  }
  if (r.list) {
    Json rows = Json::array();
    for (const PublishedPrice& price : r.list->models) {
      const BreakEven even = break_even(r.request, r.speeds, price.prices, r.cost_per_hour);
      rows.push_back({{"name", price.name},
                      {"price_per_million_in_dollars", price.prices.in},
                      {"price_per_million_out_dollars", price.prices.out},
                      {"break_even_tokens_per_day", even.tokens_per_day},
                      {"share_of_capacity", even.share_of_capacity}});
    }
    object["published_prices"] = std::move(rows);
  }
  return object;
}

std::string books_text(const BooksReport& r) {
  using enum Table::Align;
  const Books books = keep_books(r.volume, r.prices, r.cost_per_hour);
  const auto sold = [](double tokens, double price) {
    return count(tokens) + " tokens at " + money(price) + " per million";
  };
  Table table({{"books"}, {"dollars", right}, {""}});
  table.add({"cost", money(books.cost),
             format_fixed(r.volume.hours, r.volume.hours == std::floor(r.volume.hours) ? 0 : 2) +
                 " hours at " + money(r.cost_per_hour)});
  table.add({"income", money(books.income()), ""});
  table.add({"  input", money(books.income_in), sold(r.volume.in - r.volume.cached, r.prices.in)});
  table.add({"  cached input", money(books.income_cached), sold(r.volume.cached, r.prices.cached)});
  table.add({"  output", money(books.income_out), sold(r.volume.out, r.prices.out)});
  table.add({"profit", money(books.profit()), ""});
  table.add({"cost-profit ratio", ratio(books), "profit over cost, rounded down"});
  return table.text();
}

Json books_json(const BooksReport& r) {
  const Books books = keep_books(r.volume, r.prices, r.cost_per_hour);
  return Json{{"schema", 1},
              {"hours", whole_if_it_is(r.volume.hours)},
              {"cost_per_hour_dollars", r.cost_per_hour},
              {"tokens_in", whole_if_it_is(r.volume.in)},
              {"tokens_cached", whole_if_it_is(r.volume.cached)},
              {"tokens_out", whole_if_it_is(r.volume.out)},
              {"price_per_million_in_dollars", r.prices.in},
              {"price_per_million_cached_dollars", r.prices.cached},
              {"price_per_million_out_dollars", r.prices.out},
              {"cost_dollars", books.cost},
              {"income_in_dollars", books.income_in},
              {"income_cached_dollars", books.income_cached},
              {"income_out_dollars", books.income_out},
              {"income_dollars", books.income()},
              {"profit_dollars", books.profit()},
              {"cost_profit_ratio", books.cost_profit_ratio()}};
}

}  // namespace baleen::cmd
