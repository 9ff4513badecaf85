// proxy/admin/admin_routes.hpp
//
// What the admin API answers, apart from sockets: one table of calls, who may make them, and the form of each answer.
// A browser on the same machine is the threat: a Host that is a name we do not know (DNS rebinding) and a changing call
// from a foreign page (CSRF) are refused before anything is looked up. GET only reads, POST changes.
//
// Threads: the control thread; `done` is called once, possibly before `answer` returns.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/admin/admin_backend.hpp"

namespace outrigger::admin {

/// A request as received; views are needed until `answer` returns.
struct AdminRequest {
  std::string_view method;
  std::string_view target;
  std::string_view host;    // empty: the field was missing
  std::string_view origin;  // empty: the field was missing
  std::string_view body;
};

struct AdminResponse {
  unsigned status = 200;
  std::string_view content_type = "application/json";
  std::string body;
  std::string_view allow;  // with 405: the methods that the call takes
};

using AdminDone = std::function<void(AdminResponse)>;

/// Answers one request.
void answer(const AdminRequest& request, std::span<const std::string> allowed_hosts, AdminBackend& backend,
            AdminDone done);

/// True for an address, `localhost`, or a name in `allowed_hosts`, each with or without port.
bool host_allowed(std::string_view host, std::span<const std::string> allowed_hosts);

/// An answer that says what was wrong.
AdminResponse admin_error(unsigned status, std::string_view message);

}  // namespace outrigger::admin
