"""Each policy's effect on the real binary: what the client gets, what reaches the upstream, what is shown of it."""
import json
import threading
import time
import unittest

from harness import EndToEnd, retry
from upstream import OK, Answer, unavailable


class Circuit(EndToEnd):
    def test_failures_open_it_and_a_probe_closes_it(self):
        rig = self.rig([unavailable()] * 3 + [OK], policy={"circuit": {"consecutive_failures": 3, "cooldown": "300ms"}})
        self.assertEqual([rig.fetch().status for _ in range(3)], [503] * 3)
        self.becomes(lambda: rig.metric("circuit_state", circuit="t.Op"), 2)
        refused = rig.fetch()
        self.assertEqual((refused.status, refused.get("X-Outrigger-Reason"), refused.get("Retry-After"),
                          refused.get("X-Should-Retry")), (503, "circuit_open", "1", "false"))
        self.assertEqual(len(rig.up.requests), 3)
        timeline = rig.timeline(refused)
        self.assertEqual((timeline["attempts"], timeline["decisions"][0]["reason"]), ([], "circuit_open"))
        self.becomes(lambda: rig.metric("circuit_state", circuit="t.Op"), 1)  # by the clock alone
        self.assertEqual(rig.fetch().status, 200)
        self.becomes(lambda: rig.metric("circuit_state", circuit="t.Op"), 0)
        self.assertEqual(rig.metric("circuit_transitions_total", **{"from": "closed", "to": "open"}), 1)

    def test_an_operator_may_force_it(self):
        rig = self.rig(policy={"circuit": {"consecutive_failures": 3}})
        self.assertEqual(rig.proxy.call("/circuits/t.Op/force_open", "POST", body=b"").status, 200)
        self.assertEqual(rig.fetch().get("X-Outrigger-Reason"), "circuit_open")
        self.assertEqual(rig.proxy.json("/circuits")["circuits"][0]["state"], "open")
        self.assertEqual(rig.proxy.call("/circuits/t.Op/reset", "POST", body=b"").status, 200)
        self.assertEqual(rig.fetch().status, 200)

    def test_another_endpoint_is_chosen_where_one_has_an_open_circuit(self):
        rig = self.rig([unavailable()] * 9, [OK] * 9, upstream={"balance": "round_robin"},
                       policy={"circuit": {"consecutive_failures": 1, "scope": "endpoint", "cooldown": "1m"}})
        statuses = [rig.fetch().status for _ in range(8)]
        self.assertEqual(statuses.count(503), 1)
        self.assertEqual(len(rig.ups[0].requests), 1)


class RateLimit(EndToEnd):
    def test_beyond_the_burst_requests_are_refused_with_the_time_to_come_back(self):
        rig = self.rig(policy={"rate_limit": {"requests": 1, "per": "1h", "burst": 3}})
        self.assertEqual([rig.fetch().status for _ in range(4)], [200, 200, 200, 429])
        refused = rig.fetch()
        self.assertEqual(refused.get("X-Outrigger-Reason"), "rate_limited")
        self.assertTrue(3500 < int(refused.get("Retry-After")) <= 3600, refused.get("Retry-After"))
        self.assertEqual(len(rig.up.requests), 3)
        self.becomes(lambda: rig.metric("rate_limit_decisions_total", rate_limit="t.Op", decision="deny"), 2)
        self.assertEqual(rig.metric("rate_limit_decisions_total", rate_limit="t.Op", decision="allow"), 3)

    def test_clients_may_be_told_apart_by_a_header(self):
        rig = self.rig(policy={"rate_limit": {"requests": 1, "per": "1h", "burst": 1, "key": {"header": "X-Tenant"}}})
        tenants = ["a", "b", "a", "b"]
        statuses = [rig.fetch(headers=[("X-Tenant", tenant)]).status for tenant in tenants]
        self.assertEqual(statuses, [200, 200, 429, 429])

    def left(self, response, style="ietf"):
        """What an answer says is left, and in how many seconds there is more."""
        if style == "legacy":
            return int(response.get("X-RateLimit-Remaining")), int(response.get("X-RateLimit-Reset"))
        name, left, reset = response.get("RateLimit").split(";")
        self.assertEqual((name, left[:2], reset[:2]), ('"t.Op"', "r=", "t="))
        return int(left[2:]), int(reset[2:])

    def test_answers_say_what_is_left(self):
        for style in ("ietf", "legacy"):
            with self.subTest(style):
                rig = self.rig(policy={"rate_limit": {"requests": 3, "per": "3h", "headers": style}})
                answers = [rig.fetch() for _ in range(5)]
                self.assertEqual([answer.status for answer in answers], [200] * 3 + [429] * 2)
                self.assertEqual([self.left(answer, style)[0] for answer in answers], [2, 1, 0, 0, 0])
                for answer in answers:
                    if style == "ietf":
                        self.assertEqual(answer.get("RateLimit-Policy"), '"t.Op";q=3;w=10800')
                    else:
                        self.assertEqual(answer.get("X-RateLimit-Limit"), "3")
                    reset = self.left(answer, style)[1]
                    self.assertTrue(3500 < reset <= 3600, reset)
                    if answer.status == 429:
                        self.assertGreaterEqual(int(answer.get("Retry-After")), reset)

    def test_each_client_is_told_what_is_left_of_its_own(self):
        rig = self.rig(policy={"rate_limit": {"requests": 9, "per": "1h", "headers": "legacy",
                                              "key": {"header": "X-Tenant"}}})
        tenants = ["a", "a", "b", "a", "b", None, None]
        answers = [rig.fetch(headers=[("X-Tenant", tenant)] if tenant else []) for tenant in tenants]
        self.assertEqual([self.left(answer, "legacy")[0] for answer in answers], [8, 7, 8, 6, 7, 8, 7])

    def test_a_reply_of_our_own_and_a_failure_say_it_too(self):
        rig = self.rig([unavailable(end="fin")], policy={"rate_limit": {"requests": 9, "per": "1h", "headers": "ietf"}})
        self.assertEqual(self.left(rig.fetch())[0], 8)
        rig.up.refuse()
        refused = rig.fetch()
        self.assertEqual((refused.status, self.left(refused)[0]), (502, 7))
        self.assertIsNone(rig.fetch(headers=[("X-Request-Timeout", "1")]).get("RateLimit"))

    def test_nothing_is_said_unless_it_is_asked_for(self):
        rig = self.rig(policy={"rate_limit": {"requests": 1, "per": "1h"}})
        for answer in (rig.fetch(), rig.fetch()):
            self.assertEqual([name for name in answer.names() if "ratelimit" in name.lower()], [])

    def test_a_request_may_wait_for_its_turn(self):
        rig = self.rig(policy={"rate_limit": {"requests": 10, "per": "1s", "shape": "smooth", "max_wait": "5s"}})
        begun = time.monotonic()
        self.assertEqual([rig.fetch().status for _ in range(4)], [200] * 4)
        self.assertGreaterEqual(time.monotonic() - begun, 0.28)


class Bulkhead(EndToEnd):
    def busy(self, **bulkhead):
        """A rig whose one place is taken by a request that its upstream holds."""
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(lambda request: Answer(body=b"done", hold=hold if request.target == "/held" else None),
                       policy={"bulkhead": {"max_concurrent": 1, **bulkhead}})
        first = rig.client().ask("GET", "/held")
        self.becomes(lambda: len(rig.up.heads), 1)
        return rig, first, hold

    def test_a_full_one_refuses(self):
        rig, first, hold = self.busy()
        refused = rig.fetch()
        self.assertEqual((refused.status, refused.get("X-Outrigger-Reason"), refused.get("Retry-After")),
                         (503, "bulkhead_full", "1"))
        self.assertEqual(rig.metric("bulkhead_in_flight", bulkhead="t.Op"), 1)
        self.becomes(lambda: rig.metric("bulkhead_rejected_total", bulkhead="t.Op", reason="bulkhead_full"), 1)
        hold.set()
        self.assertEqual(first.response().status, 200)
        self.assertEqual(rig.fetch().status, 200)
        self.becomes(lambda: rig.metric("bulkhead_in_flight", bulkhead="t.Op"), 0)

    def test_who_waits_is_served_when_a_place_is_free_whatever_its_worker(self):
        rig, first, hold = self.busy(max_queue=8, max_wait="10s")
        waiting = [rig.client().ask() for _ in range(8)]
        self.becomes(lambda: rig.metric("bulkhead_queued", bulkhead="t.Op"), 8)
        self.assertEqual(rig.fetch().status, 503)
        hold.set()
        self.assertEqual([client.response().status for client in [first, *waiting]], [200] * 9)
        self.becomes(lambda: rig.metric("bulkhead_in_flight", bulkhead="t.Op"), 0)

    def test_a_wait_has_an_end_and_is_left_by_those_who_go(self):
        rig, _first, _hold = self.busy(max_queue=8, max_wait="100ms")
        refused = rig.fetch()
        self.assertEqual(refused.get("X-Outrigger-Reason"), "bulkhead_queue_timeout")
        self.assertGreaterEqual(rig.timeline(refused)["queued_ms"], 95)
        client = rig.client().ask()
        client.close()
        self.becomes(lambda: rig.metric("bulkhead_queued", bulkhead="t.Op"), 0)

    def test_the_last_places_are_for_those_that_matter(self):
        rig, _first, _hold = self.busy(max_concurrent=2, priorities={"low": "50%", "standard": "50%"})
        self.assertEqual(rig.fetch(headers=[("X-Request-Priority", "low")]).get("X-Outrigger-Reason"), "shed_load")
        self.assertEqual(rig.fetch(headers=[("X-Request-Priority", "critical")]).status, 200)


class AdaptiveLimit(EndToEnd):
    def test_it_is_a_limit_and_is_shown(self):
        rig = self.rig(policy={"adaptive_limit": {"initial": 7, "min": 2, "max": 9}})
        self.assertEqual([rig.fetch().status for _ in range(20)], [200] * 20)
        self.assertTrue(2 <= rig.metric("adaptive_limit", adaptive_limit="t.Op") <= 9)
        self.becomes(lambda: rig.metric("adaptive_limit_in_flight", adaptive_limit="t.Op"), 0)


class Hedge(EndToEnd):
    def test_a_slow_answer_is_overtaken_by_another_endpoint(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig([Answer(body=b"slow", hold=hold)] * 9, [OK] * 9, upstream={"balance": "round_robin"},
                       policy={"hedge": {"delay": "50ms", "max_hedges": 1}})
        responses = [rig.fetch() for _ in range(2)]
        self.assertEqual([response.status for response in responses], [200, 200])
        hedged = [timeline for timeline in map(rig.timeline, responses) if len(timeline["attempts"]) == 2]
        self.assertEqual([(attempt["kind"], attempt["reason"], attempt["hedge_index"])
                          for attempt in hedged[0]["attempts"]],
                         [("primary", "hedge_lost", 0), ("hedge", "success", 1)])
        self.given_up(rig.ups[0].connections[0])
        self.becomes(lambda: rig.metric("hedges_total", policy="t.Op", result="won"), len(hedged))
        sent = next(request for request in rig.heads() if request.get("X-Outrigger-Hedge"))
        self.assertEqual((sent.get("X-Outrigger-Hedge"), sent.get("X-Outrigger-Attempt")), ("1", "2"))


class Classifier(EndToEnd):
    def test_a_rule_may_make_an_answer_worth_another_try(self):
        rules = [{"when": {"status": 409, "header": {"name": "X-Retryable", "equals": "true"}},
                  "outcome": "retryable", "reason": "locked"}]
        rig = self.rig([Answer(409, headers=[("X-Retryable", "true")]), OK, Answer(409)],
                       policy=retry(2, classifier="strict"), classifiers={"strict": rules})
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(rig.fetch().status, 409)
        self.assertEqual(len(rig.up.requests), 3)


class Throttle(EndToEnd):
    def test_many_failures_keep_most_requests_away(self):
        rig = self.rig(lambda _request: unavailable(),
                       policy={"adaptive_throttle": {"minimum_calls": 20, "max_rejection": "90%"}})
        reasons = [rig.fetch().get("X-Outrigger-Reason") for _ in range(200)]
        self.assertGreater(reasons.count("throttled"), 80)
        self.assertLess(len(rig.up.requests), 120)
        shown = json.loads(rig.proxy.call("/adaptive_throttles").body)["adaptive_throttles"]
        self.assertEqual(len(shown), 1)


if __name__ == "__main__":
    unittest.main()
