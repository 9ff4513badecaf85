#include "proxy/http/cache_key.hpp"

#include "proxy/base/header_view.hpp"

namespace outrigger::http {
namespace {

/// Without the port where it is the scheme's own or empty.
std::string_view without_default_port(std::string_view scheme, std::string_view authority) noexcept {
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return authority;
  const std::string_view port = authority.substr(colon + 1);
  const bool usual = port.empty() || (scheme == "http" && port == "80") || (scheme == "https" && port == "443");
  return usual ? authority.substr(0, colon) : authority;
}

}  // namespace

void write_cache_key(const CacheTarget& target, Buffer& out) {
  out.append(target.scheme);
  out.append("://");
  const std::string_view authority = without_default_port(target.scheme, target.authority);
  char* const lower = out.prepare(authority.size());
  for (std::size_t i = 0; i < authority.size(); ++i) lower[i] = ascii_lower(authority[i]);
  out.commit(authority.size());
  out.append(target.path);
  out.append(target.query);
}

}  // namespace outrigger::http
