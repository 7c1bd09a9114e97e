#include "routing/route_line.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "error.h"

using namespace baleen;

namespace {

const RouteHeader header{.model = "tiny \"model\"",
                         .layers = {1, 2},
                         .experts = 4,
                         .top_k = 2,
                         .scoring = ScoringFunc::sigmoid,
                         .method = TopkMethod::noaux_tc,
                         .groups = 2,
                         .top_groups = 1,
                         .detail = RouteDetail::scores,
                         .bias = {{0.5f, -0.25f, 0, 1e-9f}, {1, 2, 3, 4}}};

RouteToken sample() {
  return {
      .pass = 5,
      .request = 7,
      .position = 12,
      .id = 345,
      .generated = true,
      .label = "bible \"\u00e4\"",
      .experts = {0, 3, 1, 2},
      .weights = {0.25f, 1.75f, 0.12344f, 2},
      .scores = {0.1f, 0.2f, 0.3f, 1.0f / 3, 1e-30f, 0.5f, 0.75f, std::numeric_limits<float>::quiet_NaN()}};
}

std::string line_of(const RouteToken& token) {
  std::string line;
  append_token(line, token, header);
  return line;
}

std::string without_newline(std::string line) {
  REQUIRE(line.ends_with('\n'));
  line.pop_back();
  REQUIRE(line.find('\n') == line.npos);
  return line;
}

std::string message_of(std::string_view line) {
  RouteToken token;
  try {
    parse_token(line, header, {.weights = true, .scores = true}, token);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a token's line, as it stands in the manual, and back") {
  const std::string line = without_newline(line_of(sample()));
  CHECK(
      line ==
      R"({"r":7,"n":5,"p":12,"t":345,"g":1,"l":"bible \"ä\"","e":[[0,3],[1,2]],"w":[[0.2500,1.7500],[0.1234,2.0000]],)"
      R"("s":[[0.1,0.2,0.3,0.33333334],[1e-30,0.5,0.75,null]]})");
  RouteToken token;
  parse_token(line, header, {.weights = true, .scores = true}, token);
  const RouteToken want = sample();
  CHECK(token.pass == 5);
  CHECK(token.request == 7);
  CHECK(token.position == 12);
  CHECK(token.id == 345);
  CHECK(token.generated);
  CHECK(token.label == want.label);
  CHECK(token.experts == want.experts);
  CHECK(token.weights == std::vector<float>{0.25f, 1.75f, 0.1234f, 2});
  REQUIRE(token.scores.size() == 8);
  for (std::size_t i = 0; i < 7; ++i) CHECK(token.scores[i] == want.scores[i]);  // every bit
  CHECK(std::isnan(token.scores[7]));
  parse_token(line, header, {}, token);
  CHECK(token.weights.empty());
  CHECK(token.scores.empty());
}

TEST_CASE("spaces, another order of keys and unknown keys change nothing") {
  RouteToken token;
  parse_token(
      R"( { "e" : [ [ 0 , 3 ] , [1,2] ] ,"x":{"y":[1,"]}\"",null,-2.5e3]}, "g":0,"t":1,"z":true,"p":2, "n":0,"r":3 } )",
      header, {}, token);
  CHECK(token.experts == std::vector<std::uint32_t>{0, 3, 1, 2});
  CHECK(token.request == 3);
  CHECK(token.label.empty());
}

TEST_CASE("a wrong line is told where and why") {
  const std::string head = R"({"r":1,"n":0,"p":2,"t":3,"g":0,"e":)";
  CHECK(message_of(head + "[[0,3],[1,2]]}") == "");
  CHECK(message_of(head + "[[0,3],[1,2]]") == "column 49: the line ends, expected ',' or '}'");
  CHECK(message_of(head + "[[0,3],[1,4]]}") == "column 46: '4]]}', expected an expert, at most 3");
  CHECK(message_of(head + "[[0,3],[2,1]]}") == "layer 2: expert 1 behind 2, expected ascending experts");
  CHECK(message_of(head + "[[0,3],[1,1]]}") == "layer 2: expert 1 behind 1, expected ascending experts");
  CHECK(message_of(head + "[[0,3]]}") == "column 42: ']}', expected ','");
  CHECK(message_of(head + "[[0],[1,2]]}") == "column 39: '],[1,2]]}', expected ','");
  CHECK(message_of(head + "[[0,3],[1,2]],\"g\":2}") == "column 54: '2}', expected a phase, at most 1");
  CHECK(message_of(R"({"r":1,"p":2,"t":3,"g":0,"e":[[0,3],[1,2]]})") == "\"n\" is missing");
  CHECK(message_of(R"({"r":99999999999999999999})") ==
        "column 6: '999999999999', expected a request's number, at most 1099511627776");
  CHECK(message_of(R"({"r":-1})") == "column 6: '-1}', expected a request's number");
  CHECK(message_of("{\"\x01\xff") == "column 5: the line ends, expected '\"'");
  CHECK(message_of(head + "[[0,3],[1,2]],\"l\":\"\\ud800\"}") == "column 54: '\"\\ud800\"}', expected text");
  CHECK(message_of(head + "[[0,3],[1,2]],\"l\":\"" + std::string(201, 'x') + "\"}") ==
        "a label of 201 bytes, expected at most 200");
  CHECK(message_of(head + "[[0,3],[1,2]],\"x\":" + std::string(100, '[')).find("nested less deeply") !=
        std::string::npos);
  CHECK(message_of(head + "[[0,3],[1,2]]}x") == "column 50: 'x', expected the line's end");
}

TEST_CASE("a header, and back") {
  std::string line;
  append_header(line, header);
  line = without_newline(line);
  CHECK(
      line ==
      R"({"schema":1,"format":"baleen-routes","model":"tiny \"model\"","layers":[1,2],"experts":4,"top_k":2,)"
      R"("scoring":"sigmoid","method":"noaux_tc","groups":2,"top_groups":1,"detail":"scores",)"
      R"("bias":[[0.5,-0.25,0,1e-09],[1,2,3,4]]})");
  const RouteHeader back = parse_header(line);
  CHECK(back.model == header.model);
  CHECK(back.layers == header.layers);
  CHECK(back.experts == 4);
  CHECK(back.top_k == 2);
  CHECK(back.scoring == ScoringFunc::sigmoid);
  CHECK(back.method == TopkMethod::noaux_tc);
  CHECK(back.groups == 2);
  CHECK(back.top_groups == 1);
  CHECK(back.detail == RouteDetail::scores);
  CHECK(back.bias == header.bias);
  check_same_model(header, back);
}

TEST_CASE("a wrong header is told why") {
  const auto message = [](std::string_view line) -> std::string {
    try {
      parse_header(line);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto with = [](const std::string& fields) {
    return R"({"schema":1,"format":"baleen-routes","model":"m","scoring":"softmax","method":"greedy","detail":"counts",)" +
           fields + "}";
  };
  CHECK(message(with(R"("layers":[0],"experts":8,"top_k":2)")) == "");
  CHECK(message(with(R"("layers":[1,0],"experts":8,"top_k":2)")) ==
        "header: layers: [1,0], expected ascending numbers");
  CHECK(message(with(R"("layers":[],"experts":8,"top_k":2)")) ==
        "header: layers: [], expected a list of 1 to 1024 numbers");
  CHECK(message(with(R"("layers":[0],"experts":8,"top_k":9)")).starts_with("header: top_k: 9, expected"));
  CHECK(message(with(R"("layers":[0],"top_k":1)")) == "header: experts is missing");
  CHECK(message(with(R"("layers":[0],"experts":8,"top_k":2,"groups":3)")) ==
        "header: groups: 3, expected a divisor of the 8 experts");
  CHECK(message(with(R"("layers":[0],"experts":2,"top_k":2,"bias":[[1]])")) ==
        "header: bias: [[1]], expected 1 lists of 2 numbers");
  CHECK(message(with(R"("layers":[0],"experts":2,"top_k":2,"bias":[[1,"x"]])")) ==
        "header: bias: [[1,\"x\"]], expected 1 lists of 2 numbers");
  CHECK(message(R"({"schema":2,"format":"baleen-routes"})") ==
        "schema of a later version of baleen, expected 1");
  CHECK(message(R"({"schema":1})") == "no route log: \"format\" is not \"baleen-routes\"");
  CHECK(message("{").find("not valid JSON") != std::string::npos);
}

TEST_CASE("logs of two models are told apart by name") {
  RouteHeader other = header;
  other.detail = RouteDetail::counts;
  other.bias.clear();
  check_same_model(header, other);
  other.model = "b";
  CHECK_THROWS_WITH(check_same_model(header, other), "model b, the log before it is of model tiny \"model\"");
  other = header;
  other.experts = 8;
  CHECK_THROWS_WITH(
      check_same_model(header, other),
      "a model with 2 layers of 8 experts, 2 a token, the log before it is of a model with 2 layers of "
      "4 experts, 2 a token");
}

TEST_CASE("counts, and loads that do not sum up") {
  const RouteCounts counts{.generated = false, .label = "a", .tokens = 3, .load = {3, 1, 1, 1, 0, 0, 3, 3}};
  std::string line;
  append_counts(line, counts, header);
  line = without_newline(line);
  CHECK(line == R"({"tokens":3,"g":0,"l":"a","load":[[3,1,1,1],[0,0,3,3]]})");
  CHECK(route_line_kind(line) == RouteLineKind::counts);
  RouteCounts back;
  parse_counts(line, header, back);
  CHECK(back.load == counts.load);
  CHECK(back.label == "a");
  CHECK_THROWS_WITH(parse_counts(R"({"tokens":3,"g":0,"load":[[3,1,1,1],[0,0,3,2]]})", header, back),
                    "layer 2: loads sum to 5, expected 3 tokens x 2 experts");
  CHECK_THROWS_WITH(parse_counts(R"({"tokens":3,"g":0,"load":[[4,1,1,0],[0,0,3,3]]})", header, back),
                    "layer 1, expert 0: a load of 4, expected at most the 3 tokens");
}

TEST_CASE("kinds of lines") {
  CHECK(route_line_kind(line_of(sample())) == RouteLineKind::token);
  std::string line;
  append_request(line, 3, "\"name\"");
  CHECK(line == "{\"request\":3,\"id\":\"name\"}\n");
  CHECK(route_line_kind(line) == RouteLineKind::request);
  CHECK(route_line_kind("{\"schema\":1}") == RouteLineKind::header);
  CHECK_THROWS_AS(route_line_kind("{\"x\":1}"), Error);
  CHECK_THROWS_AS(route_line_kind(""), Error);
}
