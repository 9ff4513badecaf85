#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

using std::chrono::hours;

}  // namespace

void read_priorities(Block& block, policy::PriorityThresholds& out) {
  block.block("priorities", "priorities", [&](Block& levels) {
    Findings& findings = levels.findings();
    for (std::size_t i = 0; i < kPriorities; ++i) levels.fraction(kPriorityNames[i], out.fraction[i], {0.001, 1});
    const auto path = [&](Priority level) { return join_path(levels.path(), to_string(level)); };
    if (!findings.sound(levels.path())) return;
    if (out.fraction[index(Priority::critical)] < 1) {
      const std::string critical = path(Priority::critical);
      findings.error(findings.place_of(critical), critical, "must be 100%: critical requests may use everything");
    } else if (out.fraction[index(Priority::low)] > out.fraction[index(Priority::standard)]) {
      const std::string standard = path(Priority::standard);
      findings.error(findings.place_of(standard), standard, "must not be below low",
                     levels.has("low") ? "" : "a level left out is 100%: give low, too");
    }
  });
}

void read_bulkhead(Block& block, policy::BulkheadConfig& bulkhead) {
  if (block.require("max_concurrent")) block.integer("max_concurrent", bulkhead.max_concurrent, {1, kMaxPlaces});
  block.integer("max_queue", bulkhead.max_queue, {0, kMaxQueue});
  block.duration("max_wait", bulkhead.max_wait, {Nanos{0}, hours{1}});
  read_priorities(block, bulkhead.priorities);
  block.choice("counts", bulkhead.counts, kCounts);
}

}  // namespace outrigger::config
