"""What a refusal of the framing gate looks like, and that nothing behind it is read; raw_cases.py has them all."""
import json
import unittest

from harness import EndToEnd, story
from raw_cases import CHUNKED, answer, get, put
from upstream import OK, Answer


class Requests(EndToEnd):
    def test_a_coding_without_chunked_is_refused(self):
        rig = self.rig()
        for coding in (b"gzip", b"identity"):
            response = rig.raw(put(b"Transfer-Encoding: " + coding)).response()
            self.assertIn((response.status, response.get("X-Outrigger-Reason")),
                          [(400, "bad_request"), (501, "unsupported_transfer_coding")])
        self.assertEqual(rig.up.heads, [])

    def test_nothing_behind_a_refused_request_is_read(self):
        rig = self.rig()
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        self.refused(rig.raw(put(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + smuggled)), 400, "bad_request",
                     upstream_untouched=rig.up)

    def test_a_local_refusal_says_what_it_is(self):
        rig = self.rig()
        response = self.refused(rig.raw(get(b"X-Request-Id: bad-1", b"X-A : 1")), 400, "bad_request")
        self.assertEqual(response.get("Content-Type"), "application/problem+json")
        problem = json.loads(response.body)
        self.assertEqual((problem["status"], problem["reason"], problem["policy"]), (400, "bad_request", None))
        self.assertLessEqual({"type", "title", "detail", "request_id"}, problem.keys())
        self.assertEqual(response.get("Proxy-Status"), 'rig; error=http_request_error; details="bad_request"')


class Answers(EndToEnd):
    def test_bytes_behind_an_answer_are_never_the_next_answer(self):
        evil = answer(b"Content-Length: 4", body=b"evil")
        rig = self.rig([Answer(raw=answer(b"Content-Length: 2", body=b"ok") + evil), Answer(body=b"good")])
        client = rig.client()
        self.assertEqual((client.fetch().body, client.fetch().body), (b"ok", b"good"))
        self.assertEqual([request.connection for request in rig.up.requests], [0, 1])

    def test_bytes_behind_an_answer_without_body_are_never_the_next_answer(self):
        rig = self.rig([Answer(raw=answer(b"Content-Length: 4", body=b"evil")), Answer(body=b"good")])
        client = rig.client()
        self.assertEqual((client.fetch("HEAD").body, client.fetch().body), (b"", b"good"))
        self.assertEqual(len(rig.up.connections), 2)

    def test_bytes_on_an_idle_connection_are_never_an_answer(self):
        rig = self.rig([OK, Answer(body=b"good")])
        client = rig.client()
        client.fetch()
        self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 1)
        rig.up.connections[0].sock.sendall(answer(b"Content-Length: 4", body=b"evil"))
        self.given_up(rig.up.connections[0])
        response = client.fetch()
        self.assertEqual((response.body, story(rig.timeline(response))), (b"good", ["primary success"]))

    def test_switching_protocols_unasked_is_refused(self):
        rig = self.rig([Answer(raw=answer(b"Upgrade: x", b"Connection: upgrade", start=b"HTTP/1.1 101 Switching"))])
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "protocol_error"))


if __name__ == "__main__":
    unittest.main()
