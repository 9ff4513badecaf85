#include "proxy/config/findings.hpp"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace outrigger::config {

void Findings::add(Severity severity, const Place& place, const std::string& path, std::string message,
                   std::string hint) {
  SourcePosition at = position(place);
  diagnostics_.push_back({severity, std::move(at.file), at.line, at.col, path, std::move(message), std::move(hint)});
}

void Findings::error(const Place& place, const std::string& path, std::string message, std::string hint) {
  add(Severity::error, place, path, std::move(message), std::move(hint));
}

void Findings::warning(const Place& place, const std::string& path, std::string message, std::string hint) {
  add(Severity::warning, place, path, std::move(message), std::move(hint));
}

void Findings::saw(const std::string& path, const Place& place) {
  if (place.line > 0) places_.insert_or_assign(path, place);
}

Place Findings::place_of(std::string path) const {
  for (;;) {
    if (const auto found = places_.find(path); found != places_.end()) return found->second;
    if (path.empty()) return {&file_, 0, 0};
    const std::size_t end = path.find_last_of(".[");
    path.resize(end == std::string::npos ? 0 : end);
  }
}

bool Findings::sound(std::string_view path) const {
  for (; indexed_ < diagnostics_.size(); ++indexed_) {
    const Diagnostic& diagnostic = diagnostics_[indexed_];
    if (diagnostic.severity == Severity::error) wrong_paths_.insert(diagnostic.path);
  }
  const auto below = wrong_paths_.lower_bound(path);
  return below == wrong_paths_.end() || !below->starts_with(path);
}

SourcePosition Findings::position(const Place& place) const {
  return {place.file != nullptr ? *place.file : file_, place.line, place.col};
}

Diagnostics Findings::sorted(const std::vector<std::string>& files) const {
  Diagnostics out;
  std::set<std::tuple<std::string, int, int, std::string_view, std::string>> told;
  for (const Diagnostic& at : diagnostics_) {
    const std::string_view key = std::string_view(at.path).substr(at.path.find_last_of('.') + 1);
    if (told.emplace(at.file, at.line, at.col, key, at.message).second) out.push_back(at);
  }
  const auto rank = [&](const Diagnostic& diagnostic) {
    return std::tuple(std::find(files.begin(), files.end(), diagnostic.file), diagnostic.line, diagnostic.col);
  };
  std::stable_sort(out.begin(), out.end(), [&](const Diagnostic& a, const Diagnostic& b) { return rank(a) < rank(b); });
  return out;
}

std::string to_string(const Place& place) {
  return (place.file != nullptr ? *place.file : "") + ":" + std::to_string(place.line) + ":" +
         std::to_string(place.col);
}

}  // namespace outrigger::config
