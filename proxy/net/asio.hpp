// proxy/net/asio.hpp
//
// The only place of the data plane that includes Asio, with the concrete types this program uses: typed executors (an
// any_io_executor costs a virtual call and a copy per operation) and one io_context per thread. It is the precompiled
// header of net/, so Asio is paid for once per build.
//
// The workers' hint drops locking in the reactor, which they do not use, and keeps `post` from other threads legal.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

namespace outrigger::net {

namespace asio = boost::asio;
using boost::system::error_code;

using IoContext = asio::io_context;
using Executor = IoContext::executor_type;
using SteadyTimer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor>;

}  // namespace outrigger::net
