"""Mirrors: what the second upstream gets of each request, and that nobody else notices."""
import json
import threading
import unittest

from harness import EndToEnd, retry
from upstream import HANG_UP, OK, RESET, Answer, Upstream, blocks, unavailable


class Mirror(EndToEnd):
    def mirrored(self, script=(), copies=(), mirror=None, copy=None, **more):
        """A rig whose second server is the mirror of the first."""
        servers = [Upstream(script), Upstream(copies)]
        upstreams = {"up": {"endpoints": [servers[0].name]}, "copy": {"endpoints": [servers[1].name], **(copy or {})}}
        return self.rig(servers=servers, upstreams=upstreams, route={"mirror": {"upstream": "copy", **(mirror or {})}},
                        **more)

    def copies(self, rig, count):
        self.becomes(lambda: len(rig.ups[1].requests), count)
        return rig.ups[1].requests

    def no_copy(self, rig):
        """Another request's copy would come behind one of the first."""
        rig.fetch(target="/behind")
        self.assertEqual([request.target for request in self.copies(rig, 1)], ["/behind"])

    def test_a_copy_arrives_with_fields_body_and_mark(self):
        rig = self.mirrored()
        for more in ({}, {"method": "POST", "body": b"charge"}, {"method": "PUT", "body": b""},
                     {"method": "POST", "chunks": [b"abc", b"def"], "trailers": [("X-Sum", "1")]}):
            with self.subTest(more):
                count = len(rig.ups[1].requests)
                response = rig.fetch(target="/v1/things?full=1", headers=[("X-Request-Timeout", "9000")], **more)
                self.assertEqual((response.status, response.body), (200, b"ok"))
                copy, sent = self.copies(rig, count + 1)[-1], rig.up.requests[-1]
                self.assertEqual((copy.start, copy.body, copy.trailers), (sent.start, sent.body, sent.trailers))
                self.assertEqual(copy.get("X-Outrigger-Mirror"), "1")
                self.assertIsNone(sent.get("X-Outrigger-Mirror"))
                for name in ("Host", "X-Request-Id", "X-Outrigger-Attempt", "X-Forwarded-For", "Via"):
                    self.assertEqual(copy.get(name), sent.get(name))
                self.assertTrue(8000 < int(copy.get("X-Request-Timeout")) <= 9000)

    def test_the_host_is_what_the_mirror_is_to_see(self):
        rig = self.mirrored(copy={"host": "next.internal"})
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(self.copies(rig, 1)[0].get("Host"), "next.internal")
        self.assertEqual(rig.up.requests[0].get("Host"), "rig.test")

    def test_whatever_the_mirror_answers_the_client_hears_nothing_of_it(self):
        answers = [Answer(500, body=b"broken"), HANG_UP, RESET, Answer(raw=b"nonsense\r\n\r\n", end="fin"),
                   Answer(429, headers=[("Retry-After", "9")]), Answer(body=list(blocks(300_000)), framing="chunked")]
        rig = self.mirrored(copies=answers, policy=retry())
        for i in range(len(answers)):
            response = rig.fetch(target=f"/{i}")
            self.assertEqual((response.status, response.body), (200, b"ok"))
            timeline = self.check(rig, response, 200, "success", ["primary success"])
            self.assertEqual(timeline["decisions"], [])
            self.copies(rig, i + 1)
        self.assertEqual(rig.metric("attempts_total"), len(answers))
        self.assertEqual(rig.metric("attempts_total", upstream="copy"), 0)
        self.assertEqual(rig.metric("dropped_total", kind="mirror"), 0)

    def test_nobody_waits_for_a_mirror_that_hangs(self):
        hold = threading.Event()
        rig = self.mirrored(copies=lambda _request: Answer(body=b"late", hold=hold))
        self.addCleanup(hold.set)
        client = rig.client()
        for _ in range(5):
            self.assertEqual(client.fetch().body, b"ok")
        self.becomes(lambda: len(rig.ups[1].heads), 5)
        self.assertEqual(rig.metric("upstream_connections", upstream="copy", state="active"), 5)
        self.assertEqual(rig.metric("requests_in_flight"), 0)
        hold.set()
        self.becomes(lambda: rig.metric("upstream_connections", upstream="copy", state="active"), 0)
        self.assertEqual(rig.metric("upstream_connections", upstream="copy", state="idle"), 5)

    def test_a_mirror_that_refuses_connections_costs_nothing(self):
        rig = self.mirrored()
        rig.ups[1].refuse()
        self.assertEqual([rig.fetch().status for _ in range(3)], [200] * 3)
        self.becomes(lambda: rig.metric("upstream_connects_total", upstream="copy", result="connect_refused"), 3)
        self.assertEqual(rig.metric("dropped_total", kind="mirror"), 0)

    def test_a_drain_does_not_wait_for_copies(self):
        hold = threading.Event()
        rig = self.mirrored(copies=lambda _request: Answer(hold=hold), drain={"delay": "0s", "grace": "10m"})
        self.addCleanup(hold.set)
        self.assertEqual(rig.fetch().status, 200)
        self.becomes(lambda: len(rig.ups[1].heads), 1)
        rig.proxy.stop()
        self.given_up(rig.ups[1].connections[0])

    def test_copies_under_way_outlive_a_reload_and_count_against_the_new_bound(self):
        hold = threading.Event()
        rig = self.mirrored(copies=lambda _request: Answer(hold=hold), mirror={"max_in_flight": 1})
        self.addCleanup(hold.set)
        self.assertEqual(rig.fetch().status, 200)
        self.becomes(lambda: len(rig.ups[1].heads), 1)
        with open(rig.proxy.path, encoding="utf-8") as file:
            config = json.load(file)
        config["routes"][0]["mirror"]["max_in_flight"] = 2
        rig.proxy.write(config)
        self.assertEqual(rig.proxy.call("/reload", "POST", body=b"").status, 200)
        self.assertEqual([rig.fetch().status for _ in range(2)], [200, 200])
        self.becomes(lambda: rig.metric("dropped_total", kind="mirror"), 1)
        self.becomes(lambda: len(rig.ups[1].heads), 2)
        self.assertFalse(rig.ups[1].connections[0].closed.is_set())
        hold.set()
        self.becomes(lambda: rig.metric("upstream_connections", upstream="copy", state="active"), 0)

    def test_beyond_the_bound_copies_are_dropped_and_counted(self):
        hold = threading.Event()
        rig = self.mirrored(copies=lambda request: Answer(hold=hold if request.target == "/held" else None),
                            mirror={"max_in_flight": 3})
        self.addCleanup(hold.set)
        for _ in range(3):
            self.assertEqual(rig.fetch(target="/held").status, 200)
        self.becomes(lambda: len(rig.ups[1].heads), 3)
        self.assertEqual(rig.metric("dropped_total", kind="mirror"), 0)
        self.assertEqual(rig.fetch(target="/beyond").body, b"ok")
        self.becomes(lambda: rig.metric("dropped_total", kind="mirror"), 1)
        hold.set()
        self.becomes(lambda: rig.metric("upstream_connections", upstream="copy", state="active"), 0)
        self.assertEqual(rig.fetch(target="/after").body, b"ok")
        self.assertEqual([request.target for request in self.copies(rig, 4)], ["/held"] * 3 + ["/after"])

    def test_a_fraction_is_copied(self):
        for fraction, least, most in (("0%", 0, 0), ("50%", 65, 135), ("100%", 200, 200)):
            with self.subTest(fraction):
                rig = self.mirrored(mirror={"fraction": fraction, "max_in_flight": 1000})
                client = rig.client()
                for _ in range(200):
                    self.assertEqual(client.fetch().status, 200)
                self.becomes(lambda rig=rig: rig.metric("upstream_connections", upstream="copy", state="active"), 0)
                self.assertTrue(least <= len(rig.ups[1].requests) <= most, len(rig.ups[1].requests))

    def test_a_body_longer_than_the_replay_buffer_is_not_copied(self):
        for request in ({"body": b"x" * 1025}, {"chunks": [b"x" * 1000, b"y" * 25]}):
            for method in ("POST", "PUT"):
                with self.subTest(method):
                    rig = self.mirrored(policy={"retry": {"replay_buffer": "1KiB"}})
                    self.assertEqual(rig.fetch(method, **request).status, 200)
                    self.no_copy(rig)
                    self.assertEqual(rig.up.requests[0].size, 1025)
                    self.assertEqual(rig.metric("dropped_total", kind="mirror"), 0)

    def test_a_body_that_fills_the_replay_buffer_is(self):
        rig = self.mirrored(policy={"retry": {"replay_buffer": "1KiB"}})
        for request in ({"body": b"x" * 1024}, {"chunks": [b"x" * 1000, b"y" * 24]}):
            self.assertEqual(rig.fetch("POST", **request).status, 200)
        self.assertEqual([len(request.body) for request in self.copies(rig, 2)], [1024, 1024])

    def test_a_body_that_comes_in_parts_is_copied_when_it_is_whole(self):
        rig = self.mirrored()
        client = rig.client()
        client.send(b"POST / HTTP/1.1\r\nHost: rig.test\r\nContent-Length: 6\r\n\r\nabc")
        self.becomes(lambda: len(rig.up.heads), 1)
        self.assertEqual(rig.ups[1].connections, [])
        client.send(b"def")
        self.assertEqual(client.response("POST").status, 200)
        self.assertEqual(self.copies(rig, 1)[0].body, b"abcdef")

    def test_a_retried_request_is_copied_once(self):
        rig = self.mirrored(script=[unavailable(), unavailable(), OK], policy=retry())
        self.assertEqual(rig.fetch(target="/a").status, 200)
        self.assertEqual(len(rig.up.requests), 3)
        self.assertEqual(rig.fetch(target="/b").status, 200)
        self.assertEqual([request.target for request in self.copies(rig, 2)], ["/a", "/b"])

    def test_a_request_that_was_refused_is_not_copied(self):
        rig = self.mirrored(policy={"rate_limit": {"requests": 1, "per": "1h", "burst": 1}})
        self.assertEqual([rig.fetch(target=f"/{i}").status for i in range(3)], [200, 429, 429])
        self.assertEqual([request.target for request in self.copies(rig, 1)], ["/0"])
        self.assertEqual(len(rig.ups[1].heads), 1)

    def test_what_reached_no_upstream_is_not_copied(self):
        rig = self.mirrored()
        rig.up.refuse()
        self.assertEqual(rig.fetch(target="/lost").status, 502)
        rig.up.open()
        self.no_copy(rig)


if __name__ == "__main__":
    unittest.main()
