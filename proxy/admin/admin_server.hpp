// proxy/admin/admin_server.hpp
//
// The admin API on its own listener, on the control thread's loop. It is not the data path: Boost.Beast reads and
// writes whole messages here, and every answer comes from admin_routes.hpp. Bounded like everything else: 64
// connections, heads of 16 KiB, bodies of 1 MiB, ten seconds for each read and write.
//
// Threads: the control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "proxy/admin/admin_backend.hpp"

namespace boost::asio {
class io_context;
}

namespace outrigger::admin {

struct AdminOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any free one
};

class AdminServer {
 public:
  static constexpr std::size_t kMaxConnections = 64;
  static constexpr std::size_t kMaxHeadBytes = 16 * 1024;
  static constexpr std::size_t kMaxBodyBytes = 1024 * 1024;

  /// `io` and `backend` must outlive it.
  AdminServer(boost::asio::io_context& io, AdminBackend& backend, AdminOptions options);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  /// Listens and begins to accept; an error text where the address cannot be had.
  std::optional<std::string> start();
  /// Stops listening and closes every connection.
  void stop();

  /// The port it listens on, once started.
  std::uint16_t port() const noexcept;
  /// The address it listens on, once started, as `host:port` or `[v6]:port`.
  std::string endpoint() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace outrigger::admin
