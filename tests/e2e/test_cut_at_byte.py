"""A connection may end after any byte: the other side gets the whole truth or a clean failure, never half of it."""
import unittest

from client import Client, request
from gate import Gate, Rule
from harness import EndToEnd, retry
from upstream import Answer, Upstream
from wire import Truncated, chunked

BODY = b"the quick brown fox"
PIECES = [BODY[:9], BODY[9:]]
CLOSE = (("Connection", "close"),)
TRAILERS = (("X-Sum", "1"), ("X-Note", "two words"))
OPEN_ENDED = Answer(body=BODY, framing="close")
ANSWERS = [
    Answer(body=BODY),
    Answer(body=BODY, headers=CLOSE),
    Answer(body=PIECES, framing="chunked"),
    Answer(body=PIECES, framing="chunked", headers=CLOSE),
    Answer(body=PIECES, framing="chunked", trailers=TRAILERS),
]


def size(answer):
    """The bytes of an answer on the wire."""
    return len(answer.head()) + len(chunked(PIECES, answer.trailers) if answer.framing == "chunked" else BODY)


class CutResponse(EndToEnd):
    def loop(self, answer, end, policy, judge, version="HTTP/1.1"):
        """Asks once per byte, the first upstream connection of each request cut there; `judge` sees the outcome."""
        up = Upstream(lambda _: answer)
        gate = Gate(up.address)
        self.addCleanup(gate.close)
        rig = self.rig(servers=[up], endpoints=[gate.name], policy=policy, upstream={"max_requests_per_connection": 1})
        for count in range(size(answer) + 1):
            gate.plan(Rule(cut_response=count, end=end))
            before = len(up.heads)
            with Client(rig.proxy.address) as client:
                client.ask("GET", f"/{count}", headers=[("X-Request-Id", f"cut-{count}")], version=version)
                try:
                    response = client.response()
                except (Truncated, ConnectionResetError):
                    response = None
            with self.subTest(framing=answer.framing, headers=answer.headers, end=end, count=count):
                judge(rig, count, response, len(up.heads) - before)
        self.at_rest(rig)

    def test_a_retry_hides_it_or_the_client_sees_a_failure(self):
        for answer in ANSWERS:
            for end in ("fin", "reset"):
                def judge(rig, count, response, attempts):
                    if response is not None:
                        self.assertEqual((response.status, response.body), (200, BODY))
                    else:
                        self.assertGreaterEqual(count, len(answer.head()), "nothing of the answer had to be passed on")
                        self.assertNotEqual(rig.timeline(f"cut-{count}")["outcome"], "ok")
                    self.assertLessEqual(attempts, 1 if count == size(answer) and end == "fin" else 2)
                    if count < len(answer.head()):
                        self.assertEqual(attempts, 2)

                self.loop(answer, end, retry(2, budget="none"), judge)

    def test_without_retries_it_is_a_failure_from_the_first_byte_on(self):
        for answer in ANSWERS:
            def judge(rig, count, response, attempts):
                self.assertEqual(attempts, 1)
                if count == size(answer):
                    self.assertEqual((response.status, response.body), (200, BODY))
                elif count < len(answer.head()):
                    self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "closed_early"))
                else:
                    self.assertTrue(response is None or response.status == 502)
                if count < size(answer):
                    self.assertEqual(rig.timeline(f"cut-{count}")["outcome"], "upstream_error")

            self.loop(answer, "fin", None, judge)

    def test_a_body_without_announced_end_is_whole_where_the_connection_ends_well_and_only_there(self):
        head = len(OPEN_ENDED.head())
        for version in ("HTTP/1.1", "HTTP/1.0"):
            for end in ("fin", "reset"):
                def judge(rig, count, response, attempts):
                    self.assertEqual(attempts, 1)
                    timeline = rig.timeline(f"cut-{count}")
                    if count < head:
                        self.assertEqual((response.status, timeline["outcome"]), (502, "upstream_error"))
                    elif end == "fin":
                        self.assertEqual((response.status, response.body, timeline["outcome"]),
                                         (200, BODY[:count - head], "ok"))
                    else:
                        self.assertTrue(response is None or response.status == 502, "a reset is no end of a body")
                        self.assertEqual(timeline["outcome"], "upstream_error")

                self.loop(OPEN_ENDED, end, None, judge, version)

    def test_an_old_client_sees_a_reset_where_the_end_would_look_like_the_end_of_the_body(self):
        for answer in ANSWERS:
            if answer.framing != "chunked":
                continue
            for end in ("fin", "reset"):
                def judge(rig, count, response, attempts):
                    if response is not None and response.status == 200:
                        self.assertEqual((count, response.body), (size(answer), BODY))
                    else:
                        self.assertTrue(response is None or response.status == 502)
                        self.assertNotEqual(rig.timeline(f"cut-{count}")["outcome"], "ok")

                self.loop(answer, end, None, judge, "HTTP/1.0")

    def test_the_head_of_a_cut_answer_is_followed_by_the_end_of_the_connection(self):
        rig = self.rig([Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", end="fin")])
        client = rig.client().ask()
        try:
            self.assertEqual(client.response().status, 502)
        except Truncated:
            self.assertNotIn(b"0\r\n\r\n", client.stream.buffer)
        self.assertEqual(client.ending()[1], b"")


class CutRequest(EndToEnd):
    def test_an_upload_that_stops_anywhere_never_looks_whole(self):
        rig = self.rig()
        for data in (request("PUT", "/", body=BODY), request("PUT", "/", chunks=PIECES, trailers=TRAILERS),
                     request("POST", "/", chunks=[BODY])):
            for leave in (Client.close, Client.reset, Client.half_close):
                for count in range(len(data)):
                    client = Client(rig.proxy.address).send(data[:count])
                    leave(client)
                    if leave is Client.half_close:
                        client.ending()
                        client.close()
        self.at_rest(rig)
        for connection in list(rig.up.connections):
            self.given_up(connection)
        self.assertEqual(rig.up.requests, [])
        self.assertEqual(rig.fetch("PUT", body=BODY).status, 200)

    def test_an_upstream_that_is_cut_off_anywhere_gets_the_request_again_whole(self):
        up = Upstream()
        gate = Gate(up.address)
        self.addCleanup(gate.close)
        rig = self.rig(servers=[up], endpoints=[gate.name], policy=retry(2, budget="none"),
                       upstream={"max_requests_per_connection": 1})
        rig.fetch("PUT", body=BODY)
        head = up.requests[0]
        total = len(head.start) + 4 + sum(len(name) + len(value) + 4 for name, value in head.headers) + len(BODY)
        for end in ("fin", "reset"):
            for count in range(1, total, 7):
                with self.subTest(end=end, count=count):
                    before = len(up.requests)
                    gate.plan(Rule(cut_request=count, end=end))
                    self.assertEqual(rig.fetch("PUT", body=BODY).status, 200)
                    self.assertEqual([request.body for request in up.requests[before:]], [BODY])
        self.at_rest(rig)


if __name__ == "__main__":
    unittest.main()
