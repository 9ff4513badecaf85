"""A client that leaves takes its attempts with it."""
import threading
import unittest

from client import Client
from harness import EndToEnd, story
from upstream import Answer, blocks, unavailable
from wire import BLOCK, chunked

LARGE = 64 * 1024 * 1024

LEAVE = {"fin": Client.close, "reset": Client.reset, "half-close": Client.half_close}


class Gone(EndToEnd):
    def gone(self, rig, attempts, request_id):
        timeline = rig.timeline(request_id)
        self.assertEqual((timeline["reason"], timeline["outcome"], story(timeline)),
                         ("client_disconnected", "client_gone", attempts))
        self.assertEqual(timeline["termination"][0], "D")
        self.becomes(lambda: rig.metric("requests_total", reason="client_disconnected", outcome="client_gone",
                                        code="none"), 1)
        self.at_rest(rig)

    def test_leaving_while_waiting_cancels_the_attempt(self):
        for name, leave in LEAVE.items():
            with self.subTest(name):
                hold = threading.Event()
                rig = self.rig([Answer(hold=hold)])
                client = rig.client().ask(headers=[("X-Request-Id", "gone")])
                self.becomes(lambda: len(rig.up.requests), 1)
                leave(client)
                self.given_up(rig.up.connections[0])
                self.gone(rig, ["primary client_disconnected"], "gone")
                hold.set()

    def test_leaving_during_back_off_ends_the_request(self):
        rig = self.rig([unavailable()], policy={"overall_timeout": "1m", "retry": {
            "max_attempts": 2, "initial_backoff": "30s", "max_backoff": "30s", "jitter": "none"}})
        client = rig.client().ask(headers=[("X-Request-Id", "gone")])
        self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 1)  # the 503 has been read
        client.close()
        self.gone(rig, ["primary http_503"], "gone")
        self.assertEqual(len(rig.up.heads), 1)

    def test_leaving_in_the_middle_of_an_upload_cancels_the_attempt(self):
        for name in ("fin", "reset"):
            with self.subTest(name):
                rig = self.rig()
                client = rig.client().ask("PUT", headers=[("X-Request-Id", "gone"), ("Content-Length", "100")],
                                          body=b"part")
                self.becomes(lambda: len(rig.up.heads), 1)
                LEAVE[name](client)
                self.given_up(rig.up.connections[0])
                self.gone(rig, ["primary client_disconnected"], "gone")
                self.assertEqual(rig.up.requests, [])

    def test_leaving_behind_unread_bytes_is_noticed(self):
        hold = threading.Event()
        rig = self.rig([Answer(hold=hold)])
        client = rig.client().ask(headers=[("X-Request-Id", "gone")])
        client.send(b"GET /next HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 80_000)
        self.becomes(lambda: len(rig.up.requests), 1)
        client.half_close()
        self.given_up(rig.up.connections[0])
        self.gone(rig, ["primary client_disconnected"], "gone")
        self.assertEqual(len(rig.up.heads), 1)
        hold.set()

    def test_leaving_in_the_middle_of_the_answer_stops_the_upstream(self):
        hold = threading.Event()
        rig = self.rig([Answer(body=[b"first", b"second"], length=11, hold_body=hold)])
        client = rig.client().ask(headers=[("X-Request-Id", "gone")])
        self.assertEqual(client.begin().status, 200)
        client.reset()
        self.given_up(rig.up.connections[0])
        timeline = rig.timeline("gone")
        self.assertEqual((timeline["reason"], timeline["outcome"]), ("client_disconnected", "client_gone"))
        hold.set()

    def test_leaving_while_the_answer_pours_in_stops_the_upstream(self):
        for framing in ("length", "chunked"):
            for name in ("fin", "reset"):
                with self.subTest(framing=framing, how=name):
                    rig = self.rig(lambda _: Answer(body=blocks(LARGE), length=LARGE, framing=framing))
                    for number in range(20):
                        client = rig.client().ask(headers=[("X-Request-Id", f"gone-{number}")])
                        received = 0
                        while received < number * BLOCK:
                            received += len(client.sock.recv(BLOCK))
                        LEAVE[name](client)
                        self.assertEqual(rig.timeline(f"gone-{number}")["reason"], "client_disconnected")
                    for connection in rig.up.connections:
                        self.given_up(connection)

    def test_an_answered_client_that_leaves_is_not_gone(self):
        rig = self.rig()
        response = rig.fetch("PUT", chunks=[b"x"])
        self.check(rig, response, 200, "success", ["primary success"], outcome="ok")
        self.becomes(lambda: rig.metric("downstream_connections"), 0)
        self.assertEqual(rig.metric("requests_total", outcome="client_gone"), 0)

    def test_a_chunked_upload_that_is_left_unfinished_is_no_request(self):
        rig = self.rig()
        client = rig.raw(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x")[:-5])
        self.becomes(lambda: len(rig.up.heads), 1)
        client.close()
        self.given_up(rig.up.connections[0])
        self.assertEqual(rig.up.requests, [])


if __name__ == "__main__":
    unittest.main()
