"""Connections that end while bytes are on the way in both directions: what arrived counts, and nothing passes for more."""
import fcntl
import signal
import struct
import termios
import threading
import unittest

from client import request
from harness import EndToEnd, eventually, settled
from upstream import Answer, Upstream
from websocket import asking, switch
from wire import Truncated, hang_up

KIB = 1024


def unsent(sock):
    """Bytes that the other side's kernel has not got."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


class Frozen:
    """While a proxy stands still everything that happens to its connections comes at once."""

    def __init__(self, proxy):
        self._proxy = proxy

    def __enter__(self):
        self._proxy.send(signal.SIGSTOP)
        eventually(self._stopped, "the proxy stands still")

    def _stopped(self):
        with open(f"/proc/{self._proxy.process.pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"

    def __exit__(self, *_):
        self._proxy.send(signal.SIGCONT)


class Resets(EndToEnd):
    def held(self, raw):
        """An upstream that answers with `raw` before it has read the body, and its connection once it has."""
        connections, answered = [], threading.Event()

        def then(connection, _):
            connections.append(connection.sock)
            answered.set()
            eventually(lambda: connection.sock.fileno() < 0, "the test has ended it")

        return Upstream(lambda asked: Answer(raw=raw(asked), early=True, then=then)), connections, answered

    def at_once(self, rig, acts, first):
        """Both happen while the proxy stands still, so that it hears of both together; `first` says in which order."""
        with Frozen(rig.proxy):
            for act in acts if first else reversed(acts):
                act()

    def test_a_reset_is_no_end_of_a_body_whoever_notices_it_first(self):
        for client_first in (True, False):
            up, connections, answered = self.held(lambda _: b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
            rig = self.rig(servers=[up], workers=1)
            client = rig.client()
            client.expect("PUT", "upload")
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nX-Request-Id: upload\r\nTransfer-Encoding: chunked\r\n\r\n"
                        b"5\r\nhello\r\n")
            answer = client.begin()
            self.assertTrue(answered.wait(10))
            self.at_once(rig, [lambda: client.send(b"5\r\nworld\r\n"), lambda: hang_up(connections[0], "reset")],
                         client_first)
            with self.assertRaises((Truncated, ConnectionResetError)):
                client.finish(answer)
            self.assertEqual(rig.timeline(answer)["reason"], "reset")

    def test_a_reset_of_a_tunnel_is_passed_on_whoever_notices_it_first(self):
        for client_first in (True, False):
            up, connections, answered = self.held(switch)
            rig = self.rig(servers=[up], workers=1)
            client = rig.client().ask("GET", "/chat", asking("dGhlIHNhbXBsZSBub25jZQ=="))
            answer = client.begin()
            self.assertTrue(answered.wait(10))
            self.at_once(rig, [lambda: client.send(b"frame"), lambda: hang_up(connections[0], "reset")], client_first)
            self.assertEqual(client.ending(), ("reset", b""))
            self.assertEqual(rig.timeline(answer)["reason"], "reset")

    def test_a_tunnel_whose_upstream_is_gone_ends_whatever_the_client_still_says(self):
        for path in (None, f"{self.folder()}/up"):
            up = Upstream(lambda asked: Answer(raw=switch(asked), end="fin"), path=path)
            rig = self.rig(servers=[up], policy={"overall_timeout": "5s"})
            client = rig.client().ask("GET", "/chat", asking("dGhlIHNhbXBsZSBub25jZQ=="))
            answer = client.begin()
            eventually(lambda: up.connections[0].closed.is_set(), "the upstream is gone")
            try:
                for _ in range(3):
                    client.send(b"frame")
                client.half_close()
            except OSError:
                pass  # it may be over by now
            self.assertIn(rig.timeline(answer)["reason"], ("reset", "success"))  # it may have ended before a frame came
            self.at_rest(rig)

    def test_an_early_answer_that_lies_here_already_reaches_a_slow_client(self):
        body = b"x" * 300_000
        sent = threading.Event()

        def answer(connection, _):
            connection.sock.sendall(b"HTTP/1.1 413 Scripted\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            eventually(lambda: unsent(connection.sock) == 0, "all of it is at the proxy")
            hang_up(connection.sock, "reset")
            sent.set()

        # What the proxy cannot pass on it leaves in its receive buffer, where the reset finds it.
        up = Upstream(lambda _: Answer(raw=b"", early=True, then=answer))
        rig = self.rig(servers=[up], workers=1, listener={"listen": f"unix:{self.folder()}/in"})
        client = rig.raw(request("PUT", "/", [("Content-Length", "100000")]) + b"part")
        self.assertTrue(sent.wait(10))
        settled(rig.proxy.processor_time, quiet=0.3)
        self.assertEqual(client.response("PUT").body, body)

    def test_an_answer_is_delivered_although_its_client_goes_on_sending(self):
        body = b"z" * 120_000  # the kernel takes no more for a client that does not read
        rig = self.rig(lambda _: Answer(status=413, body=body, early=True))
        client = rig.client(receive_buffer=16 * KIB)
        sender = threading.Thread(target=self.upload, args=(client.sock, 30_000_000))
        sender.start()
        self.becomes(lambda: rig.metric("requests_in_flight"), 0)  # all of it is with the kernel
        self.becomes(lambda: rig.metric("requests_total"), 1)
        settled(rig.proxy.processor_time, quiet=0.3)
        self.assertEqual(client.response("PUT").body, body)
        hang_up(client.sock, "reset")
        sender.join()

    @staticmethod
    def upload(sock, size):
        try:
            sock.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * size) + b"x" * size)
        except OSError:
            pass


if __name__ == "__main__":
    unittest.main()
