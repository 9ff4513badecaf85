#include "proxy/config/check.hpp"

#include <algorithm>
#include <iterator>
#include <ostream>

#include "proxy/config/load.hpp"
#include "proxy/config/text.hpp"

namespace outrigger::config {

std::string to_string(const Diagnostic& diagnostic) {
  std::string out = diagnostic.file;
  if (diagnostic.line > 0) out += ":" + std::to_string(diagnostic.line) + ":" + std::to_string(diagnostic.col);
  out += diagnostic.severity == Severity::error ? ": error: " : ": warning: ";
  if (!diagnostic.path.empty()) out += diagnostic.path + ": ";
  out += diagnostic.message;
  if (!diagnostic.hint.empty()) out += " (" + diagnostic.hint + ")";
  return one_line(out);
}

void print(const Diagnostics& diagnostics, std::ostream& out) {
  for (const Diagnostic& diagnostic : diagnostics) out << to_string(diagnostic) << '\n';
}

int check_files(const std::vector<std::string>& files, std::ostream& out, const FurtherCheck& check) {
  int exit_code = 0;
  for (const std::string& file : files) {
    LoadResult result = load_file(file);
    if (check && result.ok()) std::ranges::move(check(result.config), std::back_inserter(result.diagnostics));
    print(result.diagnostics, out);
    if (!result.ok()) exit_code = 1;
  }
  return exit_code;
}

}  // namespace outrigger::config
