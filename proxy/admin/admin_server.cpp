#include "proxy/admin/admin_server.hpp"

#include <chrono>
#include <exception>
#include <set>
#include <utility>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include "proxy/admin/admin_routes.hpp"

namespace outrigger::admin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::seconds kTimeout{10};
constexpr std::size_t kMaxDiscard = 16 * 1024;          // at a time
constexpr std::chrono::milliseconds kAcceptPause{100};  // out of descriptors: trying again at once would spin

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

/// What to tell a client whose request could not be read; nullopt: nothing, it is gone.
std::optional<AdminResponse> answer_to(error_code error) {
  if (error == http::error::body_limit) return admin_error(413, "the body is too large");
  if (error == http::error::header_limit) return admin_error(431, "the head is too large");
  const bool http_error = error.category() == make_error_code(http::error::end_of_stream).category();
  if (!http_error || error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  return admin_error(400, "the request is malformed");
}

}  // namespace

class AdminSession;

struct AdminServer::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& io_context, AdminBackend& admin_backend, AdminOptions admin_options)
      : io(io_context),
        backend(admin_backend),
        options(std::move(admin_options)),
        acceptor(io_context),
        pause(io_context) {}

  error_code listen();
  void accept();
  void accept_later();
  void admit(tcp::socket socket);
  void stop();

  asio::io_context& io;
  AdminBackend& backend;
  const AdminOptions options;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  tcp::endpoint local;
  std::set<AdminSession*> sessions;
  bool stopped = false;
};

/// One client connection: reads a request, has it answered, writes the answer, and again.
class AdminSession : public std::enable_shared_from_this<AdminSession> {
 public:
  AdminSession(std::shared_ptr<AdminServer::Impl> server, tcp::socket socket)
      : server_(std::move(server)), stream_(std::move(socket)) {
    server_->sessions.insert(this);
  }
  ~AdminSession() { server_->sessions.erase(this); }
  AdminSession(const AdminSession&) = delete;
  AdminSession& operator=(const AdminSession&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(AdminServer::kMaxHeadBytes);
    parser_->body_limit(AdminServer::kMaxBodyBytes);
    stream_.expires_after(kTimeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, std::size_t) { self->on_read(error); });
  }

  void close() {
    stream_.close();
    waiting_.reset();
  }

 private:
  void on_read(error_code error) {
    if (server_->stopped) return;
    stream_.expires_never();
    if (error) {
      keep_alive_ = false;
      if (auto refusal = answer_to(error)) write(std::move(*refusal));
      return;
    }
    const auto& request = parser_->get();
    keep_alive_ = request.keep_alive();
    if (request.count(http::field::host) > 1) return write(admin_error(400, "Host must be given once"));
    const AdminRequest facts{.method = view(request.method_string()),
                             .target = view(request.target()),
                             .host = view(request[http::field::host]),
                             .origin = view(request[http::field::origin]),
                             .body = request.body()};
    // Copies of the callback travel through the workers and may end there, so none of them may own the session.
    const auto self = waiting_ = shared_from_this();
    AdminBackend& backend = server_->backend;
    try {
      answer(facts, backend.allowed_hosts(), backend, [weak = weak_from_this()](AdminResponse response) {
        if (const auto session = weak.lock(); session && session->waiting_) session->write(std::move(response));
      });
    } catch (const std::exception& failure) {
      // It has failed for one client; the process, whose loop this is, goes on. An answer that comes yet finds nobody.
      backend.call_failed(facts.target, failure.what());
      keep_alive_ = false;
      if (waiting_) write(admin_error(500, "the call has failed; the log says why"));
    }
  }

  void write(AdminResponse answer) {
    waiting_.reset();
    if (server_->stopped) return;
    response_ = {static_cast<http::status>(answer.status), 11, std::move(answer.body)};
    response_.set(http::field::content_type,
                  beast::string_view{answer.content_type.data(), answer.content_type.size()});
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    if (!answer.allow.empty()) {
      response_.set(http::field::allow, answer.allow);
    }
    response_.keep_alive(keep_alive_);
    response_.prepare_payload();
    if (parser_->get().method() == http::verb::head) response_.body().clear();
    stream_.expires_after(kTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](error_code error, std::size_t) { self->on_written(error); });
  }

  void on_written(error_code error) {
    if (error || server_->stopped) return;
    if (keep_alive_) return read();
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    discard();
  }

  /// Reads what the client still sends, until the time of the answer is over: closing over unread bytes would reset the
  /// connection and could take the answer with it.
  void discard() {
    stream_.async_read_some(buffer_.prepare(kMaxDiscard), [self = shared_from_this()](error_code error, std::size_t) {
      if (!error && !self->server_->stopped) self->discard();
    });
  }

  std::shared_ptr<AdminServer::Impl> server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::shared_ptr<AdminSession> waiting_;  // itself, while the process works on its answer
  bool keep_alive_ = false;
};

error_code AdminServer::Impl::listen() {
  error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error) return error;
  const tcp::endpoint endpoint{address, options.port};
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) local = acceptor.local_endpoint(error);
  return error;
}

void AdminServer::Impl::accept() {
  acceptor.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
    if (self->stopped) return;
    if (error) return self->accept_later();
    self->admit(std::move(socket));
    self->accept();
  });
}

void AdminServer::Impl::accept_later() {
  pause.expires_after(kAcceptPause);
  pause.async_wait([self = shared_from_this()](error_code) {
    if (!self->stopped) self->accept();
  });
}

void AdminServer::Impl::admit(tcp::socket socket) {
  if (sessions.size() >= kMaxConnections) return;
  std::make_shared<AdminSession>(shared_from_this(), std::move(socket))->read();
}

void AdminServer::Impl::stop() {
  stopped = true;
  error_code ignored;
  acceptor.close(ignored);
  pause.cancel();
  const std::vector<AdminSession*> open(sessions.begin(), sessions.end());  // closing one may end it
  for (AdminSession* session : open) session->close();
}

AdminServer::AdminServer(asio::io_context& io, AdminBackend& backend, AdminOptions options)
    : impl_(std::make_shared<Impl>(io, backend, std::move(options))) {}

AdminServer::~AdminServer() { stop(); }

std::optional<std::string> AdminServer::start() {
  if (const error_code error = impl_->listen()) return error.message();
  impl_->accept();
  return std::nullopt;
}

void AdminServer::stop() { impl_->stop(); }

std::uint16_t AdminServer::port() const noexcept { return impl_->local.port(); }

std::string AdminServer::endpoint() const {
  const std::string host = impl_->local.address().to_string();
  const std::string port = std::to_string(impl_->local.port());
  return impl_->local.address().is_v6() ? "[" + host + "]:" + port : host + ":" + port;
}

}  // namespace outrigger::admin
