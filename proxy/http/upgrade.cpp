#include "proxy/http/upgrade.hpp"

#include <algorithm>

#include "proxy/base/header_view.hpp"
#include "proxy/http/chars.hpp"

namespace outrigger::http {

std::string_view upgrade_of(const RequestHead& head, std::span<const std::string> allowed) noexcept {
  const bool has_body = head.body.framing == Framing::chunked || head.body.bytes != 0;
  if (!head.upgrade || has_body) return {};
  const FieldList& fields = *head.fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != FieldId::upgrade) continue;
    std::string_view protocols = fields[i].value;
    while (!protocols.empty()) {
      const std::string_view asked = next_element(protocols);
      const auto found = std::ranges::find_if(allowed, [&](const std::string& each) { return iequals(each, asked); });
      if (found != allowed.end()) return *found;
    }
  }
  return {};
}

bool switches_to(const ResponseHead& head, std::string_view protocol) noexcept {
  const FieldList& fields = *head.fields;
  bool named = false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != FieldId::upgrade) continue;
    if (named || !iequals(fields[i].value, protocol)) return false;
    named = true;
  }
  return named;
}

}  // namespace outrigger::http
