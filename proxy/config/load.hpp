// proxy/config/load.hpp
//
// The way from a YAML file to a Config, and the only door to YAML in the program. Loading never stops at the first
// mistake: a file that is wrong in five places says so five times, each with line and column, because the person who
// reads it may be repairing a system that is down. Nothing is clamped or ignored; what is not understood is refused.
//
// The order is fixed: text -> node tree (document.hpp) -> includes merged -> blocks read (load_*.cpp) -> rules that
// need more than one key (validate.hpp). yaml-cpp is seen by document.cpp alone, and its exceptions end there.
//
// Threads: any; a call shares nothing with another. Not for a worker: it reads files and takes milliseconds.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "proxy/config/diagnostic.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

/// Looks up an environment variable; nullopt where it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The environment of this process.
std::optional<std::string> process_environment(const std::string& name);

struct LoadResult {
  Config config;            // meaningful only if ok()
  Diagnostics diagnostics;  // errors and warnings, by file and line

  bool ok() const noexcept;
};

/// Reads a file and what it includes. A file that cannot be read is an error like any other.
LoadResult load_file(const std::string& path, const Environment& environment = process_environment);

/// Reads a text as if it were the file `filename`; includes are looked for beside that.
LoadResult load_text(std::string_view text, const std::string& filename,
                     const Environment& environment = process_environment);

/// Reads a text as if it were the chaos block of that policy in a file with the rest of `config`; the environment has
/// no part in it. Errors: all that is wrong with it.
std::variant<ChaosBlock, Diagnostics> load_chaos(std::string_view text, const std::string& filename,
                                                 const std::string& policy, const Config& config);

}  // namespace outrigger::config
