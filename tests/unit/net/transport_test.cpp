#include "proxy/net/transport.hpp"

#include <sys/socket.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <netinet/in.h>

#include "proxy/net/poller.hpp"
#include "tests/support/peer.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;

namespace {

/// Counts what it is told, and does then what the test wants.
struct Owner final : TransportOwner {
  void on_readable() override {
    ++readable;
    if (then) then();
  }
  void on_writable() override { ++writable; }
  void on_broken() override { ++broken; }
  int readable = 0;
  int writable = 0;
  int broken = 0;
  std::function<void()> then;
};

/// A transport whose far end is in the test's hand, over a pair of sockets or over TCP.
struct Line {
  explicit Line(Poller& poller) {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    peer = Peer{pair[1]};
    transport = Ref<Transport>(new Transport(poller, pair[0], owner));
  }
  Line(Poller& poller, Door& door) {
    peer = door.connect();
    transport = Ref<Transport>(
        new Transport(poller, ::accept4(door.descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), owner));
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() { transport->close(); }

  IoResult recv(std::size_t most) { return transport->recv({room.data(), most}); }

  Owner owner;
  Peer peer;
  Ref<Transport> transport;
  std::array<char, 1 << 20> room;
};

void turns(Poller& poller, int count = 5) {
  for (int i = 0; i < count; ++i) poller.turn(Nanos{0});
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("an owner hears nothing that it has not asked for") {
    Poller poller;
    Line line{poller};
    line.peer.send("x");
    line.peer.close();
    turns(poller);
    CHECK(line.owner.readable + line.owner.writable + line.owner.broken == 0);
  }

  TEST_CASE("whoever asks is told once, and not again before asking again") {
    Poller poller;
    Line line{poller};
    line.transport->watch_read();
    line.transport->watch_read();
    line.transport->watch_write();
    turns(poller);
    CHECK(line.owner.readable == 0);
    CHECK(line.owner.writable == 1);
    line.peer.send("x");
    turns(poller);
    line.peer.send("y");
    turns(poller);
    CHECK(line.owner.readable == 1);
    line.transport->watch_read();
    line.transport->watch_write();
    turns(poller);
    CHECK(line.owner.readable == 2);
    CHECK(line.owner.writable == 2);
  }

  TEST_CASE("who lets go of a descriptor leaves it open, and hears nothing of it any more") {
    Poller poller;
    Line line{poller};
    line.transport->watch_read();
    const auto [descriptor, tls] = line.transport->release();
    line.peer.send("x");
    turns(poller);
    CHECK(line.owner.readable == 0);
    CHECK(tls == nullptr);
    char byte = 0;
    CHECK(::recv(descriptor, &byte, 1, 0) == 1);
    ::close(descriptor);
  }

  TEST_CASE("what was announced before anybody asked is not forgotten") {
    Poller poller;
    Line line{poller};
    line.peer.send("x");
    turns(poller);
    line.transport->watch_read();
    turns(poller, 1);
    CHECK(line.owner.readable == 1);
  }

  TEST_CASE("a receive that was not filled has emptied the socket: the next word comes with the next bytes") {
    Poller poller;
    Line line{poller};
    line.peer.send("abc");
    turns(poller);
    CHECK(line.recv(10).bytes == 3);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 0);
    line.peer.send("d");
    turns(poller);
    CHECK(line.owner.readable == 1);
    CHECK(line.recv(10).bytes == 1);
    CHECK(line.recv(10).status == IoStatus::again);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 1);
  }

  TEST_CASE("a receive that was filled may have left something, which is told without a new announcement") {
    Poller poller;
    Line line{poller};
    line.peer.send("abcdef");
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 1);
    CHECK(line.recv(3).bytes == 3);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 2);
    CHECK(line.recv(3).bytes == 3);
    // Exactly filled: asking once more is the only way to know that nothing is left.
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 3);
    CHECK(line.recv(3).status == IoStatus::again);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 3);
  }

  TEST_CASE("an end that came together with the last bytes is told after them, though it is announced only once") {
    Poller poller;
    Line line{poller};
    line.peer.send("last");
    line.peer.close();
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 1);
    CHECK(line.recv(100).bytes == 4);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 2);
    CHECK(line.recv(100).status == IoStatus::eof);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 3);
  }

  TEST_CASE("a peer that has closed its side is known without reading") {
    Poller poller;
    Line line{poller};
    CHECK_FALSE(line.transport->peer_has_closed());
    CHECK_FALSE(line.transport->has_input());
    line.peer.send("x");
    CHECK_FALSE(line.transport->peer_has_closed());
    CHECK(line.transport->has_input());
    line.peer.half_close();
    CHECK(line.transport->peer_has_closed());
    CHECK(line.recv(10).bytes == 1);
    CHECK(line.transport->has_input());
  }

  TEST_CASE("a reset is told to those who wait for it while nobody reads, and once") {
    Poller poller;
    Door door;
    Line line{poller, door};
    line.peer.send("unread");
    line.transport->watch_broken();
    turns(poller);
    CHECK(line.owner.broken == 0);
    line.peer.reset();
    turns(poller);
    CHECK(line.owner.broken == 1);
    turns(poller);
    CHECK(line.owner.broken == 1);
    CHECK(line.owner.readable == 0);
    line.transport->watch_broken();
    turns(poller);
    CHECK(line.owner.broken == 2);
  }

  TEST_CASE("a peer that only closes its side is not broken") {
    Poller poller;
    Door door;
    Line line{poller, door};
    line.transport->watch_broken();
    line.peer.half_close();
    turns(poller);
    CHECK(line.owner.broken == 0);
    CHECK(line.recv(1).status == IoStatus::eof);
  }

  TEST_CASE("after a reset, reading and writing give the error, not silence") {
    Poller poller;
    Door door;
    Line line{poller, door};
    line.peer.reset();
    turns(poller);
    const IoResult read = line.recv(10);
    CHECK(read.status == IoStatus::fault);
    CHECK(read.error == ECONNRESET);
    const IoResult written = line.transport->send("x");
    CHECK(written.status == IoStatus::fault);
    CHECK(written.error == EPIPE);
  }

  TEST_CASE("a wake is told in a later turn whatever the descriptor says, and leaves no readiness behind") {
    Poller poller;
    Line line{poller};
    line.transport->wake();
    CHECK(line.owner.readable == 0);
    poller.turn(kForever);
    CHECK(line.owner.readable == 1);
    line.transport->watch_read();
    turns(poller);
    CHECK(line.owner.readable == 1);
  }

  TEST_CASE("an owner that wakes itself has its turn with everybody else's, not before") {
    Poller poller;
    Line busy{poller};
    Line other{poller};
    turns(poller);
    // With an end, so that an owner who has its turns at once fails here instead of having them for ever.
    busy.owner.then = [&] {
      if (busy.owner.readable < 10) busy.transport->wake();
    };
    busy.transport->wake();
    CHECK(busy.owner.readable == 0);
    poller.turn(Nanos{0});
    CHECK(busy.owner.readable == 1);
    other.transport->watch_read();
    other.peer.send("x");
    poller.turn(Nanos{0});
    CHECK(busy.owner.readable == 2);
    CHECK(other.owner.readable == 1);
  }

  TEST_CASE("a full socket asks for patience, and tells when there is room again") {
    Poller poller;
    Line line{poller};
    const std::string much(1 << 20, 'x');
    const IoResult first = line.transport->send(much);
    CHECK(first.status == IoStatus::ok);
    CHECK(first.bytes < much.size());
    CHECK(line.transport->send(much).status == IoStatus::again);
    line.transport->watch_write();
    turns(poller);
    CHECK(line.owner.writable == 0);
    CHECK(line.peer.take().size() == first.bytes);
    turns(poller);
    CHECK(line.owner.writable == 1);
    CHECK(line.transport->send("x").bytes == 1);
  }

  TEST_CASE("pieces go out in one call and in order, the empty ones left out") {
    Poller poller;
    Line line{poller};
    using Pieces = std::vector<std::string_view>;
    CHECK(line.transport->send(Pieces{"ab", "", "cd", "e"}).bytes == 5);
    CHECK(line.transport->send(Pieces{"", "f", ""}).bytes == 1);
    CHECK(line.transport->send(Pieces{"", ""}).bytes == 0);
    CHECK(line.transport->send(Pieces{}).status == IoStatus::ok);
    CHECK(line.peer.take() == "abcdef");
  }

  TEST_CASE("an owner may close its transport while it is told, and hears nothing more") {
    Poller poller;
    Line line{poller};
    line.owner.then = [&] { line.transport->close(); };
    line.transport->watch_read();
    line.transport->watch_write();
    line.transport->watch_broken();
    line.peer.send("x");
    turns(poller);
    CHECK(line.owner.readable == 1);
    CHECK(line.owner.writable == 0);
    CHECK(line.peer.ended());
  }

  TEST_CASE("transports that close each other in one batch are told at most once, whichever comes first") {
    Poller poller;
    std::vector<std::unique_ptr<Line>> lines;
    for (int i = 0; i < 50; ++i) lines.push_back(std::make_unique<Line>(poller));
    int told = 0;
    for (auto& line : lines) {
      line->owner.then = [&] {
        ++told;
        for (auto& other : lines) other->transport->close();
      };
      line->transport->watch_read();
      line->peer.send("x");
    }
    turns(poller);
    CHECK(told == 1);
  }

  TEST_CASE("a transport whose last owner goes in the batch that reports it is still safe to report") {
    Poller poller;
    std::vector<std::unique_ptr<Line>> lines;
    for (int i = 0; i < 50; ++i) lines.push_back(std::make_unique<Line>(poller));
    int told = 0;
    for (auto& line : lines) {
      Line* self = line.get();
      line->owner.then = [&, self] {
        ++told;
        // Everybody else is destroyed, those that are reported later in this batch and those that wait in the list.
        std::erase_if(lines, [self](const auto& other) { return other.get() != self; });
      };
      line->transport->watch_read();
      line->peer.send("x");
      if (told % 2 == 0) line->transport->wake();
    }
    turns(poller);
    CHECK(told == 1);
    CHECK(lines.size() == 1);
  }

  TEST_CASE("a descriptor number that is used again in the same batch brings its new owner nothing of the old one") {
    Poller poller;
    auto first = std::make_unique<Line>(poller);
    auto second = std::make_unique<Line>(poller);
    std::unique_ptr<Line> heir;
    const auto replace = [&](std::unique_ptr<Line>& other) {
      other.reset();
      heir = std::make_unique<Line>(poller);
      heir->transport->watch_read();
    };
    first->owner.then = [&] { replace(second); };
    second->owner.then = [&] { replace(first); };
    first->transport->watch_read();
    second->transport->watch_read();
    first->peer.send("x");
    second->peer.send("x");
    turns(poller);
    REQUIRE(heir);
    CHECK(heir->owner.readable == 0);
    heir->peer.send("x");
    turns(poller);
    CHECK(heir->owner.readable == 1);
  }

  TEST_CASE("closing is final: asking and waking afterwards do nothing") {
    Poller poller;
    Line line{poller};
    line.transport->wake();
    line.transport->close();
    line.transport->close();
    line.transport->reset();
    line.transport->watch_read();
    line.transport->watch_broken();
    line.transport->wake();
    turns(poller);
    CHECK(line.owner.readable + line.owner.writable + line.owner.broken == 0);
  }

  TEST_CASE("a reset reaches the peer as one, a close as an end") {
    Poller poller;
    Door door;
    Line line{poller, door};
    line.transport->reset();
    CHECK(line.peer.was_reset());
    Line other{poller, door};
    other.transport->close();
    CHECK(other.peer.ended());
    CHECK_FALSE(other.peer.was_reset());
  }

  TEST_CASE("closing our side lets the peer see the end and still answer") {
    Poller poller;
    Door door;
    Line line{poller, door};
    line.transport->send("bye");
    line.transport->shutdown_send();
    CHECK(line.peer.take() == "bye");
    CHECK(line.peer.ended());
    line.peer.send("late");
    CHECK(line.recv(100).bytes == 4);
  }

  TEST_CASE("the outcome of a connect is told with the first writability") {
    Poller poller;
    auto door = std::make_unique<Door>();
    const SocketAddress address = door->address();
    for (const bool refused : {false, true}) {
      if (refused) door.reset();
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      static_cast<void>(::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size));
      Owner owner;
      const Ref<Transport> transport(new Transport(poller, fd, owner));
      transport->watch_write();
      turns(poller);
      CHECK(owner.writable == 1);
      CHECK(transport->connect_error() == (refused ? ECONNREFUSED : 0));
      transport->close();
    }
  }

  TEST_CASE("a descriptor that cannot be watched is told as broken") {
    Poller poller;
    Owner owner;
    const Ref<Transport> transport(new Transport(poller, -1, owner));
    transport->watch_broken();
    transport->watch_read();
    poller.turn(kForever);
    CHECK(owner.broken == 1);
    CHECK(owner.readable == 1);
    transport->close();
  }

  TEST_CASE("a turn without news ends when its time is over, and one with news at once") {
    Poller poller;
    CHECK_FALSE(poller.turn(Nanos{0}));
    CHECK_FALSE(poller.turn(Nanos{-1}));
    CHECK_FALSE(poller.turn(Nanos{1}));
    Line line{poller};
    line.transport->watch_read();
    line.peer.send("x");
    CHECK_FALSE(poller.turn(kForever));
    CHECK(line.owner.readable == 1);
  }

  TEST_CASE("an interruption ends the wait under way or the next one, and many are one") {
    Poller poller;
    poller.interrupt();
    poller.interrupt();
    CHECK(poller.turn(kForever));
    CHECK_FALSE(poller.turn(Nanos{0}));
    for (int i = 0; i < 100; ++i) {
      std::thread other([&] { poller.interrupt(); });
      CHECK(poller.turn(kForever));
      other.join();
    }
  }

  TEST_CASE("a poller that goes lets go of transports that were closed or waited to be told") {
    Owner owner;
    Ref<Transport> transport;
    {
      Poller poller;
      Line closed{poller};
      Line listed{poller};
      transport = listed.transport;
      listed.transport->wake();
    }
    transport.reset();
  }
}
