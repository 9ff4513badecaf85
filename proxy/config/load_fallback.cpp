#include "proxy/config/load_blocks.hpp"
#include "proxy/config/reason_words.hpp"

namespace outrigger::config {
namespace {

using Answer = policy::FallbackConfig::Answer;

}  // namespace

void read_fallback(Block& block, FallbackBlock& fallback) {
  read_occasions(block, "when", fallback.rule);
  const std::string_view answer = block.only_key({"respond", "upstream", "stale"});
  if (answer == "respond") {
    block.block("respond", "respond", [&](Block& respond) { read_respond(respond, fallback.respond); });
  } else if (answer == "upstream") {
    fallback.rule.answer = Answer::upstream;
    block.text("upstream", fallback.upstream);
  } else if (answer == "stale") {
    fallback.rule.answer = Answer::stale;
    bool stale = true;
    block.boolean("stale", stale);
    const auto value = block.take("stale");
    if (!stale)
      block.findings().error(value->place, value->path, "must be true; null, or another answer, switches it off");
  }
}

}  // namespace outrigger::config
