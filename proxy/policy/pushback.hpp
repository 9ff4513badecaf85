// proxy/policy/pushback.hpp
//
// Whether the upstream asks not to be tried again. It knows better than any rule here when another attempt would only
// add to its load, so it is believed whatever the status says. A positive grpc-retry-pushback-ms asks for a delay
// between calls of a gRPC client and is passed on to that client; here it means nothing.
//
// Source: gRFC A6 for grpc-retry-pushback-ms. Cost: one pass over the fields.
#pragma once

#include "proxy/base/header_view.hpp"

namespace outrigger::policy {

/// True where one field says `X-Should-Retry: false` or grpc-retry-pushback-ms is negative, be it out of any range.
constexpr bool pushes_back(HeaderView fields) noexcept {
  for (const Field& field : fields) {
    if (iequals(field.name, "x-should-retry") && iequals(field.value, "false")) return true;
    if (iequals(field.name, "grpc-retry-pushback-ms") && field.value.starts_with('-')) return true;
  }
  return false;
}

}  // namespace outrigger::policy
