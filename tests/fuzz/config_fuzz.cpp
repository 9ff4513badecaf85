// tests/fuzz/config_fuzz.cpp
//
// Any bytes as a configuration: loading ends, every finding has a message, and what was accepted survives being written
// out and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/config/check.hpp"
#include "proxy/config/dump.hpp"
#include "proxy/config/load.hpp"

namespace {

using namespace outrigger::config;

std::optional<std::string> no_variables(const std::string&) { return std::nullopt; }

void demand(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Files of this machine are no part of the input; a dollar is written differently than it is read.
  for (const std::string_view word : {"include", "body_file", "$"}) {
    if (text.find(word) != std::string_view::npos) return 0;
  }
  const LoadResult first = load_text(text, "fuzz.yaml", no_variables);
  for (const Diagnostic& diagnostic : first.diagnostics) demand(!diagnostic.message.empty());
  if (!first.ok()) return 0;
  const std::string written = dump(first.config);
  const LoadResult second = load_text(written, "fuzz.json", no_variables);
  demand(second.ok());
  demand(dump(second.config) == written);
  return 0;
}
