// proxy/config/check.hpp
//
// How diagnostics look to people and to editors' error parsers: one line each, `file:line:col: error: path: message
// (hint)`, the form compilers use.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "proxy/config/diagnostic.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

/// One diagnostic as one line, without the line's end.
std::string to_string(const Diagnostic& diagnostic);

/// Writes each on a line of its own.
void print(const Diagnostics& diagnostics, std::ostream& out);

/// What somebody who uses a configuration finds wrong with one that was loaded without errors.
using FurtherCheck = std::function<Diagnostics(const Config& config)>;

/// Loads each file as a configuration of its own and prints what is wrong with it; nothing where all is well.
/// Returns the exit code: 0, or 1 if any file has an error.
int check_files(const std::vector<std::string>& files, std::ostream& out, const FurtherCheck& check = {});

}  // namespace outrigger::config
