"""When another attempt is made, when it is not and why, and whose answer the client gets in the end."""
import threading
import unittest

from gate import Gate
from harness import EndToEnd, retry, story
from upstream import HANG_UP, OK, RESET, Answer, Upstream, unavailable
from wire import Blackhole, Port, chunked

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
BIG = bytes(range(256)) * 1200  # 300 KiB: far more than is kept in memory of an answer


class Retried(EndToEnd):
    def test_a_503_is_retried_and_the_good_answer_relayed(self):
        rig = self.rig([unavailable()], policy=retry())
        response = rig.fetch()
        self.assertEqual(response.body, b"ok")
        self.check(rig, response, 200, "success", ["primary http_503", "retry success"], outcome="ok", upstream=2)
        self.assertEqual([request.all("X-Outrigger-Attempt") for request in rig.up.requests], [["1"], ["2"]])

    def test_each_retryable_status_and_no_other(self):
        rig = self.rig(lambda request: OK if request.get("X-Outrigger-Attempt") != "1"
                       else Answer(status=int(request.target[1:])), policy=retry())
        for status in (408, 425, 500, 502, 503, 504):
            with self.subTest(status):
                self.check(rig, rig.fetch("GET", f"/{status}"), 200, "success",
                           [f"primary http_{status}", "retry success"])
        for status, reason in ((400, "http_4xx"), (404, "http_4xx"), (429, "http_4xx"), (501, "http_5xx"),
                               (505, "http_5xx")):
            with self.subTest(status):
                response = rig.fetch("GET", f"/{status}")
                self.assertEqual((response.status, rig.timeline(response)["reason"]), (status, reason))
                self.assertEqual(len(rig.timeline(response)["attempts"]), 1)

    def test_a_status_that_is_final_says_so(self):
        rig = self.rig([Answer(status=404), Answer(status=302), Answer(status=501)], policy=retry())
        self.check(rig, rig.fetch(), 404, "http_4xx", ["primary http_non_retryable_status"], "non_retryable",
                   outcome="ok")
        self.check(rig, rig.fetch(), 302, "success", ["primary success"], outcome="ok")
        self.check(rig, rig.fetch(), 501, "http_5xx", ["primary http_non_retryable_status"], "non_retryable",
                   outcome="upstream_error", upstream=3)

    def test_idempotent_methods_survive_a_lost_connection(self):
        for how, reason in ((RESET, "reset"), (HANG_UP, "closed_early")):
            for method in IDEMPOTENT:
                with self.subTest(method=method, reason=reason):
                    rig = self.rig([how], policy=retry())
                    response = rig.fetch(method, body=b"x" if method == "PUT" else None)
                    self.check(rig, response, 200, "success", [f"primary {reason}", "retry success"], upstream=2)

    def test_an_endpoint_that_refuses_is_retried_elsewhere_with_any_method(self):
        port = Port()
        self.addCleanup(port.close)
        up = Upstream()
        rig = self.rig(servers=[up], endpoints=[port.name, up.name], policy=retry(),
                       upstream={"balance": "round_robin"})
        client = rig.client()
        stories = [story(rig.timeline(client.fetch("POST", body=b"once"))) for _ in range(6)]
        self.assertIn(["primary connect_refused", "retry success"], stories)
        self.assertEqual([request.body for request in up.requests], [b"once"] * 6)

    def test_a_body_is_replayed_whole(self):
        for body in ({"body": b"b" * 1000}, {"chunks": [b"b" * 400, b"b" * 600]}):
            with self.subTest(body.keys()):
                rig = self.rig([unavailable(), RESET], policy=retry())
                self.assertEqual(rig.fetch("PUT", **body).status, 200)
                self.assertEqual([request.body for request in rig.up.requests], [b"b" * 1000] * 3)

    def test_a_retry_may_start_while_the_body_still_arrives(self):
        early = unavailable(early=True)
        rig = self.rig([early], policy=retry())
        client = rig.client().ask("PUT", headers=[("Content-Length", "10")], body=b"first")
        self.becomes(lambda: len(rig.up.heads), 2)
        response = client.send(b"-last").response()
        self.check(rig, response, 200, "success", ["primary http_503", "retry success"], upstream=2)
        self.assertEqual([request.body for request in rig.up.requests], [b"first-last"])

    def test_an_attempt_that_takes_too_long_is_replaced(self):
        hold = threading.Event()
        rig = self.rig([Answer(hold=hold)], policy=retry(timeout_per_attempt="300ms"))
        response = rig.fetch()
        self.check(rig, response, 200, "success", ["primary attempt_timeout", "retry success"], upstream=2)
        self.given_up(rig.up.connections[0])
        hold.set()

    def test_an_unconnectable_endpoint_times_out(self):
        hole = Blackhole()
        self.addCleanup(hole.close)
        rig = self.rig(endpoints=[hole.name], policy=retry(2), upstream={"connect_timeout": "100ms"})
        response = rig.fetch("POST", body=b"x")
        self.check(rig, response, 504, "connect_timeout", ["primary connect_timeout", "retry connect_timeout"],
                   "attempts_exhausted", outcome="upstream_error")
        self.assertIn("error=connection_timeout", response.get("Proxy-Status"))
        self.assertEqual(rig.metric("upstream_connects_total", result="connect_timeout"), 2)

    def test_back_off_grows_as_configured(self):
        rig = self.rig([unavailable()] * 3, policy={"retry": {"max_attempts": 4, "initial_backoff": "10ms",
                                                              "max_backoff": "25ms", "jitter": "none"}})
        attempts = rig.timeline(rig.fetch())["attempts"]
        self.assertEqual([attempt["n"] for attempt in attempts], [1, 2, 3, 4])
        for attempt, planned in zip(attempts[1:], (10, 20, 25)):
            self.assertAlmostEqual(attempt["backoff_ms"], planned, delta=2)
        for before, after in zip(attempts, attempts[1:]):
            self.assertGreaterEqual(after["start_ms"], before["start_ms"] + after["backoff_ms"] - 1)


class NotRetried(EndToEnd):
    def stopped(self, script, policy, stop, status, reason, attempts, method="GET", **asked):
        rig = self.rig(script, policy=policy)
        response = rig.fetch(method, **asked)
        self.check(rig, response, status, reason, attempts, stop, upstream=len(attempts))
        if stop != "non_retryable":
            self.becomes(lambda: rig.metric("retries_suppressed_total", reason=stop), 1)
        return response

    def test_attempts_run_out(self):
        response = self.stopped([unavailable(b"1"), unavailable(b"2"), unavailable(b"3")], retry(),
                                "attempts_exhausted", 503,
                                "http_5xx", ["primary http_503", "retry http_503", "retry http_503"])
        self.assertEqual((response.body, response.get("X-Should-Retry")), (b"3", "false"))

    def test_one_attempt_is_no_retry(self):
        self.stopped([unavailable()], retry(1), "attempts_exhausted", 503, "http_5xx", ["primary http_503"])

    def test_without_a_retry_block_nothing_is_retried(self):
        rig = self.rig([unavailable()])
        response = rig.fetch()
        self.assertEqual((response.status, response.body, len(rig.up.heads)), (503, b"no", 1))

    def test_a_post_is_not_repeated_once_bytes_were_sent(self):
        for answer, status, reason, ended in ((RESET, 502, "reset", "reset"),
                                              (HANG_UP, 502, "closed_early", "closed_early"),
                                              (unavailable(), 503, "http_5xx", "http_503")):
            with self.subTest(ended):
                self.stopped([answer], retry(), "http_non_idempotent", status, reason, [f"primary {ended}"], "POST",
                             body=b"x")

    def test_an_idempotency_key_allows_it(self):
        for headers, policy in (([("Idempotency-Key", "k")], retry()), ([], retry(non_idempotent=True)),
                                ([("X-Key", "k")], retry(idempotency_key="X-Key"))):
            with self.subTest(policy):
                rig = self.rig([RESET], policy=policy)
                response = rig.fetch("POST", headers=headers, body=b"x")
                self.check(rig, response, 200, "success", ["primary reset", "retry success"], upstream=2)

    def test_an_empty_idempotency_key_is_none(self):
        self.stopped([RESET], retry(), "http_non_idempotent", 502, "reset", ["primary reset"], "POST", body=b"x",
                     headers=[("Idempotency-Key", "")])

    def test_a_body_beyond_the_replay_buffer_is_not_repeated(self):
        policy = retry(replay_buffer="1KiB")
        for form in (lambda size: {"body": b"b" * size}, lambda size: {"chunks": [b"b" * 512, b"b" * (size - 512)]}):
            rig = self.rig([unavailable()], policy=policy)
            self.check(rig, rig.fetch("PUT", **form(1024)), 200, "success", ["primary http_503", "retry success"],
                       upstream=2)
            response = self.stopped([unavailable()], policy, "body_not_replayable", 503, "http_5xx",
                                    ["primary http_503"],
                                    "PUT", **form(1025))
            self.assertEqual(response.body, b"no")

    def test_a_body_that_outgrows_the_replay_buffer_during_the_retry_goes_on(self):
        policy = retry(2, replay_buffer="1KiB")
        for early, more in (("during the retry", "100ms"), ("while nothing runs", "300ms")):
            with self.subTest(early):
                policy["retry"].update(initial_backoff=more, max_backoff=more)
                rig = self.rig([unavailable(early=True)], policy=policy)
                client = rig.client().ask("PUT", headers=[("Transfer-Encoding", "chunked")])
                client.send(b"5\r\nfirst\r\n")
                if early == "during the retry":
                    self.becomes(lambda: len(rig.up.heads), 2)
                else:
                    # The first answer is kept, so its attempt is over and nothing takes the body for now.
                    self.becomes(lambda: rig.metric("buffer_bytes", kind="held") > 0, True)
                client.send(chunked([b"x" * 800] * 100))
                response = client.response()
                self.assertEqual([each.body for each in rig.up.requests], [b"first" + b"x" * 80_000])
                self.check(rig, response, 200, "success", ["primary http_503", "retry success"])

    def test_a_body_that_outgrew_it_is_not_repeated_a_second_time(self):
        gate = threading.Event()
        rig = self.rig([unavailable(early=True), Answer(status=503, body=b"late", hold=gate)],
                       policy=retry(3, replay_buffer="1KiB"))
        client = rig.client().ask("PUT", headers=[("Transfer-Encoding", "chunked")])
        client.send(b"5\r\nfirst\r\n")
        self.becomes(lambda: len(rig.up.heads), 2)
        client.send(chunked([b"x" * 800] * 100))
        self.becomes(lambda: len(rig.up.requests), 1)
        gate.set()
        response = client.response()
        self.assertEqual(response.body, b"late")
        self.check(rig, response, 503, "http_5xx", ["primary http_503", "retry http_503"], "body_not_replayable",
                   upstream=2)

    def test_bodies_are_not_kept_where_memory_for_them_is_short(self):
        hold = threading.Event()
        script = {"/fill": [Answer(hold=hold)], "/": [unavailable()]}
        rig = self.rig(lambda asked: script[asked.target].pop(0), limits={"buffer_memory": "1MiB"},
                       policy=retry(2, replay_buffer="1MiB"))
        filling = rig.client().ask("PUT", "/fill", body=bytes(1_000_000))
        self.becomes(lambda: rig.metric("buffer_bytes", kind="replay"), 1_000_000)
        response = rig.fetch("PUT", body=bytes(100_000))
        self.check(rig, response, 503, "http_5xx", ["primary http_503"], "body_not_replayable")
        self.assertEqual(rig.metric("buffer_bytes", kind="replay"), 1_000_000)
        hold.set()
        self.assertEqual(filling.response().status, 200)

    def test_a_large_body_that_was_never_sent_needs_no_replay(self):
        port = Port()
        self.addCleanup(port.close)
        up = Upstream()
        rig = self.rig(servers=[up], endpoints=[port.name, up.name], upstream={"balance": "round_robin"},
                       policy=retry(replay_buffer="1KiB"))
        client = rig.client()
        for _ in range(4):
            self.assertEqual(client.fetch("POST", body=b"b" * 5000).status, 200)
        self.assertEqual([request.size for request in up.requests], [5000] * 4)

    def test_an_upstream_may_push_back(self):
        for field in (("X-Should-Retry", "false"), ("grpc-retry-pushback-ms", "-1")):
            with self.subTest(field):
                self.stopped([unavailable(headers=[field])], retry(), "pushback", 503, "http_5xx", ["primary http_503"])

    def test_no_wait_begins_that_the_deadline_would_cut(self):
        policy = {"overall_timeout": "500ms", "retry": {"max_attempts": 3, "initial_backoff": "1s", "max_backoff": "1s",
                                                        "jitter": "none"}}
        self.stopped([unavailable()], policy, "deadline_insufficient", 503, "http_5xx", ["primary http_503"])

    def test_broken_framing_is_not_retried(self):
        self.stopped([Answer(raw=b"nonsense\r\n\r\n")], retry(), "non_retryable", 502, "protocol_error",
                     ["primary protocol_error"])

    def test_a_refusing_endpoint_is_told_to_the_client(self):
        port = Port()
        self.addCleanup(port.close)
        rig = self.rig(endpoints=[port.name], policy=retry(2))
        response = rig.fetch("POST", body=b"x")
        self.check(rig, response, 502, "connect_refused", ["primary connect_refused", "retry connect_refused"],
                   "attempts_exhausted", outcome="upstream_error")
        self.assertEqual((response.get("X-Outrigger-Reason"), response.get("X-Should-Retry")),
                         ("connect_refused", "false"))
        self.assertIn("error=connection_refused", response.get("Proxy-Status"))

    def test_attempts_that_all_take_too_long_end_in_504(self):
        hold = threading.Event()
        response = self.stopped([Answer(hold=hold)] * 2, retry(2, timeout_per_attempt="100ms"), "attempts_exhausted",
                                504,
                                "attempt_timeout", ["primary attempt_timeout", "retry attempt_timeout"])
        self.assertEqual(response.get("X-Outrigger-Reason"), "attempt_timeout")
        hold.set()


class RetryAfter(EndToEnd):
    def test_a_time_that_is_already_there_is_honoured_at_once(self):
        date = "Sun, 06 Nov 1994 08:49:37 GMT"
        for status in (429, 503):
            for after in ("0", date):
                with self.subTest(status=status, after=after):
                    rig = self.rig([Answer(status=status, headers=[("Date", date), ("Retry-After", after)])],
                                   policy=retry())
                    self.check(rig, rig.fetch(), 200, "success", [f"primary http_{status}", "retry success"],
                               upstream=2)

    def test_it_is_waited_for_and_never_cut_short(self):
        rig = self.rig([Answer(status=429, headers=[("Retry-After", "1")])], policy=retry())
        timeline = self.check(rig, rig.fetch(), 200, "success", ["primary http_429", "retry success"], upstream=2)
        self.assertGreaterEqual(timeline["attempts"][1]["backoff_ms"], 1000)
        self.assertLessEqual(timeline["attempts"][1]["backoff_ms"], 1101)
        self.assertGreaterEqual(timeline["attempts"][1]["start_ms"], 1000)

    def test_one_that_is_too_long_is_the_clients_to_wait(self):
        for status, reason in ((429, "http_4xx"), (503, "http_5xx")):
            with self.subTest(status):
                rig = self.rig([Answer(status=status, headers=[("Retry-After", "30")])], policy=retry())
                response = rig.fetch()
                self.assertEqual(response.get("Retry-After"), "30")
                self.check(rig, response, status, reason, [f"primary http_{status}"], "retry_after_too_long",
                           upstream=1)

    def test_one_beyond_the_deadline_is_too_long(self):
        rig = self.rig([Answer(status=503, headers=[("Retry-After", "2")])],
                       policy={"overall_timeout": "1s", **retry()})
        self.check(rig, rig.fetch(), 503, "http_5xx", ["primary http_503"], "retry_after_too_long", upstream=1)

    def test_a_429_without_it_is_final(self):
        rig = self.rig([Answer(status=429)], policy=retry())
        response = rig.fetch()
        self.assertEqual((response.status, len(rig.up.heads)), (429, 1))
        self.assertEqual(story(rig.timeline(response)), ["primary http_429"])

    def test_it_may_be_ignored(self):
        rig = self.rig([Answer(status=503, headers=[("Retry-After", "30")])],
                       policy=retry(retry_after={"honor": False}))
        self.check(rig, rig.fetch(), 200, "success", ["primary http_503", "retry success"], upstream=2)


class LastRealAnswer(EndToEnd):
    def test_a_kept_answer_is_relayed_when_the_retry_gets_none(self):
        for framing in ("length", "chunked", "close"):
            for body in (b"a real answer", BIG):
                with self.subTest(framing=framing, size=len(body)):
                    real = unavailable(body, framing=framing, headers=[("X-Real", "1"), ("Connection", "close")])
                    rig = self.rig([real, RESET], policy=retry(2))
                    response = rig.fetch()
                    self.assertEqual((response.body == body, response.get("X-Real")), (True, "1"))
                    self.check(rig, response, 503, "http_5xx", ["primary http_503", "retry reset"],
                               "attempts_exhausted",
                               outcome="upstream_error", upstream=2)

    def test_a_kept_answer_survives_a_retry_that_also_fails_to_reconnect(self):
        rig = self.rig([unavailable(b"real"), RESET, RESET], policy=retry(2))
        response = rig.fetch()
        self.assertEqual(response.body, b"real")
        self.check(rig, response, 503, "http_5xx", ["primary http_503", "retry reconnect", "reconnect reset"],
                   "attempts_exhausted", outcome="upstream_error", upstream=3)

    def test_a_kept_answer_is_relayed_when_nothing_listens_any_more(self):
        up = Upstream([unavailable(BIG)])
        gate = Gate(up.address)
        self.addCleanup(gate.close)
        rig = self.rig(servers=[up], endpoints=[gate.name],
                       policy={"retry": {"max_attempts": 2, "initial_backoff": "200ms", "jitter": "none"}})
        client = rig.client().ask()
        self.becomes(lambda: len(up.requests), 1)
        gate.refuse()
        response = client.response()
        self.assertTrue(response.body == BIG)
        self.check(rig, response, 503, "http_5xx", ["primary http_503", "retry connect_refused"], "attempts_exhausted")

    def test_a_newer_answer_replaces_the_kept_one(self):
        rig = self.rig([unavailable(BIG), Answer(status=500, body=BIG[::-1])], policy=retry(2))
        response = rig.fetch()
        self.assertTrue(response.body == BIG[::-1])
        self.check(rig, response, 500, "http_5xx", ["primary http_503", "retry http_500"], "attempts_exhausted",
                   upstream=2)

    def test_a_long_refused_answer_does_not_delay_the_retry(self):
        hold = threading.Event()
        rig = self.rig([unavailable(BIG, hold_body=hold)], policy=retry(2))
        self.check(rig, rig.fetch(), 200, "success", ["primary http_503", "retry success"], upstream=2)
        hold.set()

    def test_a_kept_answer_is_relayed_at_the_deadline(self):
        for body in (b"real", BIG):
            with self.subTest(size=len(body)):
                hold = threading.Event()
                rig = self.rig([unavailable(body), Answer(hold=hold)], policy={"overall_timeout": "300ms", **retry(2)})
                response = rig.fetch()
                self.assertEqual((response.status, response.body == body), (503, True))
                self.assertEqual(story(rig.timeline(response)), ["primary http_503", "retry overall_timeout"])
                self.given_up(rig.up.connections[rig.up.heads[1].connection])
                hold.set()

    def test_the_head_of_an_answer_to_head_is_kept(self):
        rig = self.rig([unavailable(b"not sent", headers=[("X-Real", "1"), ("Connection", "close")]), RESET],
                       policy=retry(2))
        client = rig.client()
        response = client.fetch("HEAD")
        self.assertEqual((response.status, response.get("X-Real"), response.get("Content-Length")), (503, "1", "8"))
        self.check(rig, response, 503, "http_5xx", ["primary http_503", "retry reset"], "attempts_exhausted")
        self.assertEqual(client.fetch().body, b"ok")

    def test_a_kept_answer_that_dies_before_it_is_whole_is_no_answer(self):
        gate, hold = threading.Event(), threading.Event()
        self.addCleanup(hold.set)
        part = b"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\npart"
        for end in ("fin", "reset"):
            with self.subTest(end):
                gate.clear()
                rig = self.rig([Answer(raw=part, rest=b"-way", hold_body=gate, end=end), Answer(hold=hold)],
                               policy=retry(2, timeout_per_attempt="300ms"))
                client = rig.client().ask()
                self.becomes(lambda: len(rig.up.heads), 2)
                gate.set()
                response = client.response()
                self.check(rig, response, 504, "attempt_timeout", ["primary http_503", "retry attempt_timeout"],
                           "attempts_exhausted", upstream=2)

    def test_answers_are_left_unread_where_memory_for_keeping_them_is_short(self):
        hold = threading.Event()
        full = 1024 * 1024
        script = {"/fill": [Answer(hold=hold)], "/": [unavailable(BIG, headers=[("X-Real", "1")]), RESET]}
        rig = self.rig(lambda asked: script[asked.target].pop(0), limits={"buffer_memory": "1MiB"},
                       policy=retry(2, replay_buffer="1MiB"))
        filling = rig.client().ask("PUT", "/fill", body=bytes(full))
        self.becomes(lambda: rig.metric("buffer_bytes", kind="replay"), full)
        response = rig.fetch()
        self.assertEqual((response.status, response.body == BIG), (503, True))
        hold.set()
        self.assertEqual(filling.response().status, 200)

    def test_where_no_upstream_answered_the_last_failure_decides(self):
        hold = threading.Event()
        rig = self.rig([RESET, Answer(hold=hold)], policy=retry(2, timeout_per_attempt="150ms"))
        self.check(rig, rig.fetch(), 504, "attempt_timeout", ["primary reset", "retry attempt_timeout"],
                   "attempts_exhausted",
                   upstream=2)
        hold.set()


if __name__ == "__main__":
    unittest.main()
