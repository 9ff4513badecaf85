"""What crosses the proxy on a good day: heads, bodies, framing and connections, both ways."""
import json
import re
import threading
import unittest

from client import request
from gate import Gate, Rule
from harness import INSTANCE, EndToEnd, retry, settled, story
from upstream import OK, RESET, Answer, Upstream, unavailable
from wire import chunked

UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


class RequestHeads(EndToEnd):
    def sent(self, headers, method="GET", target="/", rig=None, **more):
        """What the upstream receives for these fields."""
        rig = rig or self.rig()
        self.assertEqual(rig.fetch(method, target, headers, **more).status, 200)
        return rig.up.requests[-1]

    def test_hop_by_hop_fields_stay_here(self):
        seen = self.sent([("Connection", "X-Secret, keep-alive"), ("X-Secret", "1"), ("Keep-Alive", "timeout=5"),
                          ("Proxy-Connection", "keep-alive"), ("TE", "gzip"), ("Upgrade", "h2c"),
                          ("Proxy-Authorization", "Basic eA=="), ("Proxy-Authenticate", "Basic"), ("X-Kept", "1")])
        for name in ("X-Secret", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "Proxy-Authorization",
                     "Proxy-Authenticate"):
            self.assertEqual(seen.all(name), [], name)
        self.assertEqual(seen.get("X-Kept"), "1")
        self.assertNotIn("x-secret", seen.joined("Connection").lower())

    def test_te_trailers_is_kept(self):
        sent = self.sent([("TE", "trailers")])
        self.assertEqual((sent.get("TE"), sent.get("Connection")), ("trailers", "TE"))

    def test_connection_cannot_name_fields_that_matter(self):
        named = [("Authorization", "Bearer x"), ("Cookie", "a=b"), ("X-Forwarded-For", "10.0.0.9")]
        listed = ", ".join(["Host", "Content-Length", *(name for name, _ in named)])
        seen = self.sent([("Connection", listed), *named], "PUT", body=b"hi")
        self.assertEqual((seen.get("Host"), seen.get("Content-Length"), seen.body), ("rig.test", "2", b"hi"))
        self.assertEqual((seen.get("Authorization"), seen.get("Cookie")), ("Bearer x", "a=b"))
        self.assertEqual(seen.joined("X-Forwarded-For"), "10.0.0.9, 127.0.0.1")

    def test_via_and_forwarded_fields_are_added(self):
        seen = self.sent([])
        self.assertEqual(seen.joined("Via"), f"1.1 {INSTANCE}")
        self.assertEqual((seen.joined("X-Forwarded-For"), seen.joined("X-Forwarded-Proto"),
                          seen.joined("X-Forwarded-Host")), ("127.0.0.1", "http", "rig.test"))

    def test_via_and_forwarded_fields_are_appended_to(self):
        seen = self.sent([("Via", "1.0 fred"), ("X-Forwarded-For", "10.0.0.9"), ("X-Forwarded-Host", "first.test")])
        self.assertEqual(seen.joined("Via"), f"1.0 fred, 1.1 {INSTANCE}")
        self.assertEqual(seen.joined("X-Forwarded-For"), "10.0.0.9, 127.0.0.1")
        self.assertEqual(seen.joined("X-Forwarded-Host"), "first.test")

    def test_a_request_id_is_kept_or_made(self):
        rig = self.rig()
        self.assertEqual(self.sent([("X-Request-Id", "mine-1")], rig=rig).all("X-Request-Id"), ["mine-1"])
        rig.raw(b"GET / HTTP/1.1\r\nHost: rig.test\r\n\r\n").response()
        made = rig.up.requests[-1].all("X-Request-Id")
        self.assertEqual(len(made), 1)
        self.assertRegex(made[0], UUID7)
        self.assertEqual(rig.timeline(made[0])["request_id"], made[0])

    def test_order_case_and_repetition_survive(self):
        fields = [("x-lower", "1"), ("X-Twice", "a"), ("X-UPPER", "2"), ("X-Twice", "b"), ("Accept", "*/*"),
                  ("X-Empty", ""), ("x-Last", "a, b")]
        seen = self.sent(fields)
        self.assertEqual([field for field in seen.headers if field in fields], fields)

    def test_our_own_fields_cannot_be_forged(self):
        seen = self.sent([("X-Outrigger-Attempt", "9"), ("X-Outrigger-Hedge", "1"), ("X-Outrigger-Reason", "x"),
                          ("X-Forwarded-Client-Cert", "forged")])
        self.assertEqual(seen.all("X-Outrigger-Attempt"), ["1"])
        for name in ("X-Outrigger-Hedge", "X-Outrigger-Reason", "X-Forwarded-Client-Cert"):
            self.assertEqual(seen.all(name), [], name)

    def test_priority_is_forwarded(self):
        rig = self.rig()
        self.assertEqual(self.sent([], rig=rig).all("X-Request-Priority"), ["standard"])
        self.assertEqual(self.sent([("X-Request-Priority", "low")], rig=rig).all("X-Request-Priority"), ["low"])
        rig = self.rig(listener={"trust_priority": False})
        self.assertEqual(self.sent([("X-Request-Priority", "low")], rig=rig).all("X-Request-Priority"), ["standard"])

    def test_a_route_decides_priority(self):
        rig = self.rig(route={"priority": "critical"})
        self.assertEqual(self.sent([("X-Request-Priority", "low")], rig=rig).all("X-Request-Priority"), ["critical"])

    def test_the_host_is_preserved_or_as_configured(self):
        self.assertEqual(self.sent([("Host", "Shop.test:81")]).all("Host"), ["Shop.test:81"])
        self.assertEqual(self.sent([], rig=self.rig(upstream={"host": "inner.test"})).all("Host"), ["inner.test"])

    def test_an_absolute_target_decides_the_host(self):
        seen = self.sent([], target="http://other.test:8080/a?b=c")
        self.assertEqual((seen.target, seen.all("Host")), ("/a?b=c", ["other.test:8080"]))

    def test_a_request_without_body_gains_no_framing(self):
        seen = self.sent([])
        self.assertEqual(seen.all("Content-Length") + seen.all("Transfer-Encoding"), [])
        self.assertEqual(self.sent([], "POST", body=b"").all("Content-Length"), ["0"])

    def test_traceparent_passes_untouched(self):
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        self.assertEqual(self.sent([("traceparent", trace)]).all("traceparent"), [trace])

    def test_a_loop_is_refused(self):
        rig = self.rig()
        response = rig.fetch(headers=[("Via", f"1.1 {INSTANCE}, 1.1 other, 1.1 {INSTANCE}")])
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (508, "loop_detected"))
        self.assertEqual(rig.up.heads, [])

    def test_max_forwards_counts_down(self):
        self.assertEqual(self.sent([("Max-Forwards", "3")], "OPTIONS").all("Max-Forwards"), ["2"])


class ResponseHeads(EndToEnd):
    def test_fields_cross_as_they_are(self):
        fields = [("X-B", "2"), ("set-cookie", "a=1"), ("X-A", "1"), ("set-cookie", "b=2")]
        response = self.rig([Answer(headers=fields)]).fetch()
        self.assertEqual([field for field in response.headers if field in fields], fields)

    def test_hop_by_hop_and_forged_fields_are_removed(self):
        rig = self.rig([Answer(headers=[("Connection", "X-Inner"), ("X-Inner", "1"), ("Keep-Alive", "timeout=5"),
                                        ("Proxy-Authenticate", "Basic"), ("X-Outrigger-Reason", "rate_limited"),
                                        ("X-Outrigger-Policy", "x"), ("X-Kept", "1")])])
        response = rig.fetch()
        for name in ("X-Inner", "Keep-Alive", "Proxy-Authenticate", "X-Outrigger-Reason", "X-Outrigger-Policy"):
            self.assertEqual(response.all(name), [], name)
        self.assertEqual(response.get("X-Kept"), "1")

    def test_via_is_appended_to(self):
        rig = self.rig([Answer(headers=[("Via", "1.0 fred")]), OK])
        self.assertEqual(rig.fetch().joined("Via"), f"1.0 fred, 1.1 {INSTANCE}")
        self.assertEqual(rig.fetch().joined("Via"), f"1.1 {INSTANCE}")

    def test_a_date_is_kept_or_added(self):
        old = "Sun, 06 Nov 1994 08:49:37 GMT"
        rig = self.rig([Answer(headers=[("Date", old)]), OK])
        self.assertEqual(rig.fetch().all("Date"), [old])
        added = rig.fetch().all("Date")
        self.assertEqual(len(added), 1)
        self.assertRegex(added[0], r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_debug_headers_tell_what_was_decided(self):
        rig = self.rig(listener={"debug_headers": True})
        response = rig.fetch(headers=[("X-Outrigger-Timeline", "1")])
        self.assertEqual((response.get("X-Outrigger-Policy"), response.get("X-Outrigger-Attempts"),
                          response.get("X-Outrigger-Request-Id")), ("t.Op", "1", response.request_id))
        self.assertEqual(json.loads(response.get("X-Outrigger-Timeline"))["request_id"], response.request_id)
        self.assertIsNone(rig.fetch().get("X-Outrigger-Timeline"))

    def test_debug_headers_are_on_refusals_too(self):
        rig = self.rig(listener={"debug_headers": True})
        response = rig.raw(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n").response()
        self.assertEqual((response.status, response.get("X-Outrigger-Policy"), response.get("X-Outrigger-Attempts")),
                         (400, None, "0"))
        self.assertEqual(response.get("X-Outrigger-Request-Id"), json.loads(response.body)["request_id"])

    def test_debug_headers_are_on_answers_to_requests_without_a_route(self):
        rig = self.rig(listener={"debug_headers": True}, route={"match": {"path": "/known"}})
        asked = ("X-Outrigger-Timeline", "1")
        for method, path, more, status in (("GET", "/unknown", (), 404), ("HEAD", "/unknown", (), 404),
                                           ("GET", "/%zz", (), 400), ("TRACE", "/", [("Max-Forwards", "0")], 200)):
            with self.subTest(method=method, path=path):
                response = rig.fetch(method, path, headers=[asked, *more])
                self.assertEqual((response.status, response.get("X-Outrigger-Policy"),
                                  response.get("X-Outrigger-Attempts"), response.get("X-Outrigger-Request-Id")),
                                 (status, None, "0", response.request_id))
                timeline = json.loads(response.get("X-Outrigger-Timeline"))
                self.assertEqual((timeline["request_id"], timeline["status"]), (response.request_id, status))
                if method == "TRACE":
                    self.assertTrue(response.body.startswith(b"TRACE / HTTP/1.1\r\n"), response.body)
                self.assertIsNone(rig.fetch(method, path, headers=more).get("X-Outrigger-Timeline"))

    def test_a_head_that_is_refused_is_told_no_timeline_because_the_one_before_it_was(self):
        rig = self.rig(listener={"debug_headers": True})
        client = rig.client()
        self.assertIsNotNone(client.fetch(headers=[("X-Outrigger-Timeline", "1")]).get("X-Outrigger-Timeline"))
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n")
        response = client.response()
        self.assertEqual((response.status, response.get("X-Outrigger-Timeline")), (400, None))


class Bodies(EndToEnd):
    def test_a_body_with_its_length_crosses_as_such(self):
        body = bytes(range(256)) * 1000
        rig = self.rig([Answer(body=body[::-1])])
        response = rig.fetch("PUT", "/", body=body)
        seen = rig.up.requests[0]
        self.assertEqual((seen.body == body, seen.all("Content-Length")), (True, [str(len(body))]))
        self.assertEqual((response.body == body[::-1], response.all("Content-Length")), (True, [str(len(body))]))
        timeline = self.check(rig, response, 200, "success", ["primary success"], outcome="ok", upstream=1)
        self.assertGreaterEqual(timeline["bytes_in"], len(body))
        self.assertGreaterEqual(timeline["bytes_out"], len(body))

    def test_a_chunked_body_crosses_chunked(self):
        pieces = [b"a" * 10, b"b" * 70_000, b"c"]
        rig = self.rig([Answer(body=pieces, framing="chunked")])
        response = rig.fetch("PUT", "/", chunks=pieces)
        seen = rig.up.requests[0]
        self.assertEqual((seen.body == b"".join(pieces), seen.all("Transfer-Encoding")), (True, ["chunked"]))
        self.assertEqual((response.body == b"".join(pieces), response.all("Transfer-Encoding")), (True, ["chunked"]))
        self.check(rig, response, 200, "success", ["primary success"], upstream=1)

    def test_chunk_extensions_and_dangerous_trailers_stay_here(self):
        rig = self.rig()
        client = rig.raw(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                         b"3;note=\"x\"\r\nabc\r\n0;e\r\n"
                         b"X-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: x\r\n"
                         b"Transfer-Encoding: x\r\n\r\n")
        self.assertEqual(client.response().status, 200)
        seen = rig.up.requests[0]
        self.assertEqual(seen.body, b"abc")
        self.assertLessEqual({name.lower() for name, _ in seen.trailers}, {"x-sum"})

    def test_trailers_cross_both_ways_however_they_are_cut_into_segments(self):
        fields = [("X-Sum", "1"), ("X-Note", "two words")]
        for gap in (None, b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n", b"X-Sum: 1\r\n"):
            with self.subTest(gap):
                gate = threading.Event()
                data = request("PUT", "/", chunks=[b"abc"], trailers=fields)
                answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", fields)
                cut, cut_answer = ((text.index(gap) + len(gap) if gap else len(text)) for text in (data, answer))
                rig = self.rig([Answer(raw=answer[:cut_answer], rest=answer[cut_answer:], hold_body=gate)])
                client = rig.raw(data[:cut])
                if gap:
                    self.becomes(lambda: len(rig.up.heads), 1)
                    settled(lambda: rig.metric("bytes_total", direction="upstream_out"), quiet=0.05)
                    client.send(data[cut:])
                    response = client.begin("PUT")
                    gate.set()
                    client.finish(response)
                else:
                    gate.set()
                    response = client.response("PUT")
                self.assertEqual((rig.up.requests[0].trailers, response.trailers), (fields, fields))

    def test_trailers_of_a_replayed_request_are_replayed(self):
        rig = self.rig([unavailable()], policy=retry())
        rig.fetch("PUT", chunks=[b"abc"], trailers=[("X-Sum", "1")])
        self.assertEqual([each.trailers for each in rig.up.requests], [[("X-Sum", "1")]] * 2)

    def test_trailers_of_a_kept_answer_are_kept(self):
        kept = unavailable([b"no"], framing="chunked", trailers=(("X-Sum", "1"),), headers=[("Connection", "close")])
        rig = self.rig([kept, RESET], policy=retry(2))
        response = rig.fetch()
        self.assertEqual((response.status, response.body, response.trailers), (503, b"no", [("X-Sum", "1")]))

    def test_responses_without_body_leave_the_connection_usable(self):
        bodiless = [Answer(body=b"0123456789"), Answer(status=204, framing="none"),
                    Answer(status=304, framing="none", headers=[("Content-Length", "10"), ("ETag", '"x"')]),
                    Answer(framing="none", headers=[("Content-Length", "7")])]
        rig = self.rig(bodiless)
        client = rig.client()
        first = client.fetch("HEAD")
        self.assertEqual((first.status, first.get("Content-Length"), first.body), (200, "10", b""))
        self.assertEqual([client.fetch().status, client.fetch().status], [204, 304])
        self.assertEqual(client.fetch("HEAD").get("Content-Length"), "7")
        self.assertEqual(client.fetch().body, b"ok")
        self.assertEqual(len(rig.up.connections), 1)

    def test_a_body_that_ends_with_the_connection_becomes_chunked(self):
        rig = self.rig([Answer(body=b"until the end", framing="close")])
        client = rig.client()
        response = client.fetch()
        self.assertEqual((response.body, response.all("Transfer-Encoding")), (b"until the end", ["chunked"]))
        self.assertEqual(client.fetch().body, b"ok")
        self.assertEqual([request.connection for request in rig.up.requests], [0, 1])

    def test_bytes_may_come_one_by_one(self):
        up = Upstream([Answer(body=[b"abc", b"de"], framing="chunked", interim=((103, [("Link", "</x>")]),))])
        gate = Gate(up.address, [Rule(trickle=True)])
        self.addCleanup(gate.close)
        rig = self.rig(servers=[up], endpoints=[gate.name])
        response = rig.fetch("PUT", chunks=[b"hello", b"world"])
        self.assertEqual((response.body, up.requests[0].body), (b"abcde", b"helloworld"))
        client = rig.client()
        for byte in b"PUT /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        self.assertEqual((client.response().status, up.requests[1].body), (200, b"abc"))


class OldClients(EndToEnd):
    def ask(self, answer, **more):
        rig = self.rig([answer])
        client = rig.client()
        response = client.fetch(version="HTTP/1.0", **more)
        self.assertEqual(client.ending(), ("fin", b""))
        self.check(rig, response, 200, "success", ["primary success"], upstream=1)
        self.assertEqual(rig.up.requests[0].version, "HTTP/1.1")
        return response

    def test_a_chunked_answer_reaches_an_old_client_without_chunks(self):
        response = self.ask(Answer(body=[b"one", b"two"], framing="chunked"))
        self.assertEqual((response.body, response.all("Transfer-Encoding")), (b"onetwo", []))

    def test_a_closing_answer_reaches_an_old_client_as_it_is(self):
        response = self.ask(Answer(body=b"all", framing="close"))
        self.assertEqual((response.body, response.all("Transfer-Encoding")), (b"all", []))

    def test_an_old_client_may_leave_out_the_host(self):
        self.assertEqual(self.ask(OK, host=None).body, b"ok")

    def test_an_old_client_gets_no_interim_response(self):
        response = self.ask(Answer(interim=((103, [("Link", "</x>")]),), body=b"ok"))
        self.assertEqual((response.interim, response.body), ([], b"ok"))


class Connections(EndToEnd):
    def test_both_sides_are_kept_alive(self):
        rig = self.rig()
        client = rig.client()
        for number in range(5):
            response = client.fetch("PUT" if number % 2 else "GET", f"/{number}", body=b"x" if number % 2 else None)
            self.assertEqual(response.status, 200)
        self.assertEqual([request.target for request in rig.up.requests], [f"/{number}" for number in range(5)])
        self.assertEqual(len(rig.up.connections), 1)
        self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 1)
        self.assertEqual(rig.metric("downstream_connections"), 1)
        self.assertEqual(story(rig.timeline(response)), ["primary success"])

    def test_a_client_that_says_close_is_closed(self):
        client = self.rig().client()
        response = client.fetch(headers=[("Connection", "close")])
        self.assertEqual(response.get("Connection", "").lower(), "close")
        self.assertEqual(client.ending(), ("fin", b""))

    def test_an_upstream_that_says_close_is_not_reused(self):
        rig = self.rig([Answer(headers=[("Connection", "close")], body=b"1")])
        client = rig.client()
        self.assertEqual((client.fetch().body, client.fetch().body), (b"1", b"ok"))
        self.assertEqual([request.connection for request in rig.up.requests], [0, 1])

    def test_pipelined_requests_are_answered_in_order_one_at_a_time(self):
        hold = threading.Event()
        rig = self.rig([Answer(body=b"0", hold=hold), Answer(body=b"1", framing="chunked"), Answer(body=b"2")])
        client = rig.client()
        client.ask("GET", "/0").ask("PUT", "/1", chunks=[b"body"]).ask("GET", "/2")
        self.becomes(lambda: len(rig.up.requests), 1)
        hold.set()
        self.assertEqual([client.response().body for _ in range(3)], [b"0", b"1", b"2"])
        self.assertEqual([request.target for request in rig.up.requests], ["/0", "/1", "/2"])
        self.assertEqual(len(rig.up.connections), 1)

    def test_pipelined_requests_may_be_answered_here_and_there_in_turn(self):
        rig = self.rig(route={"match": {"path": "/known"}})
        client = rig.client()
        expected = []
        for path, asked in (("/known", {}), ("/other", {}), ("/other", {"body": b"x" * 100}), ("/known", {"body": b"y"}),
                            ("/other", {"chunks": [b"z"]}), ("/known", {"chunks": [b"z"]}), ("/other", {})):
            client.ask("PUT" if asked else "GET", path, **asked)
            expected.append(200 if path == "/known" else 404)
        self.assertEqual([client.response().status for _ in expected], expected)

    def test_upstream_connections_are_renewed_after_their_number_of_requests(self):
        rig = self.rig(upstream={"max_requests_per_connection": 2})
        client = rig.client()
        for _ in range(5):
            client.fetch()
        self.assertEqual([request.connection for request in rig.up.requests], [0, 0, 1, 1, 2])


class InterimAndEarly(EndToEnd):
    def test_a_client_that_expects_100_gets_it_and_nothing_of_it_goes_on(self):
        rig = self.rig()
        client = rig.raw(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(client.stream.line().split()[1], "100")
        self.assertEqual(client.stream.fields(), [])
        self.assertEqual(client.send(b"hello").response().status, 200)
        self.assertEqual((rig.up.requests[0].body, rig.up.requests[0].all("Expect")), (b"hello", []))

    def test_a_refusal_takes_the_place_of_100(self):
        rig = self.rig(route={"match": {"path": "/known"}})
        head = b"PUT /other HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        response = rig.raw(head).response()
        self.assertEqual((response.status, response.interim), (404, []))

    def test_103_is_relayed_and_other_interim_responses_are_not(self):
        rig = self.rig([Answer(interim=((102, []), (103, [("Link", "</style.css>")]), (100, [])), body=b"ok")])
        response = rig.fetch()
        self.assertEqual([(each.status, each.get("Link")) for each in response.interim], [(103, "</style.css>")])
        self.check(rig, response, 200, "success", ["primary success"], upstream=1)

    def test_interim_responses_have_an_end(self):
        rig = self.rig([Answer(interim=((102, []),) * 32, body=b"ok"), Answer(interim=((102, []),) * 33, body=b"ok")])
        self.assertEqual(rig.fetch().status, 200)
        self.check(rig, rig.fetch(), 502, "protocol_error", ["primary protocol_error"], "non_retryable")

    def test_an_early_answer_is_relayed_although_the_upstream_hangs_up_on_the_upload(self):
        for end in ("fin", "reset"):
            for framing in ("length", "chunked"):
                with self.subTest(end=end, framing=framing):
                    rig = self.rig([Answer(status=413, body=b"too much", framing=framing, early=True, end=end)])
                    client = rig.client()
                    upload = threading.Thread(target=self.upload, args=(client, 1024 * 1024))
                    upload.start()
                    response = client.response("POST")
                    upload.join()
                    self.assertEqual((response.status, response.body), (413, b"too much"))

    @staticmethod
    def upload(client, size):
        try:
            client.ask("POST", "/", body=bytes(size))
        except OSError:
            pass

    def test_an_early_answer_does_not_wait_for_the_upload(self):
        rig = self.rig([Answer(status=422, body=b"no need", early=True)])
        client = rig.client()
        client.ask("POST", "/", headers=[("Content-Length", "1000")], body=b"only a part")
        response = client.response()
        self.assertEqual((response.status, response.body), (422, b"no need"))
        timeline = rig.timeline(response)
        self.assertEqual((timeline["reason"], story(timeline)), ("http_4xx", ["primary http_non_retryable_status"]))


if __name__ == "__main__":
    unittest.main()
