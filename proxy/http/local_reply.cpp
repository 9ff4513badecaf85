#include "proxy/http/local_reply.hpp"

#include <algorithm>

#include "proxy/http/chars.hpp"
#include "proxy/http/text_writer.hpp"

namespace outrigger::http {
namespace {

/// A Proxy-Status member is named by a token where it can be and by a quoted string where not (RFC 8941 3.3).
bool is_structured_token(std::string_view name) noexcept {
  if (name.empty() || is_digit(name.front())) return false;
  const bool starts_well = (name.front() >= 'a' && name.front() <= 'z') ||
                           (name.front() >= 'A' && name.front() <= 'Z') || name.front() == '*';
  return starts_well &&
         std::all_of(name.begin(), name.end(), [](char c) { return is(kToken, c) || c == ':' || c == '/'; });
}

void write_quoted(std::string_view text, TextWriter& out) {
  out.text("\"");
  for (const char& c : text) {
    if (c == '"' || c == '\\') out.text("\\");
    if (c >= ' ' && c < 0x7f) out.text({&c, 1});
  }
  out.text("\"");
}

void write_proxy_status(const LocalReply& reply, TextWriter& out) {
  out.text("Proxy-Status: ");
  if (is_structured_token(reply.instance)) {
    out.text(reply.instance);
  } else {
    write_quoted(reply.instance, out);
  }
  if (const std::string_view error = info(reply.reason).proxy_status_error; !error.empty()) {
    out.text("; error=");
    out.text(error);
  }
  out.text("; details=\"");
  out.text(to_string(reply.reason));
  out.text("\"\r\n");
}

void write_json_string(std::string_view text, TextWriter& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      out.text("\\ufffd");
    } else if (byte < 0x20 || byte == 0x7f) {
      out.text("\\u00");
      out.text(kHex.substr(byte >> 4, 1));
      out.text(kHex.substr(byte & 15, 1));
    } else {
      if (c == '"' || c == '\\') out.text("\\");
      out.text({&c, 1});
    }
  }
}

void write_member(std::string_view opening, std::string_view value, TextWriter& out) {
  out.text(opening);
  out.text("\"");
  write_json_string(value, out);
  out.text("\"");
}

void write_body(const LocalReply& reply, std::uint16_t status, TextWriter& out) {
  out.text(R"({"type":"about:blank")");
  write_member(R"(,"title":)", status_phrase(status), out);
  out.text(R"(,"status":)");
  out.number(status);
  write_member(R"(,"detail":)", reply.detail.empty() ? info(reply.reason).text : reply.detail, out);
  write_member(R"(,"reason":)", to_string(reply.reason), out);
  if (reply.policy.empty()) {
    out.text(R"(,"policy":null)");
  } else {
    write_member(R"(,"policy":)", reply.policy, out);
  }
  write_member(R"(,"request_id":)", reply.request_id, out);
  out.text("}\n");
}

void write_head(const LocalReply& reply, std::uint16_t status, std::size_t body_size, TextWriter& out) {
  out.text("HTTP/1.1 ");
  out.number(status);
  out.line(" ", status_phrase(status));
  out.line("Date: ", reply.date);
  out.line("Via: 1.1 ", reply.instance);
  write_proxy_status(reply, out);
  out.line("X-Outrigger-Reason: ", to_string(reply.reason));
  if (reply.retry_after) out.line("Retry-After: ", *reply.retry_after);
  if (reply.should_not_retry) out.text("X-Should-Retry: false\r\n");
  if (status == 405) out.line("Allow: ", kAllowed);
  for (const Field& field : reply.extra) out.field(field.name, field.value);
  if (!reply.keep_alive) {
    out.text("Connection: close\r\n");
  } else if (reply.client_minor == 0) {
    out.text("Connection: keep-alive\r\n");
  }
  out.text("Content-Type: application/problem+json\r\nContent-Length: ");
  out.number(body_size);
  out.text("\r\n\r\n");
}

}  // namespace

void write_local_reply(const LocalReply& reply, Buffer& out) {
  const std::uint16_t status = info(reply.reason).status == 0 ? 500 : info(reply.reason).status;
  // The body's length stands before the body. Local replies are rare: it is written twice, and what counted is dropped.
  const std::size_t start = out.size();
  {
    TextWriter counted{out, 512};
    write_body(reply, status, counted);
  }
  const std::size_t body_size = out.size() - start;
  out.truncate(start);
  TextWriter writer{out, 1024};
  write_head(reply, status, body_size, writer);
  if (!reply.answers_head) write_body(reply, status, writer);
}

void append_json_escaped(std::string_view text, Buffer& out) {
  TextWriter writer{out, text.size() + 16};
  write_json_string(text, writer);
}

std::string_view status_phrase(std::uint16_t status) noexcept {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 508: return "Loop Detected";
    default: return "";
  }
}

}  // namespace outrigger::http
