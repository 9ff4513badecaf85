// proxy/config/diagnostic.hpp
//
// One thing wrong, or suspicious, in a configuration. A person reads these in a terminal, an editor parses them, and
// the admin API returns them, so they are values first and text only when printed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace outrigger::config {

enum class Severity : std::uint8_t { error, warning };

struct Diagnostic {
  Severity severity = Severity::error;
  std::string file;
  int line = 0;  // from 1; 0 where the file as a whole is meant
  int col = 0;
  std::string path;  // `policies.payments.Charge.retry.max_attempts`, `routes[0].match`; empty for the whole file
  std::string message;
  std::string hint;  // what to do; empty where the message says it all

  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

using Diagnostics = std::vector<Diagnostic>;

}  // namespace outrigger::config
