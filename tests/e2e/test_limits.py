"""Every limit of the edge, at the limit and one past it."""
import json
import threading
import unittest

from harness import EndToEnd, eventually, retry, settled, story
from upstream import Answer, Upstream
from wire import Truncated, head

KIB = 1024
BIG = bytes(64 * KIB * KIB)  # more than the kernel's buffers on the way to a client that does not read


class Sizes(EndToEnd):
    def test_max_request_head(self):
        rig = self.rig(limits={"max_request_head": "4KiB"})
        start, end = b"GET / HTTP/1.1\r\nHost: a\r\nX-Pad: ", b"\r\n\r\n"
        pad = 4 * KIB - len(start) - len(end)
        self.assertEqual(rig.raw(start + b"x" * pad + end).response().status, 200)
        self.refused(rig.raw(start + b"x" * (pad + 1) + end), 431, "head_too_large")
        many = b"".join(b"X-%d: %s\r\n" % (index, b"y" * 100) for index in range(60))
        self.refused(rig.raw(b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n"), 431, "head_too_large")
        self.assertEqual(len(rig.up.heads), 1)
        self.becomes(lambda: rig.metric("requests_total", reason="head_too_large", code="4xx", policy="_unrouted"), 2)

    def test_a_request_line_alone_beyond_it(self):
        rig = self.rig(limits={"max_request_head": "4KiB"})
        self.refused(rig.raw(b"GET /" + b"a" * (4 * KIB) + b" HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "uri_too_long",
                     rig.up)
        self.refused(rig.raw(b"GET /" + b"a" * (5 * KIB)), 414, "uri_too_long", rig.up)

    def test_max_headers(self):
        rig = self.rig(limits={"max_headers": 10})
        fields = [(f"X-{index}", "1") for index in range(9)]
        self.assertEqual(rig.raw(head("GET / HTTP/1.1", [("Host", "a"), *fields])).response().status, 200)
        self.refused(rig.raw(head("GET / HTTP/1.1", [("Host", "a"), *fields, ("X-9", "1")])), 431, "head_too_large")

    def test_max_request_body(self):
        rig = self.rig(limits={"max_request_body": "1KiB"})
        self.assertEqual(rig.fetch("PUT", body=b"b" * 1024).status, 200)
        self.assertEqual(rig.fetch("PUT", chunks=[b"b" * 1000, b"b" * 24]).status, 200)
        self.refused(rig.client().ask("PUT", body=b"b" * 1025), 413, "body_too_large")
        self.assertEqual(len(rig.up.heads), 2)
        self.refused(rig.client().ask("PUT", chunks=[b"b" * 1000, b"b" * 25]), 413, "body_too_large")
        self.assertEqual([request.size for request in rig.up.requests], [1024, 1024])
        self.becomes(lambda: rig.metric("requests_total", reason="body_too_large"), 2)

    def test_an_announced_body_beyond_it_is_refused_before_it_is_sent(self):
        rig = self.rig(limits={"max_request_body": "1KiB"})
        client = rig.raw(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\nExpect: 100-continue\r\n\r\n")
        response = client.response()
        self.assertEqual((response.status, response.interim, rig.up.heads), (413, [], []))

    def test_max_response_head(self):
        def answer(size):
            start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Pad: ", b"\r\n\r\n"
            return Answer(raw=start + b"x" * (size - len(start) - len(end)) + end + b"ok")

        rig = self.rig([answer(4096), answer(4097), answer(100_000)], limits={"max_response_head": "4KiB"},
                       policy=retry())
        self.assertEqual(rig.fetch().body, b"ok")
        for _ in range(2):
            response = rig.fetch()
            timeline = rig.timeline(response)
            self.assertEqual((response.status, timeline["reason"], story(timeline)),
                             (502, "response_head_too_large", ["primary response_head_too_large"]))
            self.assertIn("error=http_response_header_section_size", response.get("Proxy-Status"))
        self.assertEqual(len(rig.up.heads), 3)

    def test_a_response_may_have_256_fields(self):
        def answer(fields):
            return Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X: 1\r\n" * (fields - 1) + b"\r\nok")

        rig = self.rig([answer(256), answer(257)])
        self.assertEqual(rig.fetch().body, b"ok")
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "response_head_too_large"))
        self.assertIn("more than 256 fields", json.loads(response.body)["detail"])

    def test_a_listener_may_have_limits_of_its_own(self):
        rig = self.rig(limits={"max_headers": 20}, listeners=[
            {"name": "main", "listen": "127.0.0.1:0"},
            {"name": "tight", "listen": "127.0.0.1:0", "limits": {"max_headers": 10}}],
            route={"match": {"listener": "any"}})
        data = head("GET / HTTP/1.1", [("Host", "a"), *[(f"X-{index}", "1") for index in range(14)]])
        self.assertEqual(rig.client().send(data).response().status, 200)
        self.refused(rig.client("tight").send(data), 431, "head_too_large")


    def test_max_response_head_of_one_listener_and_many_fields(self):
        many = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" +
                      b"".join(b"X-%d: 1\r\n" % index for index in range(60)) + b"\r\nok")
        wide = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Pad: " + b"x" * 3000 + b"\r\n\r\nok")
        rig = self.rig([many, wide], limits={"max_headers": 20},
                       listener={"limits": {"max_response_head": "1KiB", "max_headers": 20}})
        self.assertEqual(rig.fetch().status, 200)
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "response_head_too_large"))


class Times(EndToEnd):
    def test_head_timeout(self):
        rig = self.rig(limits={"head_timeout": "200ms"})
        self.refused(rig.raw(b"GET / HTTP/1.1\r\nHost: a\r\n"), 408, "head_timeout", rig.up)
        self.becomes(lambda: rig.metric("requests_total", reason="head_timeout"), 1)

    def test_head_timeout_is_not_prolonged_by_more_bytes(self):
        rig = self.rig(limits={"head_timeout": "300ms"})
        client = rig.raw(b"GET / HTTP/1.1\r\n")
        stop = threading.Event()

        def drip():
            while not stop.wait(0.05):
                try:
                    client.send(b"X: y\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        response = client.response()
        stop.set()
        dripping.join()
        self.assertEqual(response.status, 408)

    def test_body_idle_timeout(self):
        rig = self.rig(limits={"body_idle_timeout": "200ms"})
        for data in (b"Content-Length: 10\r\n\r\npart", b"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"):
            client = rig.raw(b"PUT / HTTP/1.1\r\nHost: a\r\nX-Request-Id: slow\r\n" + data)
            self.refused(client, 408, "body_timeout")
            self.given_up(rig.up.connections[-1])
        self.assertEqual(rig.up.requests, [])
        self.assertEqual(rig.timeline("slow")["reason"], "body_timeout")
        self.becomes(lambda: rig.metric("requests_total", reason="body_timeout"), 2)

    def test_a_body_that_is_not_wanted_yet_may_be_awaited(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(lambda asked: Answer(body=b"ok", hold=hold if asked.target == "/held" else None),
                       policy={"bulkhead": {"max_concurrent": 1, "max_queue": 1, "max_wait": "10s"}},
                       limits={"body_idle_timeout": "200ms"})
        rig.client().ask("GET", "/held")
        self.becomes(lambda: len(rig.up.heads), 1)
        client = rig.raw(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.becomes(lambda: rig.metric("bulkhead_queued"), 1)
        client.sock.settimeout(0.6)
        with self.assertRaises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(10)
        hold.set()
        self.assertTrue(client.stream.line().startswith("HTTP/1.1 100 "))
        client.stream.line()
        client.send(b"hello")
        self.assertEqual(client.response().status, 200)

    def test_idle_timeout(self):
        rig = self.rig(limits={"idle_timeout": "200ms", "head_timeout": "10s"})
        client = rig.client()
        self.assertEqual(client.fetch().status, 200)
        self.assertEqual(client.ending(), ("fin", b""))
        self.assertEqual(rig.client().ending(), ("fin", b""))  # one that never asked for anything
        self.becomes(lambda: rig.metric("downstream_connections"), 0)

    def test_write_idle_timeout(self):
        rig = self.rig([Answer(body=BIG)], limits={"write_idle_timeout": "300ms"})
        client = rig.client(receive_buffer=64 * KIB).ask(headers=[("X-Request-Id", "stuck")])
        self.becomes(lambda: len(rig.up.connections), 1)
        self.given_up(rig.up.connections[0])
        timeline = rig.timeline("stuck")
        self.assertEqual(timeline["reason"], "client_not_reading")
        with self.assertRaises((Truncated, ConnectionResetError)):
            client.response()

    def test_a_client_that_reads_slowly_but_steadily_gets_all(self):
        # A Unix socket's kernel gets rid of some 36 KiB at once, and not of less.
        for listen, step in (("127.0.0.1:0", 2 * KIB), (f"unix:{self.folder()}/socket", 10 * KIB)):
            with self.subTest(listen):
                body = BIG[:KIB * KIB]
                rig = self.rig([Answer(body=body)], listener={"listen": listen}, limits={"write_idle_timeout": "1s"})
                client = rig.client(receive_buffer=4 * KIB).ask()
                got, pace = client.begin(), threading.Event()
                # More slowly than the kernel would have to get rid of what it has to take more from us.
                for _ in range(40):
                    client.stream.fill(step)
                    pace.wait(0.1)
                self.assertEqual(len(client.finish(got).body), len(body))

    def test_a_client_that_stops_reading_is_cut(self):
        rig = self.rig([Answer(body=BIG)], limits={"write_idle_timeout": "1s"})
        client = rig.client(receive_buffer=4 * KIB).ask(headers=[("X-Request-Id", "stops")])
        pace = threading.Event()
        for _ in range(15):
            client.stream.fill(2 * KIB)
            pace.wait(0.1)
        self.assertFalse(rig.up.connections[0].closed.is_set())
        self.given_up(rig.up.connections[0])
        self.assertEqual(rig.timeline("stops")["reason"], "client_not_reading")

    def test_answers_of_our_own_that_nobody_reads_are_not_piled_up(self):
        for asked in (b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n",
                      b"OPTIONS /up HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"):
            rig = self.rig(route={"match": {"path_prefix": "/up"}}, limits={"write_idle_timeout": "1s"})
            before = rig.proxy.resident()
            client = rig.client(receive_buffer=4 * KIB)
            client.sock.settimeout(5)
            with self.assertRaises(OSError):
                while True:
                    client.send(asked * 500)
            self.assertLess(rig.proxy.resident() - before, 4 * KIB * KIB)
            self.becomes(lambda: rig.metric("downstream_connections"), 0)

    def test_read_idle_timeout_of_an_upstream(self):
        hold = threading.Event()
        rig = self.rig([Answer(body=[b"abc", b"def"], length=6, hold_body=hold)],
                       upstream={"read_idle_timeout": "200ms"}, policy={"circuit": {"consecutive_failures": 1}})
        client = rig.client().ask(headers=[("X-Request-Id", "silent")])
        with self.assertRaises(Truncated):
            client.response()
        self.given_up(rig.up.connections[0])
        timeline = rig.timeline("silent")
        self.assertEqual((timeline["reason"], timeline["outcome"]), ("response_idle_timeout", "upstream_error"))
        self.assertEqual(rig.fetch().get("X-Outrigger-Reason"), "circuit_open")
        hold.set()

    def test_a_client_held_back_by_us_is_not_idle(self):
        hold = threading.Event()
        up = Upstream([Answer(hold_read=hold)], keep_bodies=False)
        rig = self.rig(servers=[up], limits={"body_idle_timeout": "200ms", "write_idle_timeout": "10s"},
                       policy={"overall_timeout": "1m"})
        client = rig.client()
        sent = 0

        def upload():
            nonlocal sent
            client.ask("PUT", headers=[("Content-Length", str(len(BIG)))], body=b"")
            for start in range(0, len(BIG), 64 * KIB):
                client.send(BIG[start:start + 64 * KIB])
                sent += 64 * KIB

        sender = threading.Thread(target=upload)
        sender.start()
        self.becomes(lambda: len(rig.up.heads), 1)
        settled(lambda: sent, quiet=0.5)
        hold.set()
        sender.join()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(rig.up.requests[0].size, len(BIG))


class Connections(EndToEnd):
    def test_max_connections(self):
        rig = self.rig(limits={"max_connections": 2})
        first, second = rig.client(), rig.client()
        self.assertEqual([first.fetch().status, second.fetch().status], [200, 200])
        third = rig.client().ask()
        self.assertEqual(settled(lambda: len(rig.up.heads), quiet=0.6), 2)
        self.assertEqual(rig.metric("downstream_connections"), 2)
        # Once for each worker that paused, however long.
        self.assertIn(rig.metric("downstream_rejected_total", reason="pool_full"), (1, 2))
        first.close()
        self.assertEqual(third.response().status, 200)

    def test_max_connections_of_one_listener_are_its_own(self):
        listeners = [{"name": "main", "listen": "127.0.0.1:0"},
                     {"name": "small", "listen": "127.0.0.1:0", "limits": {"max_connections": 2}}]
        up = Upstream()
        rig = self.rig(servers=[up], listeners=listeners,
                       routes=[{"match": {"listener": "any"}, "policy": "t.Op", "upstream": "up"}])
        others = [rig.client() for _ in range(3)]
        self.assertEqual([client.fetch().status for client in others], [200] * 3)
        first, second = rig.client("small"), rig.client("small")
        self.assertEqual([first.fetch().status, second.fetch().status], [200, 200])
        third = rig.client("small").ask()
        self.assertEqual(settled(lambda: len(up.heads)), 5)
        self.assertEqual(others[0].fetch().status, 200)
        first.close()
        self.assertEqual(third.response().status, 200)

    def test_max_connections_is_met_exactly_by_many_workers(self):
        for listen in ("127.0.0.1:0", f"unix:{self.folder()}/socket"):
            with self.subTest(listen):
                rig = self.rig(listener={"listen": listen, "limits": {"max_connections": 4}}, workers=4)
                for _ in range(5):
                    for _ in range(60):
                        rig.client()
                    eventually(lambda: rig.metric("downstream_connections") >= 4, "there are as many as may be")
                    # Nobody leaves, so whoever is too many stays.
                    self.assertEqual(settled(lambda: rig.metric("downstream_connections")), 4)
                    rig.close_clients()
                    self.becomes(lambda: rig.metric("downstream_connections"), 0)

    def test_max_requests_per_connection(self):
        rig = self.rig(limits={"max_requests_per_connection": 2})
        client = rig.client()
        self.assertNotEqual((client.fetch().get("Connection") or "").lower(), "close")
        self.assertEqual(client.fetch().get("Connection").lower(), "close")
        self.assertEqual(client.ending(), ("fin", b""))

    def test_an_error_is_delivered_although_more_bytes_are_coming(self):
        rig = self.rig(limits={"max_request_body": "1KiB"})
        client = rig.client().ask("PUT", headers=[("Content-Length", "40000")], body=b"b" * 40_000)
        self.refused(client, 413, "body_too_large", rig.up)


if __name__ == "__main__":
    unittest.main()
