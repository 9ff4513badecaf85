#include "proxy/admin/admin_server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include "tests/unit/admin/fake_backend.hpp"

using namespace outrigger::admin;

namespace {

/// A client's socket, blocking.
class Client {
 public:
  explicit Client(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Client() { close(fd_); }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // an early answer may have closed the connection
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// Reads until the text ends with `end`, or the connection does.
  std::string read(std::string_view end) {
    std::string text;
    char chunk[4096];
    while (!(!end.empty() && text.ends_with(end))) {
      const ssize_t count = recv(fd_, chunk, sizeof chunk, 0);
      if (count <= 0) break;
      text.append(chunk, static_cast<std::size_t>(count));
    }
    return text;
  }
  std::string read_all() { return read({}); }

 private:
  int fd_;
};

/// The server on a thread of its own, as the control thread runs it.
class Running {
 public:
  Running() : server_(io_, backend_, {}) {
    REQUIRE_FALSE(server_.start().has_value());
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Running() {
    boost::asio::post(io_, [this] { server_.stop(); });
    thread_.join();
  }
  void stop() { server_.stop(); }
  std::uint16_t port() const { return server_.port(); }
  const AdminServer& server() const { return server_; }
  FakeBackend& backend() { return backend_; }
  template <class Task>
  void on_loop(Task task) {
    boost::asio::post(io_, std::move(task));
  }

 private:
  boost::asio::io_context io_;
  FakeBackend backend_;
  AdminServer server_;
  std::thread thread_;
};

}  // namespace

TEST_SUITE("admin") {
  TEST_CASE("several calls are answered on one connection, and the loop ends when the server stops") {
    const Running running;
    CHECK(running.server().endpoint() == "127.0.0.1:" + std::to_string(running.port()));
    Client client{running.port()};
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(client.read("\r\n\r\nok").starts_with("HTTP/1.1 200 OK\r\n"));
    client.send("POST /config/validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nversion: 1\n");
    CHECK(client.read("}").find("application/json") != std::string::npos);
    client.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    CHECK(client.read_all().ends_with("\r\n\r\nok"));
  }

  TEST_CASE("a refusal names the method that is allowed, and HEAD gets no body") {
    const Running running;
    Client client{running.port()};
    client.send("HEAD /drain HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const std::string head = client.read("\r\n\r\n");
    CHECK(head.starts_with("HTTP/1.1 405 "));
    CHECK(head.find("Allow: POST\r\n") != std::string::npos);
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    CHECK(client.read_all().starts_with("HTTP/1.1 200 "));
  }

  TEST_CASE("HEAD is answered as GET is, length and all, but without the body") {
    const Running running;
    for (const std::string target : {"/healthz", "/readyz", "/metrics", "/config"}) {
      CAPTURE(target);
      const auto ask = [&](const std::string& method) {
        Client client{running.port()};
        client.send(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        return client.read_all();
      };
      const std::string with_body = ask("GET");
      CHECK(with_body.starts_with("HTTP/1.1 200 "));
      CHECK(with_body.find("Content-Length: ") != std::string::npos);
      CHECK(ask("HEAD") == with_body.substr(0, with_body.find("\r\n\r\n") + 4));
    }
    // The connection goes on behind it.
    Client client{running.port()};
    client.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(client.read("\r\n\r\nok").find("\r\n\r\nHTTP/1.1 200 ") != std::string::npos);
  }

  TEST_CASE("a body at the limit is read, one byte more is refused and the refusal arrives") {
    const Running running;
    for (const std::size_t size : {AdminServer::kMaxBodyBytes, AdminServer::kMaxBodyBytes + 1}) {
      CAPTURE(size);
      Client client{running.port()};
      client.send("POST /config/validate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " +
                  std::to_string(size) + "\r\n\r\n" + std::string(size, '#'));
      const std::string expected = size <= AdminServer::kMaxBodyBytes ? "HTTP/1.1 200 " : "HTTP/1.1 413 ";
      CHECK(client.read("}").starts_with(expected));
    }
  }

  TEST_CASE("a head that is too large and one that is no HTTP are refused") {
    const Running running;
    Client large{running.port()};
    large.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(AdminServer::kMaxHeadBytes, 'x') +
               "\r\n\r\n");
    CHECK(large.read("}").starts_with("HTTP/1.1 431 "));
    Client nonsense{running.port()};
    nonsense.send("\x16\x03\x01 hello\r\n\r\n");
    CHECK(nonsense.read("}").starts_with("HTTP/1.1 400 "));
  }

  TEST_CASE("a request with two Host fields is refused, whichever comes first") {
    const Running running;
    for (const std::string hosts : {"Host: localhost\r\nHost: evil.test\r\n", "Host: evil.test\r\nHost: localhost\r\n",
                                    "Host: localhost\r\nHost: localhost\r\n"}) {
      Client client{running.port()};
      client.send("GET /healthz HTTP/1.1\r\n" + hosts + "Connection: close\r\n\r\n");
      CHECK(client.read("}").starts_with("HTTP/1.1 400 "));
    }
  }

  TEST_CASE("an answer may come later, and its callback may end on another thread") {
    Running running;
    std::promise<std::function<void()>> asked;
    running.backend().answer_later = true;
    running.backend().on_asked = [&] { asked.set_value(std::exchange(running.backend().later, nullptr)); };
    Client client{running.port()};
    client.send("GET /timelines HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    auto later = std::make_shared<std::function<void()>>(asked.get_future().get());
    running.on_loop([later] { (*later)(); });
    CHECK(client.read_all().ends_with(R"({"timelines":[{"request_id":"b"},{"request_id":"a"}]})"));
  }

  TEST_CASE("a call that fails is answered with 500, and the next one is served") {
    Running running;
    running.backend().broken = "no memory";
    Client client{running.port()};
    client.send("POST /config/validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na");
    const std::string answer = client.read_all();
    CHECK(answer.starts_with("HTTP/1.1 500 "));
    CHECK(answer.find("Connection: close\r\n") != std::string::npos);
    CHECK(running.backend().failed == "/config/validate: no memory");
    Client next{running.port()};
    next.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(next.read("ok").ends_with("\r\n\r\nok"));
  }

  TEST_CASE("the hosts that are allowed are those that the process names at that time") {
    Running running;
    const auto status = [&running] {
      Client client{running.port()};
      client.send("GET /healthz HTTP/1.1\r\nHost: sidecar.test\r\nConnection: close\r\n\r\n");
      return client.read_all().substr(9, 3);
    };
    CHECK(status() == "403");
    running.backend().hosts = {"sidecar.test"};
    CHECK(status() == "200");
  }

  TEST_CASE("a server that stops while an answer is awaited ends the connection") {
    std::promise<std::function<void()>> asked;
    std::string answer = "none";
    {
      Running running;
      running.backend().answer_later = true;
      running.backend().on_asked = [&] { asked.set_value(running.backend().later); };
      Client client{running.port()};
      client.send("GET /timelines HTTP/1.1\r\nHost: localhost\r\n\r\n");
      const std::function<void()> later = asked.get_future().get();
      running.on_loop([&running] { running.stop(); });
      answer = client.read_all();
      running.on_loop(later);
    }
    CHECK(answer.empty());
  }

  TEST_CASE("no more than so many connections are open at once") {
    const Running running;
    std::vector<Client> clients;
    for (std::size_t i = 0; i < AdminServer::kMaxConnections; ++i) {
      Client& client = clients.emplace_back(running.port());
      client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
      REQUIRE(client.read("ok").ends_with("ok"));
    }
    Client one_more{running.port()};
    CHECK(one_more.read_all().empty());
  }

  TEST_CASE("an address that is taken or is none is an error text") {
    const Running running;
    boost::asio::io_context io;
    FakeBackend backend;
    AdminServer second(io, backend, {.address = "127.0.0.1", .port = running.port()});
    CHECK(second.start().has_value());
    AdminServer nowhere(io, backend, {.address = "nowhere"});
    CHECK(nowhere.start().has_value());
  }
}
