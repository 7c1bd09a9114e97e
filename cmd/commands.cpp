#include "cmd/commands.h"

#include <utility>

#include "cmd/bench_options.h"
#include "cmd/kernel_choice.h"
#include "cmd/quantize_options.h"
#include "cmd/route_stats_options.h"
#include "cmd/run_options.h"
#include "report/version.h"

namespace baleen::cmd {

std::vector<Command> all_commands() {
  RunOptions run;  // only the words of the definitions are looked at
  QuantizeOptions quantize;
  BenchOptions bench;
  RouteStatsOptions route_stats;
  std::vector<Command> commands;
  commands.push_back(run_definition(run));
  commands.push_back(bench_definition(bench));
  commands.push_back(quantize_definition(quantize));
  commands.push_back(route_stats_definition(route_stats));
  return commands;
}

std::string version_text(std::string_view isa) {
  return "baleen " + std::string(version()) + " (commit " + std::string(commit()) + ")\n" +
         "instruction set in use: " + describe_kernels(choose_kernels(isa)) + "\n" +
         "built in: " + isa_names(false) + "\n";
}

}  // namespace baleen::cmd
