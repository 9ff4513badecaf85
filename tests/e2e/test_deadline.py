"""How long a request may take, who may shorten that, and what upstreams are told about it."""
import threading
import unittest
from unittest.mock import ANY

from harness import EndToEnd, retry, story
from upstream import Answer, unavailable
from wire import Truncated

FORMS = ("X-Request-Timeout", "Grpc-Timeout", "X-Envoy-Expected-Rq-Timeout-Ms")
GRPC_UNITS_MS = {"H": 3_600_000, "M": 60_000, "S": 1000, "m": 1, "u": 0.001, "n": 0.000001}


class Deadline(EndToEnd):
    def held(self, policy=None, **more):
        """A rig whose upstream answers only when the test is over."""
        hold = threading.Event()
        self.addCleanup(hold.set)
        return self.rig(lambda _: Answer(hold=hold), policy=policy, **more)

    def expires(self, rig, headers=()):
        response = rig.fetch(headers=headers)
        timeline = self.check(rig, response, 504, "overall_timeout", ["primary overall_timeout"], ANY,
                              outcome="timeout")
        self.assertEqual(response.get("X-Outrigger-Reason"), "overall_timeout")
        self.assertIn("error=http_response_timeout", response.get("Proxy-Status"))
        self.assertEqual(response.get("X-Should-Retry"), "false")
        self.given_up(rig.up.connections[rig.up.heads[-1].connection])
        return timeline

    def test_the_policys_timeout_ends_the_request(self):
        rig = self.held({"overall_timeout": "150ms"})
        timeline = self.expires(rig)
        self.assertEqual(timeline["deadline_ms"], 150)
        self.assertGreaterEqual(timeline["duration_ms"], 149)
        self.becomes(lambda: rig.metric("deadline_exceeded_total", policy="t.Op"), 1)

    def test_a_client_may_shorten_it_in_each_form(self):
        rig = self.held({"overall_timeout": "1h"})
        for name, value in zip(FORMS, ("100", "100m", "100")):
            with self.subTest(name):
                self.assertAlmostEqual(self.expires(rig, [(name, value)])["deadline_ms"], 100, delta=1)

    def test_the_shortest_of_several_wins(self):
        rig = self.held({"overall_timeout": "1h"})
        self.assertAlmostEqual(self.expires(rig, [(FORMS[0], "90000"), (FORMS[1], "100m")])["deadline_ms"], 100,
                               delta=1)

    def test_a_client_may_not_extend_it(self):
        rig = self.held({"overall_timeout": "150ms"})
        for name, value in zip(FORMS, ("60000", "60S", "60000")):
            with self.subTest(name):
                self.assertEqual(self.expires(rig, [(name, value)])["deadline_ms"], 150)

    def test_forms_that_are_not_accepted_are_not_read(self):
        rig = self.rig(policy={"deadline": {"accept": ["Grpc-Timeout"]}})
        response = rig.fetch(headers=[("X-Request-Timeout", "1")])
        self.assertEqual(response.status, 200)
        self.assertGreater(int(rig.up.requests[0].get("X-Request-Timeout")), 10_000)

    def test_too_little_time_is_refused_before_any_work(self):
        rig = self.rig()
        response = rig.fetch(headers=[("X-Request-Timeout", "5")])
        self.check(rig, response, 504, "deadline_too_short", [], ANY, upstream=0)
        self.assertEqual(rig.fetch(headers=[("X-Request-Timeout", "9000")]).status, 200)
        rig = self.rig(policy={"deadline": {"min_remaining": "2s"}})
        response = rig.fetch(headers=[("X-Request-Timeout", "1900")])
        self.assertEqual((response.status, response.get("X-Outrigger-Reason"), response.get("X-Should-Retry")),
                         (504, "deadline_too_short", "false"))

    def test_what_cannot_be_read_is_ignored_or_refused(self):
        for on_invalid, status, reason in (("ignore", 200, None), ("reject", 400, "bad_request")):
            rig = self.rig(policy={"deadline": {"on_invalid": on_invalid}})
            for name, value in ((FORMS[0], "soon"), (FORMS[0], "-5"), (FORMS[1], "123456789m"), (FORMS[1], "5x"),
                                (FORMS[2], "1.5")):
                with self.subTest(on_invalid=on_invalid, name=name, value=value):
                    response = rig.fetch(headers=[(name, value)])
                    self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (status, reason))

    def test_one_that_is_refused_is_booked_under_its_policy_and_keeps_its_connection(self):
        rig = self.rig(policy={"deadline": {"on_invalid": "reject"}})
        client = rig.client()
        response = client.fetch(headers=[(FORMS[0], "soon")])
        timeline = rig.timeline(response)
        self.assertEqual((response.status, timeline["policy"], timeline["reason"], timeline["termination"]),
                         (400, "t.Op", "bad_request", "D3"))
        self.assertEqual(client.fetch().status, 200)
        self.assertEqual(rig.metric("requests_total", policy="t.Op", reason="bad_request", code="4xx"), 1)
        self.assertEqual(rig.metric("requests_total", policy="_unrouted"), 0)

    def test_a_body_under_way_is_not_cut(self):
        hold = threading.Event()
        rig = self.rig([Answer(body=b"late", hold_body=hold)], policy={"overall_timeout": "100ms"})
        client = rig.client().ask()
        response = client.begin()
        timer = threading.Timer(0.3, hold.set)
        timer.start()
        self.addCleanup(timer.cancel)
        self.assertEqual(client.finish(response).body, b"late")
        self.check(rig, response, 200, "success", ["primary success"])

    def test_a_body_under_way_is_cut_at_the_clients_own_deadline(self):
        self.cut_in_the_body({"overall_timeout": "1h"}, [("X-Request-Timeout", "200")], "overall_timeout")

    def test_a_body_under_way_is_cut_at_the_longest_duration(self):
        self.cut_in_the_body({"max_duration": "200ms"}, (), "max_duration")

    def cut_in_the_body(self, policy, headers, reason):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig([Answer(body=[b"late"], length=4, hold_body=hold)], policy=policy)
        client = rig.client().ask(headers=headers)
        response = client.begin()
        self.assertRaises(Truncated, client.finish, response)
        timeline = rig.timeline(response)
        self.assertEqual((response.status, timeline["reason"], story(timeline)), (200, reason, [f"primary {reason}"]))
        self.given_up(rig.up.connections[0])

    def test_the_longest_duration_ends_a_request_without_answer(self):
        rig = self.held({"max_duration": "150ms"})
        response = rig.fetch()
        self.check(rig, response, 504, "max_duration", ["primary max_duration"], ANY)
        self.assertIn("error=http_response_timeout", response.get("Proxy-Status"))

    def test_zero_is_no_timeout(self):
        rig = self.rig(policy={"overall_timeout": 0})
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(rig.up.requests[0].all("X-Request-Timeout"), [])


class Forwarded(EndToEnd):
    def test_it_is_written_anew_for_each_attempt(self):
        rig = self.rig([unavailable()],
                       policy={"overall_timeout": "5s", "retry": {"max_attempts": 2, "initial_backoff": "100ms",
                                                                               "jitter": "none"}})
        rig.fetch(headers=[(FORMS[0], "3000"), (FORMS[1], "4S"), (FORMS[2], "4000")])
        first, second = (int(request.get(FORMS[0])) for request in rig.up.requests)
        self.assertLessEqual(first, 3000)
        self.assertLessEqual(second, first - 99)
        self.assertGreater(second, 1000)
        for name in FORMS[1:]:
            self.assertEqual([request.all(name) for request in rig.up.requests], [[], []])

    def test_an_attempts_own_limit_and_the_margin_count(self):
        rig = self.rig(policy={"overall_timeout": "60s", "deadline": {"margin": "100ms"},
                               **retry(timeout_per_attempt="2s")})
        rig.fetch()
        self.assertEqual(rig.up.requests[0].get(FORMS[0]), "1900")

    def test_a_margin_that_eats_all_leaves_a_millisecond_in_each_form(self):
        rig = self.rig(policy={"overall_timeout": "1s", "deadline": {"margin": "2s", "forward": list(FORMS)}})
        rig.fetch()
        self.assertEqual([rig.up.requests[0].get(name) for name in FORMS], ["1", "1000000n", "1"])

    def test_it_may_be_forwarded_in_other_forms(self):
        rig = self.rig(policy={"overall_timeout": "10s", "deadline": {"forward": list(FORMS[1:])}})
        rig.fetch(headers=[(FORMS[0], "9000")])
        seen = rig.up.requests[0]
        self.assertEqual(seen.all(FORMS[0]), [])
        grpc = seen.get(FORMS[1])
        self.assertRegex(grpc, "^[0-9]{1,8}[HMSmun]$")
        for left in (int(grpc[:-1]) * GRPC_UNITS_MS[grpc[-1]], int(seen.get(FORMS[2]))):
            self.assertTrue(5000 < left <= 9000, left)


if __name__ == "__main__":
    unittest.main()
