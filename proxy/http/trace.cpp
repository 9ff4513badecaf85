#include "proxy/http/trace.hpp"

#include "proxy/base/header_view.hpp"
#include "proxy/http/text_writer.hpp"

namespace outrigger::http {
namespace {

constexpr FieldSet kSecret{FieldId::authorization, FieldId::cookie, FieldId::proxy_authorization};
constexpr std::string_view kForProxies = "proxy-";

bool is_secret(const Field& field, FieldId id) noexcept {
  return kSecret.has(id) || iequals(field.name.substr(0, kForProxies.size()), kForProxies);
}

}  // namespace

void append_trace(const RequestHead& head, Buffer& out) {
  TextWriter writer{out, 1024};
  writer.text(head.method_name);
  writer.text(" ");
  writer.text(head.target);
  writer.line(" HTTP/1.", head.minor);
  for (std::size_t i = 0; i < head.fields->size(); ++i) {
    const Field& field = (*head.fields)[i];
    if (!is_secret(field, head.fields->id(i))) writer.field(field.name, field.value);
  }
  writer.end_line();
}

}  // namespace outrigger::http
