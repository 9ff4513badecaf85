"""Observe mode on the real binary: everything is decided, counted and shown, and nothing of it acts."""
import threading
import time
import unittest

from harness import EndToEnd, retry, story
from upstream import OK, Answer, unavailable

OTHER = "t.Strict"  # a policy that enforces, beside the one that observes


class Observing(EndToEnd):
    def observing(self, script=(), policy=None, **more):
        return self.rig(script, policy={"mode": "observe", **(policy or {})}, **more)

    def beside(self, script, both, **root):
        """The same policy twice: enforced for /strict, observed for the rest."""
        up = "up"
        return self.rig(script, policies={"t.Op": {"mode": "observe", **both}, OTHER: both},
                        routes=[{"match": {"path": "/strict"}, "policy": OTHER, "upstream": up},
                                {"policy": "t.Op", "upstream": up}], **root)

    def would(self, rig, reason, count, policy="t.Op"):
        self.becomes(lambda: rig.metric("observed_total", policy=policy, reason=f"would_{reason}"), count)

    def decided(self, rig, response):
        """What was only computed; where a request ends as without a policy is told beside it."""
        reasons = [decision["reason"] for decision in rig.timeline(response)["decisions"]]
        return [reason for reason in reasons if reason.startswith("would_")]


class Limits(Observing):
    def test_a_rate_limit_lets_everything_pass_and_counts(self):
        rig = self.observing(policy={"rate_limit": {"requests": 1, "per": "1h", "burst": 1}})
        responses = [rig.fetch() for _ in range(3)]
        self.assertEqual([response.status for response in responses], [200] * 3)
        self.would(rig, "rate_limited", 2)
        self.assertEqual(self.decided(rig, responses[-1]), ["would_rate_limited"])
        self.becomes(lambda: rig.metric("rate_limit_decisions_total", decision="would_deny"), 2)
        self.assertEqual(rig.metric("rate_limit_decisions_total", decision="deny"), 0)
        self.assertEqual(rig.metric("requests_total", outcome="ok", code="2xx"), 3)

    def test_nobody_waits_for_a_turn(self):
        rig = self.observing(policy={"rate_limit": {"requests": 1, "per": "5s", "burst": 1, "max_wait": "10s"}})
        begun = time.monotonic()
        responses = [rig.fetch() for _ in range(2)]
        self.assertEqual([response.status for response in responses], [200] * 2)
        self.assertLess(time.monotonic() - begun, 4)
        self.assertEqual(rig.timeline(responses[1])["queued_ms"], 0)

    def test_a_bulkhead_and_an_adaptive_limit_let_everything_pass(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.observing(lambda request: Answer(body=b"ok", hold=hold if request.target == "/held" else None),
                             {"bulkhead": {"max_concurrent": 1, "max_queue": 5, "max_wait": "10s"},
                              "adaptive_limit": {"initial": 1, "max": 1}})
        first = rig.client().ask("GET", "/held")
        self.becomes(lambda: len(rig.up.heads), 1)
        response = rig.fetch()
        self.assertEqual(response.status, 200)
        self.assertEqual(self.decided(rig, response), ["would_bulkhead_full", "would_concurrency_limit"])
        self.would(rig, "bulkhead_full", 1)
        hold.set()
        self.assertEqual(first.response().status, 200)

    def test_a_circuit_opens_and_stops_nobody(self):
        rig = self.observing([unavailable()] * 2 + [OK],
                             {"circuit": {"consecutive_failures": 2, "cooldown": "1m"}})
        self.assertEqual([rig.fetch().status for _ in range(3)], [503, 503, 200])
        self.would(rig, "circuit_open", 1)
        circuit, = rig.proxy.json("/circuits")["circuits"]
        self.assertEqual((circuit["state"], circuit["observed_by"]), ("open", "t.Op"))
        self.assertEqual(rig.proxy.metrics().series("circuit_state"), [])

    def test_it_takes_nothing_from_those_who_enforce(self):
        rig = self.beside([], {"rate_limit": "shared", **retry(2, budget="extra")},
                          rate_limits={"shared": {"requests": 1, "per": "1h", "burst": 1}},
                          budgets={"extra": {"type": "token_bucket", "capacity": 1, "refill_per_second": 0}})
        self.assertEqual([rig.fetch().status for _ in range(4)], [200] * 4)
        self.assertEqual([rig.fetch("GET", "/strict").status for _ in range(2)], [200, 429])
        self.assertEqual([budget.get("observed_by") for budget in rig.proxy.json("/budgets")["budgets"]],
                         [None, "t.Op"])
        self.assertEqual(len(rig.proxy.metrics().series("budget_available")), 1)


class Attempts(Observing):
    def test_nothing_is_retried(self):
        rig = self.observing([unavailable()], retry(3))
        response = rig.fetch()
        self.assertEqual((response.status, story(rig.timeline(response))), (503, ["primary http_503"]))
        self.assertEqual(self.decided(rig, response), ["would_retry"])
        self.would(rig, "retry", 1)
        self.assertEqual(len(rig.up.requests), 1)
        self.assertEqual(rig.metric("attempts_total", kind="retry"), 0)

    def test_what_would_have_stopped_a_retry_is_told(self):
        rig = self.observing([unavailable()] * 2,
                             retry(2, budget={"type": "token_bucket", "capacity": 1, "refill_per_second": 0}))
        self.assertEqual([self.decided(rig, rig.fetch()) for _ in range(2)],
                         [["would_retry"], ["would_budget_denied"]])

    def test_nothing_is_hedged(self):
        rig = self.observing(lambda _request: Answer(raw=b""), {"overall_timeout": "100ms", "hedge": {"delay": "10ms"}})
        response = rig.fetch()
        self.assertEqual(response.get("X-Outrigger-Reason"), "overall_timeout")
        self.assertEqual(self.decided(rig, response), ["would_hedge"])
        self.assertEqual((len(rig.up.heads), story(rig.timeline(response))), (1, ["primary overall_timeout"]))
        self.would(rig, "hedge", 1)

    def test_its_deadline_acts(self):
        rig = self.observing(lambda _request: Answer(raw=b""), {"overall_timeout": "100ms", **retry(3)})
        self.assertEqual(rig.fetch().get("X-Outrigger-Reason"), "overall_timeout")


class Substitutes(Observing):
    def test_no_fallback_is_sent(self):
        rig = self.observing([unavailable(b"mine")], {"fallback": {"when": ["5xx"], "respond": {"status": 200}}})
        response = rig.fetch()
        self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")), (503, b"mine", None))
        self.assertEqual(self.decided(rig, response), ["would_fallback"])
        self.would(rig, "fallback", 1)
        self.assertEqual(rig.metric("fallbacks_total"), 0)

    def test_nothing_is_answered_from_a_cache(self):
        rig = self.observing([], {"cache": {}})
        responses = [rig.fetch() for _ in range(3)]
        self.assertEqual([response.get("Age") for response in responses], [None] * 3)
        self.assertEqual(len(rig.up.requests), 3)
        self.assertEqual(self.decided(rig, responses[-1]), ["would_cached"])
        self.would(rig, "cached", 2)

    def test_no_fault_is_injected(self):
        rig = self.observing([], {"chaos": {"abort": {"probability": 1, "status": 503},
                                            "delay": {"probability": 1, "fixed": "5s"}}},
                             chaos_enabled=True, flags=("--allow-chaos",))
        begun = time.monotonic()
        response = rig.fetch()
        self.assertEqual(response.status, 200)
        self.assertLess(time.monotonic() - begun, 4)
        self.assertEqual(self.decided(rig, response), ["would_chaos"])
        self.would(rig, "chaos", 1)
        self.assertEqual(rig.metric("chaos_injected_total"), 0)


if __name__ == "__main__":
    unittest.main()
