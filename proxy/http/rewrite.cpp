#include "proxy/http/rewrite.hpp"

namespace outrigger::http {
namespace {

/// The slash at the end belongs to what follows a prefix.
std::string_view without_slash(std::string_view prefix) noexcept {
  return prefix.ends_with('/') ? prefix.substr(0, prefix.size() - 1) : prefix;
}

}  // namespace

std::string_view rewritten(const PathRewrite& rule, std::string_view path, Buffer& scratch) {
  if (rule.kind == PathRewrite::Kind::none || path == "*") return path;
  if (rule.kind == PathRewrite::Kind::path) return rule.by;
  const std::string_view rest = path.substr(without_slash(rule.matched).size());
  const std::string_view by = without_slash(rule.by);
  if (by.empty()) return rest.empty() ? std::string_view{"/"} : rest;
  scratch.clear();
  scratch.append(by);
  scratch.append(rest);
  return scratch.view();
}

}  // namespace outrigger::http
