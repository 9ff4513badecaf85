#include "proxy/http/cache_control.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "proxy/http/chars.hpp"
#include "proxy/http/field_id.hpp"
#include "proxy/http/forward.hpp"

namespace outrigger::http {
namespace {

constexpr std::int64_t kMostSeconds = std::int64_t{1} << 31;

constexpr Nanos seconds(std::int64_t count) noexcept {
  return Nanos{std::clamp<std::int64_t>(count, 0, kMostSeconds) * 1'000'000'000};
}

std::optional<Nanos> parse_seconds(std::string_view text) noexcept {
  if (text.empty()) return std::nullopt;
  std::int64_t count = 0;
  for (char c : text) {
    if (!is_digit(c)) return std::nullopt;
    count = std::min(count * 10 + (c - '0'), kMostSeconds);
  }
  return seconds(count);
}

struct Directive {
  std::string_view name;
  std::optional<std::string_view> argument;  // without its quotes

  bool is(std::string_view lower) const noexcept { return iequals(name, lower); }
  std::optional<Nanos> as_seconds() const noexcept { return parse_seconds(argument.value_or("")); }
};

/// Where the string that opens at `at` is over: behind its closing quote; at + 1 where it has none.
std::size_t after_quoted(std::string_view text, std::size_t at) noexcept {
  for (std::size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      return i + 1;
    }
  }
  return at + 1;
}

/// Takes the next directive off the front of a list.
Directive next_directive(std::string_view& list) noexcept {
  std::size_t end = 0;
  while (end < list.size() && list[end] != ',') end = list[end] == '"' ? after_quoted(list, end) : end + 1;
  const std::string_view element = trimmed(list.substr(0, end));
  list.remove_prefix(std::min(end + 1, list.size()));
  const std::size_t equals = element.find('=');
  if (equals == std::string_view::npos) return {element, std::nullopt};
  std::string_view argument = trimmed(element.substr(equals + 1));
  if (argument.size() >= 2 && argument.front() == '"' && argument.back() == '"') {
    argument = argument.substr(1, argument.size() - 2);
  }
  return {trimmed(element.substr(0, equals)), argument};
}

template <class Take>
void each_directive(std::string_view list, Take take) {
  while (!list.empty()) take(next_directive(list));
}

// ---- requests ---------------------------------------------------------------------------------

void read_demand(const Directive& directive, CacheDemand& demand) noexcept {
  if (directive.is("no-store")) demand.no_store = true;
  if (directive.is("no-cache")) demand.no_cache = true;
  if (directive.is("only-if-cached")) demand.only_if_cached = true;
  if (directive.is("max-age")) demand.max_age = std::min(demand.max_age, directive.as_seconds().value_or(Nanos{0}));
  if (directive.is("min-fresh")) {
    demand.min_fresh = std::max(demand.min_fresh, directive.as_seconds().value_or(kForever));
  }
  if (directive.is("max-stale")) {
    demand.max_stale = directive.argument ? directive.as_seconds().value_or(Nanos{0}) : kForever;
  }
}

bool is_condition(std::string_view name) noexcept {
  return iequals(name, "If-None-Match") || iequals(name, "If-Modified-Since") || iequals(name, "If-Match") ||
         iequals(name, "If-Unmodified-Since") || iequals(name, "If-Range");
}

bool keeps_out(const Field& field, std::span<const std::string> vary) noexcept {
  switch (identify_field(field.name)) {
    case FieldId::authorization:
    case FieldId::range:
    case FieldId::upgrade:
    case FieldId::transfer_encoding: return true;
    case FieldId::content_length: return field.value != "0";
    case FieldId::cookie:
      return std::none_of(vary.begin(), vary.end(), [](const std::string& name) { return iequals(name, "Cookie"); });
    case FieldId::other: return is_condition(field.name);
    default: return false;
  }
}

// ---- responses --------------------------------------------------------------------------------

struct ResponseDirectives {
  bool forbids_storing = false;
  bool forbids_stale = false;
  std::optional<Nanos> s_maxage;
  std::optional<Nanos> max_age;
};

void read_response_directive(const Directive& directive, ResponseDirectives& out) noexcept {
  if (directive.is("no-store") || directive.is("private") || directive.is("no-cache")) out.forbids_storing = true;
  if (directive.is("must-revalidate") || directive.is("proxy-revalidate")) out.forbids_stale = true;
  if (directive.is("s-maxage")) {
    out.forbids_stale = true;
    if (!out.s_maxage) out.s_maxage = directive.as_seconds().value_or(Nanos{0});
  }
  if (directive.is("max-age") && !out.max_age) out.max_age = directive.as_seconds().value_or(Nanos{0});
}

/// The fields that a cache reads, from one pass over the head.
struct CachingFields {
  ResponseDirectives directives;
  std::optional<std::string_view> age;
  std::optional<std::string_view> date;
  std::optional<std::string_view> expires;
  bool set_cookie = false;
  bool names_fields = false;  // there is a Connection
};

CachingFields read_caching_fields(HeaderView fields) noexcept {
  CachingFields found;
  for (const Field& field : fields) {
    switch (identify_field(field.name)) {
      case FieldId::cache_control:
        each_directive(field.value, [&](const Directive& each) { read_response_directive(each, found.directives); });
        break;
      case FieldId::date:
        if (!found.date) found.date = field.value;
        break;
      case FieldId::set_cookie: found.set_cookie = true; break;
      case FieldId::connection: found.names_fields = true; break;
      case FieldId::other:
        if (!found.age && iequals(field.name, "Age")) found.age = field.value;
        if (!found.expires && iequals(field.name, "Expires")) found.expires = field.value;
        break;
      default: break;
    }
  }
  return found;
}

CacheTerms read_terms(const CachingFields& found, std::int64_t wall_seconds, Nanos took) noexcept {
  CacheTerms terms;
  const std::optional<std::int64_t> own_date = found.date ? parse_http_date(*found.date, wall_seconds) : std::nullopt;
  const std::int64_t date = own_date.value_or(wall_seconds);
  const Nanos said = parse_seconds(found.age.value_or("")).value_or(Nanos{0});
  terms.initial_age = std::max(seconds(wall_seconds - date), said + std::clamp(took, Nanos{0}, seconds(kMostSeconds)));
  terms.may_be_stale = !found.directives.forbids_stale;
  if (found.directives.s_maxage) {
    terms.lifetime = found.directives.s_maxage;
  } else if (found.directives.max_age) {
    terms.lifetime = found.directives.max_age;
  } else if (found.expires) {
    terms.lifetime = seconds(parse_http_date(*found.expires, wall_seconds).value_or(date) - date);
  }
  return terms;
}

/// The names in Vary; false where no later request could be told to match them.
bool read_vary(HeaderView fields, BoundedVec<std::string_view, kMaxVaryNames>& names) noexcept {
  for (const Field& field : fields) {
    if (!iequals(field.name, "Vary")) continue;
    std::string_view list = field.value;
    while (!list.empty()) {
      const std::string_view name = next_element(list);
      if (name.empty()) continue;
      if (name == "*" || differs_by_attempt(name) || !all(kToken, name) || !names.try_push_back(name)) return false;
    }
  }
  return true;
}

/// Whether a Connection field names this one.
bool is_named(HeaderView fields, std::string_view name) noexcept {
  for (const Field& field : fields) {
    if (!iequals(field.name, "Connection")) continue;
    std::string_view list = field.value;
    while (!list.empty()) {
      if (iequals(next_element(list), name)) return true;
    }
  }
  return false;
}

/// Not so fields of one connection or of one transfer; the length is that of what is kept, the age is counted anew.
bool is_kept(const Field& field, bool names_fields, HeaderView all_fields) noexcept {
  constexpr FieldSet kDropped{FieldId::connection,
                              FieldId::keep_alive,
                              FieldId::proxy_connection,
                              FieldId::proxy_authenticate,
                              FieldId::proxy_authorization,
                              FieldId::te,
                              FieldId::trailer,
                              FieldId::transfer_encoding,
                              FieldId::upgrade,
                              FieldId::content_length,
                              FieldId::x_outrigger,
                              FieldId::x_outrigger_reason,
                              FieldId::x_outrigger_timeline};
  const FieldId id = identify_field(field.name);
  if (kDropped.has(id)) return false;
  if (id == FieldId::other && (iequals(field.name, "Age") || iequals(field.name, "Proxy-Authentication-Info"))) {
    return false;
  }
  return !names_fields || id == FieldId::date || !is_named(all_fields, field.name);
}

}  // namespace

std::optional<CacheDemand> read_cache_demand(HeaderView fields, std::span<const std::string> vary) noexcept {
  CacheDemand demand;
  for (const Field& field : fields) {
    if (keeps_out(field, vary)) return std::nullopt;
    if (identify_field(field.name) == FieldId::cache_control) {
      each_directive(field.value, [&](const Directive& each) { read_demand(each, demand); });
    }
  }
  return demand;
}

void read_storable(std::uint16_t status, HeaderView fields, std::int64_t wall_seconds, Nanos took,
                   StorableResponse& out) noexcept {
  const CachingFields found = read_caching_fields(fields);
  out.terms = read_terms(found, wall_seconds, took);
  const bool whole = status >= 200 && status != 206 && status != 304;
  if (!whole || found.set_cookie || found.directives.forbids_storing || !read_vary(fields, out.vary)) return;
  if (fields.size() > kMaxFields) return;
  for (const Field& field : fields) {
    if (is_kept(field, found.names_fields, fields)) out.fields.push_back(field);
  }
  if (!found.date) {
    out.date_of_arrival = http_date(wall_seconds);
    out.fields.push_back({"Date", {out.date_of_arrival.data(), out.date_of_arrival.size()}});
  }
  if (const auto length = find_field(fields, "Content-Length")) {
    std::uint64_t bytes = 0;
    const auto end = length->data() + length->size();
    if (const auto read = std::from_chars(length->data(), end, bytes); read.ec == std::errc{} && read.ptr == end) {
      out.length = bytes;
    }
  }
  out.terms.storable = true;
}

}  // namespace outrigger::http
