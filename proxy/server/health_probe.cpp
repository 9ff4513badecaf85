#include "proxy/server/health_probe.hpp"

#include <array>
#include <optional>
#include <utility>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include "proxy/net/tls_session.hpp"

namespace outrigger::server {
namespace {

using Protocol = net::asio::generic::stream_protocol;
using Socket = net::asio::basic_stream_socket<Protocol, net::Executor>;

constexpr http::HeadLimits kLimits{.max_head = 16 * 1024, .max_fields = http::kMaxFields};

std::string request_text(const HealthProbe::Question& question) {
  return "GET " + question.path + " HTTP/1.1\r\nHost: " + question.host +
         "\r\nUser-Agent: outrigger-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
}

}  // namespace

/// Lives as long as something of it is under way; what it owns is closed with `done`.
struct HealthProbe::Run : std::enable_shared_from_this<Run> {
  Run(net::IoContext& io, http::HeadParser& head_parser, const Question& asked, Done told)
      : question(asked),
        request(request_text(asked)),
        done(std::move(told)),
        parser(head_parser),
        socket(io.get_executor()),
        timer(io.get_executor()) {}

  void begin() {
    timer.expires_after(question.timeout);
    timer.async_wait([self = shared_from_this()](const net::error_code& error) {
      if (!error) self->end("no answer in time");
    });
    const Protocol::endpoint to(&question.address.storage, question.address.size);
    net::error_code error;
    socket.open(Protocol(question.address.storage.ss_family, 0), error);
    if (error) {
      net::asio::post(socket.get_executor(), [self = shared_from_this(), error] { self->end(error.message()); });
      return;
    }
    socket.async_connect(to, [self = shared_from_this()](const net::error_code& failed) {
      if (failed) return self->end("cannot connect: " + failed.message());
      self->question.tls ? self->encrypt() : self->send();
    });
  }

  void encrypt() {
    net::error_code error;
    socket.native_non_blocking(true, error);
    if (error) return end(error.message());
    tls.emplace(*question.tls, question.tls_name, ticket);
    tls->attach(socket.native_handle());
    shake_hands();
  }

  void shake_hands() {
    switch (tls->handshake()) {
      case net::IoStatus::ok: return send_encrypted();
      case net::IoStatus::again: return go_on_with(&Run::shake_hands);
      default: return end("TLS: " + std::string(tls->failure()));
    }
  }

  void send_encrypted() {
    const net::IoResult result = tls->send(std::array{std::string_view(request).substr(sent)});
    if (result.status == net::IoStatus::fault) return end("cannot send: the connection broke");
    sent += result.bytes;
    sent == request.size() ? receive_encrypted() : go_on_with(&Run::send_encrypted);
  }

  void receive_encrypted() {
    const net::IoResult result = tls->recv(piece);
    answer.append(piece.data(), result.bytes);
    if (result.bytes != 0) return look();
    if (result.status == net::IoStatus::again) return go_on_with(&Run::receive_encrypted);
    end(tls->failure().empty() ? "no answer: the connection ended" : "TLS: " + std::string(tls->failure()));
  }

  /// Goes on once the descriptor is what TLS waits for.
  void go_on_with(void (Run::*step)()) {
    const bool to_write = tls->waits_to_write();
    socket.async_wait(to_write ? Socket::wait_write : Socket::wait_read,
                      [self = shared_from_this(), step, to_write](const net::error_code& error) {
                        if (!self->done) return;
                        if (error) return self->end("no answer: " + error.message());
                        if (!to_write) self->tls->announce(true, false);
                        (self.get()->*step)();
                      });
  }

  void send() {
    net::asio::async_write(socket, net::asio::buffer(request),
                           [self = shared_from_this()](const net::error_code& error, std::size_t) {
                             if (error) return self->end("cannot send: " + error.message());
                             self->receive();
                           });
  }

  void receive() {
    socket.async_receive(net::asio::buffer(piece),
                         [self = shared_from_this()](const net::error_code& error, std::size_t size) {
                           if (error) return self->end("no answer: " + error.message());
                           self->answer.append(self->piece.data(), size);
                           self->look();
                         });
  }

  /// Passes over interim answers; the final one decides.
  void look() {
    for (;;) {
      const auto verdict = parser.parse_response(answer, kLimits, false, scan);
      if (verdict.refused()) return end("the answer is not HTTP");
      if (!verdict.complete()) return tls ? receive_encrypted() : receive();
      const std::uint16_t status = parser.response().status;
      if (status >= 200) return end(question.expect.contains(status) ? "" : "status " + std::to_string(status));
      if ((heads += verdict.size) > kLimits.max_head) return end("the answer is too long");
      answer.erase(0, verdict.size);
      scan = {};
    }
  }

  void end(std::string why) {
    if (Done tell = close()) tell(std::move(why));
  }

  Done close() {
    tls.reset();
    net::error_code ignored;
    socket.close(ignored);
    timer.cancel();
    return std::exchange(done, nullptr);
  }

  const Question question;
  const std::string request;
  Done done;  // empty: it is over
  http::HeadParser& parser;
  Socket socket;
  net::SteadyTimer timer;
  net::TlsTicket ticket;
  std::optional<net::TlsSession> tls;
  std::size_t sent = 0;
  std::array<char, 2048> piece{};
  std::string answer;
  http::HeadScan scan;
  std::size_t heads = 0;  // bytes of interim answers
};

HealthProbe::HealthProbe(net::IoContext& io, http::HeadParser& parser, const Question& question, Done done)
    : run_(std::make_shared<Run>(io, parser, question, std::move(done))) {
  run_->begin();
}

HealthProbe::~HealthProbe() { run_->close(); }

}  // namespace outrigger::server
