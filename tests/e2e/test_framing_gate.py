"""Every refusal of the framing gate: the bytes a hostile client or upstream sends, and that they go no further."""
import json
import unittest

from harness import EndToEnd, retry, story
from upstream import OK, Answer
from wire import Truncated


def get(*lines, start=b"GET / HTTP/1.1", host=b"Host: rig.test"):
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def put(*lines, body=b""):
    return get(*lines, start=b"PUT / HTTP/1.1") + body


def target(text):
    return get(start=b"GET " + text + b" HTTP/1.1")


CHUNKED = b"Transfer-Encoding: chunked"

# What is wrong, the bytes, the status. The reason follows from the status.
REFUSED_HEADS = [
    ("both framings", put(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), 400),
    ("both framings, the other way round", put(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    ("two equal lengths", put(b"Content-Length: 2", b"Content-Length: 2", body=b"ab"), 400),
    ("two lengths", put(b"Content-Length: 2", b"Content-Length: 3", body=b"abc"), 400),
    ("a list of lengths", put(b"Content-Length: 2, 2", body=b"ab"), 400),
    ("a plus sign in a length", put(b"Content-Length: +2", body=b"ab"), 400),
    ("a minus sign in a length", put(b"Content-Length: -2", body=b"ab"), 400),
    ("a blank in a length", put(b"Content-Length: 1 2", body=b"ab"), 400),
    ("a hexadecimal length", put(b"Content-Length: 0x2", body=b"ab"), 400),
    ("letters after a length", put(b"Content-Length: 2a", body=b"ab"), 400),
    ("an empty length", put(b"Content-Length:"), 400),
    ("a length of 21 digits", put(b"Content-Length: 100000000000000000000"), 400),
    ("a length just beyond 64 bits", put(b"Content-Length: 18446744073709551616"), 400),
    ("chunked not last", put(b"Transfer-Encoding: chunked, gzip"), 400),
    ("chunked twice", put(b"Transfer-Encoding: chunked, chunked"), 400),
    ("chunked twice in two fields", put(CHUNKED, CHUNKED), 400),
    ("an empty transfer coding", put(b"Transfer-Encoding:"), 400),
    ("a control byte before chunked", put(b"Transfer-Encoding: \x0bchunked"), 400),
    ("a coding that is not ours", put(b"Transfer-Encoding: gzip, chunked"), 501),
    ("chunked in HTTP/1.0", get(CHUNKED, start=b"PUT / HTTP/1.0") + b"0\r\n\r\n", 400),
    ("a blank before a colon", get(b"X-A : 1"), 400),
    ("a tab before a colon", get(b"Content-Length\t: 1"), 400),
    ("a folded line", get(b"X-A: 1", b" 2"), 400),
    ("a bare line feed after a field", get(b"X-A: 1\nX-B: 2"), 400),
    ("a bare line feed after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("a head that ends in bare line feeds", b"GET / HTTP/1.1\r\nHost: a\n\n", 400),
    ("a bare carriage return in a value", get(b"X-A: 1\r2"), 400),
    ("a bare carriage return in the request line", get(start=b"GET /\r HTTP/1.1"), 400),
    ("NUL in a value", get(b"X-A: 1\x002"), 400),
    ("NUL in a name", get(b"X-\x00A: 1"), 400),
    ("a control byte in a value", get(b"X-A: \x01"), 400),
    ("DEL in a value", get(b"X-A: \x7f"), 400),
    ("an empty name", get(b": 1"), 400),
    ("a name that is no token", get(b"X(A): 1"), 400),
    ("a blank in a name", get(b"X A: 1"), 400),
    ("a line without a colon", get(b"X-A"), 400),
    ("a non-ASCII name", get(b"X-\xc3\xa9: 1"), 400),
    ("blanks before the first field", get(b"X-A: 1", host=b" Host: rig.test"), 400),
    ("no host", get(host=None), 400),
    ("two hosts", get(b"Host: other.test"), 400),
    ("a blank in the host", get(host=b"Host: a b"), 400),
    ("a path in the host", get(host=b"Host: a/b"), 400),
    ("a user in the host", get(host=b"Host: a@b"), 400),
    ("a port that is no number", get(host=b"Host: a:b"), 400),
    ("a fragment", target(b"/a#b"), 400),
    ("a blank in the target", target(b"/a b"), 400),
    ("a tab in the target", target(b"/a\tb"), 400),
    ("a control byte in the target", target(b"/a\x01"), 400),
    ("a non-ASCII target", target(b"/\xc3\xa9"), 400),
    ("an encoded NUL", target(b"/a%00b"), 400),
    ("a raw backslash", target(b"/a\\b"), 400),
    ("an encoding that is not hexadecimal", target(b"/%zz"), 400),
    ("an encoding cut short", target(b"/%4"), 400),
    ("dots that climb above the root", target(b"/../a"), 400),
    ("dots that climb above the root later", target(b"/a/../../b"), 400),
    ("encoded dots that climb above the root", target(b"/%2e%2E/a"), 400),
    ("a relative target", target(b"a/b"), 400),
    ("an authority for a target", target(b"host.test:80"), 400),
    ("CONNECT", get(start=b"CONNECT host.test:443 HTTP/1.1", host=b"Host: host.test:443"), 405),
    ("a method that is no token", get(start=b"G@T / HTTP/1.1"), 400),
    ("a request line without version", b"GET /\r\n\r\n", 400),
    ("two blanks in the request line", get(start=b"GET  / HTTP/1.1"), 400),
    ("a version in small letters", get(start=b"GET / http/1.1"), 400),
    ("a version with more behind it", get(start=b"GET / HTTP/1.1x"), 400),
    ("HTTP/2.0", get(start=b"GET / HTTP/2.0"), 505),
    ("HTTP/1.2", get(start=b"GET / HTTP/1.2"), 505),
    ("HTTP/0.9 with a version", get(start=b"GET / HTTP/0.9"), 505),
    ("an expectation that is not ours", put(b"Expect: 200-ok", b"Content-Length: 0"), 417),
    ("three empty lines first", b"\r\n\r\n\r\n" + get(), 400),
]
REASONS = {400: "bad_request", 405: "method_refused", 417: "expectation_failed", 501: "unsupported_transfer_coding",
           505: "unsupported_version"}

# The head is good; what follows is not, so the upstream may have seen the head, but never a whole request.
REFUSED_CHUNKS = [
    ("a size that is not hexadecimal", b"g\r\nabc\r\n0\r\n\r\n"),
    ("a plus sign", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("a minus sign", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("a prefix", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("an underscore", b"0_3\r\nabc\r\n0\r\n\r\n"),
    ("an empty size", b"\r\nabc\r\n0\r\n\r\n"),
    ("a blank before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("an overflowing size", b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ("a size of 2^64", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("a bare line feed after the size", b"3\nabc\r\n0\r\n\r\n"),
    ("a bare carriage return after the size", b"3\rabc\r\n0\r\n\r\n"),
    ("a chunk without its end of line", b"3\r\nabcX\r\n0\r\n\r\n"),
    ("a chunk that ends in a bare line feed", b"3\r\nabc\n0\r\n\r\n"),
    ("a last chunk that ends in a bare line feed", b"3\r\nabc\r\n0\n\r\n"),
    ("a trailer that ends in a bare line feed", b"3\r\nabc\r\n0\r\nX-A: 1\n\r\n"),
    ("a trailer with a blank before its colon", b"3\r\nabc\r\n0\r\nX-A : 1\r\n\r\n"),
    ("more than 4 KiB of extensions at once", b"3;x=" + b"e" * 4096 + b"\r\nabc\r\n0\r\n\r\n"),
    ("more than 4 KiB of extensions in all", b"1;x=%s\r\na\r\n" % (b"e" * 1000) * 5 + b"0\r\n\r\n"),
]


def answer(*lines, body=b"", start=b"HTTP/1.1 200 OK"):
    return b"\r\n".join([start, *lines, b"", b""]) + body


REFUSED_ANSWERS = [
    ("both framings", answer(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n")),
    ("conflicting lengths", answer(b"Content-Length: 2", b"Content-Length: 3", body=b"abc")),
    ("a list of conflicting lengths", answer(b"Content-Length: 2, 3", body=b"abc")),
    ("a sign in a length", answer(b"Content-Length: +2", body=b"ab")),
    ("an overflowing length", answer(b"Content-Length: 18446744073709551616")),
    ("an unknown coding", answer(b"Transfer-Encoding: gzip", body=b"x")),
    ("an unknown coding before chunked", answer(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    ("chunked twice", answer(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    ("a status of four digits", answer(b"Content-Length: 0", start=b"HTTP/1.1 2000 OK")),
    ("a status of two digits", answer(b"Content-Length: 0", start=b"HTTP/1.1 20 OK")),
    ("a status that is no number", answer(b"Content-Length: 0", start=b"HTTP/1.1 abc OK")),
    ("a status below 100", answer(b"Content-Length: 0", start=b"HTTP/1.1 099 OK")),
    ("another protocol", answer(b"Content-Length: 0", start=b"FOO/1.1 200 OK")),
    ("HTTP/2 in text", answer(b"Content-Length: 0", start=b"HTTP/2 200 OK")),
    ("no status line", b"hello, this is not HTTP\r\n\r\n"),
    ("NUL in a value", answer(b"X-A: \x00", b"Content-Length: 0")),
]
BROKEN_CHUNKS = [b"g\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcX0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n",
                 b"fffffffffffffffff\r\nabc", b"0x3\r\nabc\r\n0\r\n\r\n"]


class Requests(EndToEnd):
    def test_a_head_that_could_be_read_two_ways_is_refused(self):
        rig = self.rig()
        for what, data, status in REFUSED_HEADS:
            with self.subTest(what):
                before = rig.metric("requests_total", policy="_unrouted", reason=REASONS[status])
                self.refused(rig.raw(data), status, REASONS[status], upstream_untouched=rig.up)
                self.becomes(lambda: rig.metric("requests_total", policy="_unrouted", reason=REASONS[status]),
                             before + 1)
        self.assertEqual(len(rig.up.connections), 0)

    def test_a_coding_without_chunked_is_refused(self):
        rig = self.rig()
        for coding in (b"gzip", b"identity"):
            response = rig.raw(put(b"Transfer-Encoding: " + coding)).response()
            self.assertIn((response.status, response.get("X-Outrigger-Reason")),
                          [(400, "bad_request"), (501, "unsupported_transfer_coding")])
        self.assertEqual(rig.up.heads, [])

    def test_chunks_that_could_be_read_two_ways_are_refused(self):
        rig = self.rig()
        for what, body in REFUSED_CHUNKS:
            with self.subTest(what):
                self.refused(rig.raw(put(CHUNKED, body=body)), 400, "bad_request")
        for connection in list(rig.up.connections):
            self.given_up(connection)
        self.assertEqual(rig.up.requests, [])

    def test_nothing_behind_a_refused_request_is_read(self):
        rig = self.rig()
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        self.refused(rig.raw(put(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + smuggled)), 400, "bad_request",
                     upstream_untouched=rig.up)

    def test_what_is_only_unusual_is_served(self):
        rig = self.rig()
        for what, data in [("two empty lines first", b"\r\n\r\n" + get()),
                           ("blanks around a value", get(b"X-A: \t 1 \t ")),
                           ("non-ASCII bytes in a value", get(b"X-A: \xc3\xa9")),
                           ("extensions of less than 4 KiB",
                            put(CHUNKED, body=b"1;x=%s\r\na\r\n0\r\n\r\n" % (b"e" * 4000))),
                           ("a coding in capitals", put(b"transfer-encoding: CHUNKED", body=b"1\r\na\r\n0\r\n\r\n")),
                           ("leading zeros of a size", put(CHUNKED, body=b"0001\r\na\r\n000\r\n\r\n")),
                           ("an expectation in capitals", put(b"Expect: 100-Continue", b"Content-Length: 0"))]:
            with self.subTest(what):
                self.assertEqual(rig.raw(data).response().status, 200)

    def test_a_local_refusal_says_what_it_is(self):
        rig = self.rig()
        response = self.refused(rig.raw(get(b"X-Request-Id: bad-1", b"X-A : 1")), 400, "bad_request")
        self.assertEqual(response.get("Content-Type"), "application/problem+json")
        problem = json.loads(response.body)
        self.assertEqual((problem["status"], problem["reason"], problem["policy"]), (400, "bad_request", None))
        self.assertLessEqual({"type", "title", "detail", "request_id"}, problem.keys())
        self.assertEqual(response.get("Proxy-Status"), 'rig; error=http_request_error; details="bad_request"')


class Answers(EndToEnd):
    def test_an_answer_that_could_be_read_two_ways_goes_no_further(self):
        for what, data in REFUSED_ANSWERS:
            with self.subTest(what):
                rig = self.rig([Answer(raw=data), OK], policy=retry())
                client = rig.client()
                response = client.fetch()
                self.check(rig, response, 502, "protocol_error", ["primary protocol_error"], "non_retryable",
                           outcome="upstream_error", upstream=1)
                self.assertIn("error=http_protocol_error", response.get("Proxy-Status"))
                self.given_up(rig.up.connections[0])
                self.assertEqual(client.fetch().body, b"ok")
                self.assertEqual(len(rig.up.connections), 2)

    def test_broken_chunks_never_look_complete(self):
        for body in BROKEN_CHUNKS:
            with self.subTest(body=body):
                rig = self.rig([Answer(raw=answer(CHUNKED, body=body))], policy=retry())
                client = rig.client()
                try:
                    self.assertEqual(client.fetch("GET", "/", [("X-Request-Id", "broken")]).status, 502)
                except Truncated:
                    pass
                self.assertNotEqual(rig.timeline("broken")["outcome"], "ok")
                self.given_up(rig.up.connections[0])
                self.assertEqual(len(rig.up.heads), 1)

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
