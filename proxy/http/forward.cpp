#include "proxy/http/forward.hpp"

#include <charconv>

#include "proxy/http/chars.hpp"
#include "proxy/http/text_writer.hpp"

namespace outrigger::http {
namespace {

/// Meant for one hop, or written anew by whoever passes the message on.
constexpr FieldSet kHopByHop{
    FieldId::connection,  FieldId::keep_alive,         FieldId::proxy_connection,    FieldId::te,
    FieldId::upgrade,     FieldId::proxy_authenticate, FieldId::proxy_authorization, FieldId::transfer_encoding,
    FieldId::x_outrigger, FieldId::x_outrigger_reason};
constexpr FieldSet kNotUpstream = kHopByHop.with(
    FieldSet{FieldId::expect, FieldId::x_request_id, FieldId::x_request_priority, FieldId::x_request_timeout,
             FieldId::grpc_timeout, FieldId::x_envoy_expected_rq_timeout_ms, FieldId::x_forwarded_client_cert});
constexpr FieldSet kNotDownstream = kHopByHop.with(FieldSet{FieldId::x_outrigger_timeline});
/// What only a trusted client may say about those before it.
constexpr FieldSet kOrigin{FieldId::forwarded, FieldId::x_forwarded_for, FieldId::x_forwarded_proto,
                           FieldId::x_forwarded_host, FieldId::x_forwarded};
/// Connection may not take these away: the next hop would read another message than this one did, or lose what it
/// relies on to know who is asking.
constexpr FieldSet kNotForConnectionToName = kOrigin.with(
    FieldSet{FieldId::host, FieldId::content_length, FieldId::authorization, FieldId::cookie, FieldId::set_cookie,
             FieldId::via, FieldId::date, FieldId::max_forwards, FieldId::idempotency_key, FieldId::proxy_status,
             FieldId::retry_after, FieldId::x_should_retry, FieldId::x_outrigger_timeline});

/// What attempts of one request differ by, beside their deadlines.
constexpr std::string_view kAttempt = "X-Outrigger-Attempt";
constexpr std::string_view kHedge = "X-Outrigger-Hedge";
constexpr std::string_view kMirror = "X-Outrigger-Mirror";

/// Room for all that is added to a head, so that a usual one is written without growing.
constexpr std::size_t kAdded = 512;

bool is_named_by_connection(const FieldList& fields, std::string_view name) noexcept {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != FieldId::connection) continue;
    std::string_view options = fields[i].value;
    while (!options.empty()) {
      if (iequals(next_element(options), name)) return true;
    }
  }
  return false;
}

bool is_one_of(std::span<const std::string_view> names, std::string_view name) noexcept {
  for (const std::string_view each : names) {
    if (iequals(each, name)) return true;
  }
  return false;
}

bool is_edited(const HeaderEdits& edits, std::string_view name) noexcept {
  for (const Field& field : edits.set) {
    if (iequals(field.name, name)) return true;
  }
  return is_one_of(edits.remove, name);
}

/// Which fields of a head are passed on as they came.
struct Selection {
  const FieldList& fields;
  FieldSet dropped;
  bool names_fields;
  const HeaderEdits* edits;
  std::span<const std::string_view> replaced = {};
  std::string_view not_for_connection = {};  // beside those that never are

  bool keeps(std::size_t index) const noexcept {
    const FieldId id = fields.id(index);
    if (dropped.has(id)) return false;
    if (names_fields && connection_takes(id, fields[index].name)) return false;
    if (is_one_of(replaced, fields[index].name)) return false;
    return edits == nullptr || !is_edited(*edits, fields[index].name);
  }

  bool connection_takes(FieldId id, std::string_view name) const noexcept {
    return !kNotForConnectionToName.has(id) && !iequals(name, not_for_connection) &&
           is_named_by_connection(fields, name);
  }
};

/// Copies the selected fields; those that lie side by side in the received head and are already written as they would
/// be here, as one run.
void copy_fields(const Selection& selection, TextWriter& out) {
  const char* run = nullptr;
  const char* run_end = nullptr;
  const auto end_run = [&] {
    if (run == nullptr) return;
    out.text({run, static_cast<std::size_t>(run_end - run)});
    out.end_line();
    run = nullptr;
  };
  for (std::size_t i = 0; i < selection.fields.size(); ++i) {
    if (!selection.keeps(i)) continue;
    const Field& field = selection.fields[i];
    const char* const name_end = field.name.data() + field.name.size();
    if (field.value.data() != name_end + 2 || name_end[1] != ' ') {
      end_run();
      out.field(field.name, field.value);
      continue;
    }
    if (run == nullptr || field.name.data() != run_end + 2) {
      end_run();
      run = field.name.data();
    }
    run_end = field.value.data() + field.value.size();
  }
  end_run();
}

void write_edits(const HeaderEdits* edits, TextWriter& out) {
  if (edits == nullptr) return;
  for (const Field& field : edits->set) out.field(field.name, field.value);
  for (const Field& field : edits->add) out.field(field.name, field.value);
}

void write_via(std::string_view instance, TextWriter& out) { out.line("Via: 1.1 ", instance); }

/// Who asked, and for what: continued where the client is trusted, begun anew where it is not.
void write_origin(const RequestHead& head, const RequestForward& how, TextWriter& out) {
  const FieldList& fields = *head.fields;
  if (!how.client_ip.empty()) {
    out.text("X-Forwarded-For: ");
    if (how.trusted && fields.has(FieldId::x_forwarded_for)) {
      for (std::size_t i = 0; i < fields.size(); ++i) {
        if (fields.id(i) != FieldId::x_forwarded_for || fields[i].value.empty()) continue;
        out.text(fields[i].value);
        out.text(", ");
      }
    }
    out.line("", how.client_ip);
  }
  if (!how.trusted || !fields.has(FieldId::x_forwarded_proto)) out.line("X-Forwarded-Proto: ", how.scheme);
  if (!how.client_certificate.empty()) out.line("X-Forwarded-Client-Cert: ", how.client_certificate);
  const std::string_view host = how.authority.empty() ? head.host : how.authority;
  if (!host.empty() && (!how.trusted || !fields.has(FieldId::x_forwarded_host))) out.line("X-Forwarded-Host: ", host);
}

struct MaxForwards {
  bool valid = false;
  std::uint32_t left = 0;
};

/// The Max-Forwards of a method that has one (RFC 9110 7.6.2).
MaxForwards max_forwards(const RequestHead& head) noexcept {
  if (head.method != Method::options && head.method != Method::trace) return {};
  const std::string_view value = head.fields->find(FieldId::max_forwards).value_or("");
  MaxForwards result;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result.left);
  result.valid = error == std::errc{} && end == value.data() + value.size() && is_digit(value.front());
  return result;
}

bool asks_for_trailers_only(const FieldList& fields) noexcept {
  return iequals(fields.find(FieldId::te).value_or(""), "trailers");
}

/// What is meant for the next hop alone, which Connection tells it (RFC 9110 7.8, 10.1.4).
void write_hop(const RequestHead& head, const RequestForward& how, TextWriter& out) {
  const bool trailers = asks_for_trailers_only(*head.fields);
  const bool upgrade = !how.upgrade.empty();
  if (trailers) out.text(upgrade ? "Connection: TE, Upgrade\r\n" : "Connection: TE\r\n");
  if (upgrade && !trailers) out.text("Connection: Upgrade\r\n");
  if (trailers) out.text("TE: trailers\r\n");
  if (upgrade) out.line("Upgrade: ", how.upgrade);
}

/// Takes the next member off a Via value; commas inside a comment do not end it.
std::string_view next_via_member(std::string_view& list) noexcept {
  int depth = 0;
  std::size_t at = 0;
  for (; at < list.size(); ++at) {
    if (list[at] == '\\') {
      ++at;
    } else if (list[at] == '(') {
      ++depth;
    } else if (list[at] == ')') {
      --depth;
    } else if (list[at] == ',' && depth <= 0) {
      break;
    }
  }
  const std::string_view member = trimmed(list.substr(0, at));
  list = at < list.size() ? list.substr(at + 1) : std::string_view{};
  return member;
}

bool is_by(std::string_view via_member, std::string_view instance) noexcept {
  const std::size_t blank = via_member.find_first_of(" \t");
  if (blank == std::string_view::npos) return false;
  const std::string_view rest = trimmed(via_member.substr(blank));
  return iequals(rest.substr(0, rest.find_first_of(" \t(")), instance);
}

std::size_t text_size(const FieldList& fields) noexcept {
  std::size_t size = 0;
  for (const Field& field : fields.view()) size += field.name.size() + field.value.size() + 4;
  return size;
}

FieldSet dropped_upstream(const RequestHead& head, const RequestForward& how) noexcept {
  FieldSet dropped = kNotUpstream;
  if (!how.trusted) dropped = dropped.with(kOrigin);
  if (!how.client_ip.empty()) dropped.insert(FieldId::x_forwarded_for);
  if (!how.host.empty() || !how.authority.empty()) dropped.insert(FieldId::host);
  if (max_forwards(head).valid) dropped.insert(FieldId::max_forwards);
  return dropped;
}

FieldSet dropped_downstream(const ResponseHead& head, const ResponseForward& how) noexcept {
  FieldSet dropped = kNotDownstream;
  if (how.should_not_retry) dropped.insert(FieldId::x_should_retry);
  if (head.status < 200 || head.status == 204) dropped.insert(FieldId::content_length);
  return dropped;
}

void write_connection(Framing framing, const ResponseForward& how, TextWriter& out) {
  if (framing == Framing::chunked) out.text("Transfer-Encoding: chunked\r\n");
  if (framing == Framing::until_close || !how.client_keep_alive) {
    out.text("Connection: close\r\n");
  } else if (how.client_minor == 0) {
    out.text("Connection: keep-alive\r\n");
  }
}

}  // namespace

void write_request_head(const RequestHead& head, const RequestForward& how, Buffer& out) {
  const FieldList& fields = *head.fields;
  TextWriter writer{out, text_size(fields) + how.path.size() + how.query.size() + kAdded};
  writer.text(head.method_name);
  writer.text(" ");
  writer.text(how.path);
  writer.text(how.query);
  writer.text(" HTTP/1.1\r\n");
  const FieldSet dropped = dropped_upstream(head, how);
  if (dropped.has(FieldId::host) || !fields.has(FieldId::host)) {
    writer.line("Host: ", how.host.empty() ? how.authority : how.host);
  }
  copy_fields({.fields = fields,
               .dropped = dropped,
               .names_fields = head.names_fields,
               .edits = how.edits,
               .not_for_connection = how.idempotency_key},
              writer);
  if (head.body.framing == Framing::chunked) writer.text("Transfer-Encoding: chunked\r\n");
  write_hop(head, how, writer);
  if (const MaxForwards forwards = max_forwards(head); forwards.valid) {
    writer.line("Max-Forwards: ", forwards.left == 0 ? 0 : forwards.left - 1);
  }
  write_via(how.instance, writer);
  write_origin(head, how, writer);
  writer.line("X-Request-Id: ", how.request_id);
  if (!how.priority.empty()) writer.line("X-Request-Priority: ", how.priority);
  write_edits(how.edits, writer);
}

void read_written_fields(std::string_view head, std::vector<Field>& out) {
  out.clear();
  head.remove_prefix(head.find('\n') + 1);  // the request line
  for (std::size_t colon = head.find(':'); colon != std::string_view::npos; colon = head.find(':')) {
    const std::size_t end = head.find('\n', colon);
    out.push_back({head.substr(0, colon), trimmed(head.substr(colon + 1, end - colon - 2))});
    head.remove_prefix(end + 1);
  }
}

void append_attempt_tail(const AttemptTail& tail, Buffer& out) {
  TextWriter writer{out, 160};
  writer.text(kAttempt);
  writer.line(": ", tail.attempt);
  if (tail.hedge != 0) {
    writer.text(kHedge);
    writer.line(": ", tail.hedge);
  }
  if (tail.mirror) writer.field(kMirror, "1");
  if (tail.time_left != kForever && !tail.forward.empty()) {
    for (DeadlineForm form : kDeadlineForms) {
      if (!tail.forward.has(form)) continue;
      char value[kMaxDeadlineText];
      writer.field(field_name(field_of(form)), {value, write_deadline(form, tail.time_left, value)});
    }
  }
  writer.end_line();
}

bool differs_by_attempt(std::string_view name) noexcept {
  constexpr FieldSet kDeadlines{field_of(kDeadlineForms[0]), field_of(kDeadlineForms[1]), field_of(kDeadlineForms[2])};
  static_assert(kDeadlineForms.size() == 3);
  return kDeadlines.has(identify_field(name)) || iequals(name, kAttempt) || iequals(name, kHedge) ||
         iequals(name, kMirror);
}

std::optional<std::string_view> told_scheme(const FieldList& fields, bool trusted, std::string_view own) noexcept {
  std::optional<std::string_view> told;
  if (!trusted || !fields.has(FieldId::x_forwarded_proto)) return own;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != FieldId::x_forwarded_proto) continue;
    if (told) return std::nullopt;
    told = fields[i].value;
  }
  return told;
}

bool is_loop(const FieldList& fields, std::string_view instance) noexcept {
  if (!fields.has(FieldId::via)) return false;
  int passed = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != FieldId::via) continue;
    std::string_view members = fields[i].value;
    while (!members.empty()) {
      if (is_by(next_via_member(members), instance) && ++passed == 2) return true;
    }
  }
  return false;
}

std::optional<std::string_view> forwarded_for(const FieldList& fields, std::uint32_t n) noexcept {
  for (std::size_t i = fields.size(); i-- > 0;) {
    if (fields.id(i) != FieldId::x_forwarded_for) continue;
    std::string_view list = fields[i].value;
    while (!list.empty()) {
      const std::size_t comma = list.rfind(',');
      const std::string_view last = trimmed(comma == std::string_view::npos ? list : list.substr(comma + 1));
      list = comma == std::string_view::npos ? std::string_view{} : list.substr(0, comma);
      if (!last.empty() && --n == 0) return last;
    }
  }
  return std::nullopt;
}

bool is_last_forward(const RequestHead& head) noexcept {
  const MaxForwards forwards = max_forwards(head);
  return forwards.valid && forwards.left == 0;
}

Framing client_framing(const ResponseHead& head, std::uint8_t client_minor) noexcept {
  if (head.status == 101) return Framing::until_close;
  if (head.body.framing == Framing::none || head.body.framing == Framing::content_length) return head.body.framing;
  return client_minor == 0 ? Framing::until_close : Framing::chunked;
}

void write_response_head(const ResponseHead& head, const ResponseForward& how, Buffer& out) {
  const FieldList& fields = *head.fields;
  TextWriter writer{out, text_size(fields) + head.reason_phrase.size() + kAdded};
  writer.text("HTTP/1.1 ");
  writer.number(head.status);
  writer.line(" ", head.reason_phrase);
  copy_fields({fields, dropped_downstream(head, how), head.names_fields, how.edits, how.replaced}, writer);
  write_via(how.instance, writer);
  if (head.status == 101) {
    writer.line("Connection: Upgrade\r\nUpgrade: ", fields.find(FieldId::upgrade).value_or(""));
  }
  if (head.status >= 200) {
    if (!fields.has(FieldId::date)) writer.line("Date: ", how.date);
    write_connection(client_framing(head, how.client_minor), how, writer);
  }
  if (how.should_not_retry) writer.text("X-Should-Retry: false\r\n");
  write_edits(how.edits, writer);
  for (const Field& field : how.extra) writer.field(field.name, field.value);
  writer.end_line();
}

}  // namespace outrigger::http
