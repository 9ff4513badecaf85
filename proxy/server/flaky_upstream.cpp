#include "proxy/server/flaky_upstream.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "proxy/base/rng.hpp"
#include "proxy/net/clock.hpp"

namespace outrigger::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr double kFails = 0.33;
constexpr double kHangs = 0.10;
constexpr double kResets = 0.05;
constexpr auto kHang = std::chrono::milliseconds{600};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Rng rng) : socket_(std::move(socket)), timer_(socket_.get_executor()), rng_(rng) {}

  void read() {
    request_ = {};
    http::async_read(socket_, buffer_, request_, beast::bind_front_handler(&Session::on_read, shared_from_this()));
  }

 private:
  void on_read(error_code error, std::size_t) {
    if (error) return;
    const double luck = rng_.uniform();
    if (luck < kResets) {
      socket_.set_option(asio::socket_base::linger(true, 0));
      socket_.close();
      return;
    }
    const bool fails = luck < kResets + kFails;
    if (luck >= kResets + kFails + kHangs || fails) return respond(fails);
    timer_.expires_after(kHang);
    timer_.async_wait([self = shared_from_this()](error_code failed) {
      if (!failed) self->respond(false);
    });
  }

  void respond(bool fails) {
    response_ = {fails ? http::status::service_unavailable : http::status::ok, request_.version()};
    response_.set(http::field::content_type, "text/plain");
    response_.keep_alive(request_.keep_alive());
    response_.body() = fails ? "not today\n" : "hello from behind the outrigger\n";
    response_.prepare_payload();
    http::async_write(socket_, response_, beast::bind_front_handler(&Session::on_write, shared_from_this()));
  }

  void on_write(error_code error, std::size_t) {
    if (!error && response_.keep_alive()) read();
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  Rng rng_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
};

}  // namespace

struct FlakyUpstream::Impl {
  asio::io_context io{1};
  tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
  Rng rng{net::entropy()};
  std::thread thread;

  void accept() {
    acceptor.async_accept([this](error_code error, tcp::socket socket) {
      if (!error) std::make_shared<Session>(std::move(socket), rng.split())->read();
      if (acceptor.is_open()) accept();
    });
  }
};

FlakyUpstream::FlakyUpstream() : impl_(std::make_unique<Impl>()) {
  impl_->accept();
  impl_->thread = std::thread([this] { impl_->io.run(); });
}

FlakyUpstream::~FlakyUpstream() {
  impl_->io.stop();
  impl_->thread.join();
}

std::uint16_t FlakyUpstream::port() const noexcept { return impl_->acceptor.local_endpoint().port(); }

}  // namespace outrigger::server
