"""Bodies far larger than memory should notice: relayed as they arrive, and never faster than they are taken.

OUTRIGGER_SOAK=1 sends 1 GiB each way instead of 64 MiB.
"""
import hashlib
import os
import threading
import unittest

from client import request
from harness import EndToEnd, eventually, retry, settled
from upstream import Answer, Upstream, blocks
from wire import BLOCK, SANITIZED, hang_up

MIB = 1024 * 1024
SIZE = 1024 * MIB if os.environ.get("OUTRIGGER_SOAK") else 64 * MIB
ROOM = 32 * MIB     # how far resident memory may move
KERNEL = 40 * MIB   # what socket buffers on the way may swallow at their largest


def digest(pieces):
    whole = hashlib.blake2b()
    for piece in pieces:
        whole.update(piece)
    return whole.hexdigest()


class Streaming(EndToEnd):
    def steady(self, rig, before):
        if not SANITIZED:  # sanitizers keep freed memory on purpose
            self.assertLess(rig.proxy.resident() - before, ROOM)

    def test_a_large_answer_waits_for_its_reader(self):
        up = Upstream([Answer(body=blocks(SIZE), length=SIZE)], send_buffer=BLOCK)
        rig = self.rig(servers=[up])
        before = rig.proxy.resident()
        client = rig.client(receive_buffer=BLOCK).ask()
        response = client.begin()
        self.assertLess(settled(lambda: up.sent), KERNEL)
        self.steady(rig, before)
        received, whole = 0, hashlib.blake2b()
        while received < SIZE:
            piece = client.stream.buffer or client.sock.recv(BLOCK)
            self.assertTrue(piece, f"the connection ended after {received} bytes")
            whole.update(piece)
            received += len(piece)
            client.stream.buffer = bytearray()
            if received % (16 * MIB) < len(piece):
                self.steady(rig, before)
        self.assertEqual((received, whole.hexdigest()), (SIZE, digest(blocks(SIZE))))
        self.steady(rig, before)
        self.check(rig, response, 200, "success", ["primary success"], outcome="ok")
        self.assertGreaterEqual(rig.metric("bytes_total", direction="downstream_out"), SIZE)

    def test_a_large_upload_waits_for_its_reader(self):
        hold = threading.Event()
        up = Upstream([Answer(hold_read=hold)], keep_bodies=False, receive_buffer=BLOCK)
        rig = self.rig(servers=[up])
        before = rig.proxy.resident()
        client = rig.client()
        sent = 0
        client.ask("PUT", headers=[("Content-Length", str(SIZE))], body=b"")

        def upload():
            nonlocal sent
            for block in blocks(SIZE):
                client.sock.sendall(block)
                sent += len(block)

        sender = threading.Thread(target=upload)
        sender.start()
        self.becomes(lambda: len(up.heads), 1)
        self.assertLess(settled(lambda: sent), KERNEL)
        self.steady(rig, before)
        hold.set()
        sender.join()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(up.requests[0].size, SIZE)
        self.steady(rig, before)
        self.becomes(lambda: rig.metric("bytes_total", direction="downstream_in") >= SIZE, True)

    def test_chunked_bodies_stream_both_ways_at_once(self):
        size = 8 * MIB
        rig = self.rig([Answer(echo=True)])
        client = rig.client()
        upload = threading.Thread(target=client.send, args=(request("PUT", "/", chunks=list(blocks(size))),))
        upload.start()
        response = client.response("PUT")
        upload.join()
        self.assertEqual((response.size, digest([response.body])), (size, digest(blocks(size))))

    def test_an_answers_first_bytes_do_not_wait_for_its_last(self):
        for framing in ("length", "chunked", "close"):
            with self.subTest(framing):
                first = b"5\r\nfirst\r\n" if framing == "chunked" else b"first"
                head = {"length": b"Content-Length: 10\r\n", "chunked": b"Transfer-Encoding: chunked\r\n",
                        "close": b""}[framing]
                rig = self.rig([Answer(raw=b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + first)])
                client = rig.client().ask()
                client.begin()
                while b"first" not in client.stream.buffer:
                    self.assertTrue(client.stream.fill())

    def test_an_uploads_first_bytes_do_not_wait_for_its_last(self):
        for asked, last in (({"headers": [("Content-Length", "10")], "body": b"first"}, b"-last"),
                            ({"headers": [("Transfer-Encoding", "chunked")], "body": None}, b"5\r\n-last\r\n0\r\n\r\n")):
            with self.subTest(asked["headers"]):
                rig = self.rig()
                client = rig.client().ask("PUT", **asked)
                if asked["body"] is None:
                    client.send(b"5\r\nfirst\r\n")
                self.becomes(lambda: [bytes(each.body) for each in rig.up.heads], [b"first"])
                client.send(last)
                self.assertEqual(client.response().status, 200)
                self.assertEqual([each.body for each in rig.up.requests], [b"first-last"])

    def test_many_clients_that_do_not_read_hold_little_memory(self):
        body = bytes(4 * MIB)
        rig = self.rig(lambda _: Answer(body=body))
        rig.fetch()
        before = rig.proxy.resident()
        clients = [rig.client(receive_buffer=BLOCK).ask() for _ in range(32)]
        self.becomes(lambda: len(rig.up.heads), 33)
        settled(lambda: rig.metric("bytes_total", direction="upstream_in"))
        self.steady(rig, before)
        for client in clients:
            self.assertEqual(client.response().size, len(body))

    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory on purpose")
    def test_a_body_that_is_kept_is_not_kept_twice(self):
        count, size = 4, 8 * MIB
        go = threading.Event()

        def reads_some(connection, _):
            go.wait(30)
            taken = 0
            while taken < 400_000:
                taken += len(connection.sock.recv(65536))
            eventually(lambda: connection.sock.fileno() < 0, "the test is over")

        up = Upstream(lambda _: Answer(raw=b"", early=True, then=reads_some), path=f"{self.folder()}/up")
        rig = self.rig(servers=[up], policy=retry(replay_buffer="8MiB") | {"overall_timeout": "1m"})
        before = rig.proxy.resident()
        for _ in range(count):
            client = rig.client()
            threading.Thread(target=client.send, args=(request("PUT", body=bytes(size)),), daemon=True).start()
        self.becomes(lambda: rig.metric("buffer_bytes", kind="replay"), count * size)
        kept = rig.proxy.resident() - before
        go.set()
        settled(rig.proxy.resident, quiet=0.5)
        self.assertLess(rig.proxy.resident() - before - kept, 4 * MIB)
        rig.close_clients()
        for connection in up.connections:
            hang_up(connection.sock)


if __name__ == "__main__":
    unittest.main()
