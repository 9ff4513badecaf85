// proxy/http/trace.hpp
//
// What TRACE is answered with: the request's head as it was received, in the form message/http, without the fields that
// say who is asking. A page that makes a browser send a TRACE must not learn its credentials from the echo.
//
// Source: RFC 9110 9.3.8.
#pragma once

#include "proxy/base/buffer.hpp"
#include "proxy/http/h1_head.hpp"

namespace outrigger::http {

void append_trace(const RequestHead& head, Buffer& out);

}  // namespace outrigger::http
