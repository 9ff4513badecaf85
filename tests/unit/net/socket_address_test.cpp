#include "proxy/net/socket_address.hpp"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <netinet/in.h>

#include "proxy/net/socket_file.hpp"

using namespace outrigger::net;

namespace {

struct Descriptors : std::vector<int> {
  explicit Descriptors(std::vector<int> all) : vector(std::move(all)) {}
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() {
    for (const int fd : *this) ::close(fd);
  }
};

/// A directory of the test's own.
struct Folder {
  Folder() {
    char name[] = "/tmp/outrigger-unit-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

bool can_connect(const SocketAddress& address) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0;
  ::close(fd);
  return connected;
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("an address is read and written in its one form") {
    for (const char* text :
         {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:443", "[2001:db8::1]:1", "[fe80::1%7]:80"}) {
      const auto address = parse_address(text);
      REQUIRE(address);
      CHECK(address->text == text);
      CHECK(parse_address(address->text)->text == text);
    }
    CHECK(parse_address("[0:0:0:0:0:0:0:1]:443")->text == "[::1]:443");
    // An address of a link means nothing without the link.
    CHECK(reinterpret_cast<const sockaddr_in6&>(parse_address("[fe80::1%7]:80")->storage).sin6_scope_id == 7);
    CHECK(host_of(parse_address("192.0.2.7:80")->storage) == "192.0.2.7");
    CHECK(host_of(parse_address("[2001:db8::1]:1")->storage) == "2001:db8::1");
  }

  TEST_CASE("what is not a numeric address with a port is refused") {
    for (const char* text : {"",
                             "[fe80::1%]:80",
                             "[fe80::1%x]:80",
                             "[fe80::1%7%8]:80",
                             "127.0.0.1%7:80",
                             ":",
                             "127.0.0.1",
                             "127.0.0.1:",
                             ":80",
                             "localhost:80",
                             "127.0.0.1:x",
                             "127.0.0.1:65536",
                             "127.0.0.1:-1",
                             "127.0.0.1: 80",
                             "127.0.0.1:80 ",
                             "127.0.0.1:8 0",
                             "127.1:80",
                             "127.0.0.256:80",
                             "::1:80",
                             "[::1]",
                             "[::1]80",
                             "[]:80",
                             "[::1:80",
                             "::1]:80",
                             "[127.0.0.1]:80",
                             "[::g]:80"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_address(text));
    }
  }

  TEST_CASE("loopback is the whole of 127/8, and ::1") {
    for (const char* text : {"127.0.0.1:1", "127.255.1.2:1", "[::1]:1"}) CHECK(parse_address(text)->is_local());
    for (const char* text : {"0.0.0.0:1", "128.0.0.1:1", "10.0.0.1:1", "[::]:1", "[::2]:1"}) {
      CHECK_FALSE(parse_address(text)->is_local());
    }
  }

  TEST_CASE("localhost resolves, to loopback alone and to no address twice; a number resolves to itself") {
    const auto found = resolve("localhost", 80);
    REQUIRE_FALSE(found.empty());
    std::vector<std::string> texts;
    for (const SocketAddress& address : found) {
      CHECK(address.is_local());
      CHECK(address.text.ends_with(":80"));
      texts.push_back(address.text);
    }
    std::ranges::sort(texts);
    CHECK(std::ranges::adjacent_find(texts) == texts.end());

    REQUIRE(resolve("127.0.0.1", 8080).size() == 1);
    CHECK(resolve("127.0.0.1", 8080).front().text == "127.0.0.1:8080");
    CHECK(resolve("::1", 1).front().text == "[::1]:1");
    CHECK(resolve("not a name", 80).empty());
  }

  TEST_CASE("a free port is chosen once, and all listeners of the address share it") {
    std::string error;
    const Descriptors all{open_listeners(*parse_address("127.0.0.1:0"), 4, error)};
    REQUIRE(all.size() == 4);
    const std::string chosen = bound_address(all.front()).text;
    CHECK(chosen != "127.0.0.1:0");
    for (const int fd : all) CHECK(bound_address(fd).text == chosen);
  }

  TEST_CASE(
      "the kernel takes little for a peer that does not read, from the side that accepts and the one that connects") {
    std::string error;
    const Descriptors listening{open_listeners(*parse_address("127.0.0.1:0"), 1, error)};
    REQUIRE(listening.size() == 1);
    const SocketAddress address = bound_address(listening.front());
    const int connecting = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_stream_options(connecting, address);
    REQUIRE(::connect(connecting, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0);
    const Descriptors ends{{connecting, ::accept(listening.front(), nullptr, nullptr)}};
    const std::string piece(64 * 1024, 'x');
    for (const int end : ends) {
      std::size_t taken = 0;
      for (ssize_t sent = 0; sent >= 0; taken += static_cast<std::size_t>(std::max<ssize_t>(sent, 0))) {
        sent = ::send(end, piece.data(), piece.size(), MSG_DONTWAIT);
      }
      CHECK(taken >= 128 * 1024);
      CHECK(taken <= 512 * 1024);  // what the peer's kernel has room for, too
    }
  }

  TEST_CASE("an address that others listen on is refused, though they share it among themselves") {
    std::string error;
    const Descriptors ours{open_listeners(*parse_address("127.0.0.1:0"), 2, error)};
    REQUIRE(ours.size() == 2);
    const SocketAddress taken = bound_address(ours.front());
    const Descriptors theirs{open_listeners(taken, 2, error)};
    CHECK(theirs.empty());
    CHECK(error == taken.text + ": Address already in use");
  }

  TEST_CASE("an address is free again once all its listeners are closed") {
    std::string error;
    SocketAddress address;
    {
      const Descriptors first{open_listeners(*parse_address("127.0.0.1:0"), 2, error)};
      REQUIRE(first.size() == 2);
      address = bound_address(first.front());
    }
    const Descriptors second{open_listeners(address, 2, error)};
    CHECK(second.size() == 2);
    CHECK(error.empty());
  }

  TEST_CASE("a Unix socket's address is its path: local, without a port, and its clients have none") {
    const auto address = parse_address("unix:/run/a.sock");
    REQUIRE(address);
    CHECK(address->text == "unix:/run/a.sock");
    CHECK(address->is_unix());
    CHECK(address->is_local());
    CHECK(host_of(address->storage).empty());
    CHECK(from_kernel(address->storage, address->size).text == "unix:/run/a.sock");
    sockaddr_storage nameless{};
    nameless.ss_family = AF_UNIX;
    CHECK(from_kernel(nameless, sizeof(sa_family_t)).text == "unix:");
    CHECK(parse_address("unix:/" + std::string(106, 'p')));
    for (const std::string& text : {std::string("unix:"), std::string("unix:a"), "unix:/" + std::string(107, 'p')}) {
      CAPTURE(text);
      CHECK_FALSE(parse_address(text));
    }
  }

  TEST_CASE("a path has one listener for all, whom nobody else pushes away") {
    const Folder folder;
    const SocketAddress address = *parse_address("unix:" + folder.path + "/a.sock");
    std::string error;
    const Descriptors ours{open_listeners(address, 4, error)};
    REQUIRE(ours.size() == 1);
    CHECK(bound_address(ours.front()).text == address.text);
    CHECK(open_listeners(address, 1, error).empty());
    CHECK(error == address.text + ": Address already in use");
    CHECK(can_connect(address));
  }

  TEST_CASE("a socket file that nobody listens behind gives way; any other file stays") {
    const Folder folder;
    const SocketAddress address = *parse_address("unix:" + folder.path + "/a.sock");
    std::string error;
    { const Descriptors gone{open_listeners(address, 1, error)}; }
    CHECK_FALSE(can_connect(address));
    const Descriptors ours{open_listeners(address, 1, error)};
    REQUIRE(ours.size() == 1);
    CHECK(can_connect(address));

    const std::string plain = folder.path + "/b.sock";
    ::close(::open(plain.c_str(), O_CREAT | O_WRONLY, 0600));
    CHECK(open_listeners(*parse_address("unix:" + plain), 1, error).empty());
    CHECK(error == "unix:" + plain + ": Address already in use");
    CHECK(::access(plain.c_str(), F_OK) == 0);
  }

  TEST_CASE("a socket file goes with its owner, unless it is another's by now") {
    const Folder folder;
    const std::string path = folder.path + "/a.sock";
    const SocketAddress address = *parse_address("unix:" + path);
    std::string error;
    {
      const Descriptors ours{open_listeners(address, 1, error)};
      SocketFile file(path);
      const SocketFile moved(std::move(file));
    }
    CHECK(::access(path.c_str(), F_OK) != 0);
    const Descriptors first{open_listeners(address, 1, error)};
    std::optional<SocketFile> file(path);
    ::unlink(path.c_str());
    const Descriptors second{open_listeners(address, 1, error)};
    file.reset();
    CHECK(can_connect(address));
  }

  TEST_CASE("an address of another machine cannot be listened on, and the error says which it was") {
    std::string error;
    CHECK(open_listeners(*parse_address("192.0.2.1:0"), 1, error).empty());
    CHECK(error.starts_with("192.0.2.1:0: "));
  }
}
