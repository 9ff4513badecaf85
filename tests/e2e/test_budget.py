"""Budgets: each type limits extra attempts exactly, never the first, and the books add up under load."""
import collections
import random
import threading
import time
import unittest

from client import Client
from harness import EndToEnd, eventually, retry
from upstream import OK, Answer, unavailable


class Types(EndToEnd):
    def extra(self, rig, count, target="/"):
        """How many retries `count` requests on one connection got, by what the upstream saw."""
        before = len(rig.up.heads)
        client = rig.client()
        for _ in range(count):
            client.fetch("GET", target)
        client.close()
        return len(rig.up.heads) - before - count

    def failing(self, budget, attempts=2, **more):
        return self.rig(lambda _: unavailable(), policy=retry(attempts, budget=budget), **more)

    def decisions(self, rig, budget, allowed, denied):
        for label, count in (("true", allowed), ("false", denied)):
            self.becomes(lambda: rig.metric("budget_decisions_total", budget=budget, kind="retry", allowed=label),
                         count)

    def test_the_default_budget_is_a_fifth_and_three_a_second(self):
        rig = self.rig(lambda _: unavailable(), policy=retry(2))
        self.assertEqual(self.extra(rig, 50), 40)  # 20 % of 50 requests, and 3/s x 10 s
        self.decisions(rig, "default/up", 40, 10)
        self.becomes(lambda: rig.metric("retries_suppressed_total", reason="budget_denied"), 10)
        self.becomes(lambda: rig.metric("attempts_total"), 90)

    def test_a_denied_retry_leaves_the_answer_and_says_so(self):
        rig = self.failing({"type": "token_bucket", "capacity": 1, "refill_per_second": 0})
        self.check(rig, rig.fetch(), 503, "http_5xx", ["primary http_503", "retry http_503"], "attempts_exhausted")
        response = rig.fetch()
        timeline = self.check(rig, response, 503, "http_5xx", ["primary http_503"], "budget_denied", upstream=3)
        self.assertEqual((response.body, response.get("X-Should-Retry")), (b"no", "false"))
        self.assertIn("budget_denied", [decision["reason"] for decision in timeline["decisions"]])

    def test_a_token_bucket(self):
        rig = self.failing({"type": "token_bucket", "capacity": 4, "refill_per_second": 0}, attempts=3)
        self.assertEqual(self.extra(rig, 5), 4)
        self.decisions(rig, "t.Op", 4, 3)

    def test_a_window(self):
        rig = self.failing({"type": "window", "max_rate": 0, "min_per_second": 0.2, "window": "10s"})
        self.assertEqual(self.extra(rig, 6), 2)
        rig = self.failing({"type": "window", "max_rate": "50%", "min_per_second": 0, "window": "10s"})
        self.assertEqual(self.extra(rig, 10), 5)

    def test_success_credit(self):
        budget = {"type": "success_credit", "capacity": 5, "retry_cost": 5, "success_credit": 1, "min_per_second": 0}
        rig = self.rig(lambda request: OK if request.target == "/good" else unavailable(),
                       policy=retry(2, budget=budget))
        left = lambda: rig.metric("budget_available", budget="t.Op")
        self.assertEqual(self.extra(rig, 3), 1)
        self.extra(rig, 4, "/good")
        self.becomes(left, 4)
        self.assertEqual(self.extra(rig, 1), 0)
        self.extra(rig, 1, "/good")
        self.becomes(left, 5)
        self.assertEqual(self.extra(rig, 3), 1)

    def test_a_ratio_of_what_is_in_flight(self):
        hold = threading.Event()

        def script(request):
            slow = request.target == "/slow" and request.get("X-Outrigger-Attempt") == "2"
            return Answer(hold=hold) if slow else unavailable()

        rig = self.rig(script, policy=retry(2, budget={"type": "ratio", "max_rate": "10%", "min_concurrency": 1}))
        slow = rig.client().ask("GET", "/slow")
        self.becomes(lambda: len(rig.up.heads), 2)
        self.becomes(lambda: rig.metric("budget_in_flight", budget="t.Op", kind="retry"), 1)
        response = rig.fetch("GET", "/fast")
        self.check(rig, response, 503, "http_5xx", ["primary http_503"], "budget_denied")
        hold.set()
        self.assertEqual(slow.response().status, 200)
        self.becomes(lambda: rig.metric("budget_in_flight", budget="t.Op", kind="retry"), 0)
        self.check(rig, rig.fetch("GET", "/fast"), 503, "http_5xx", ["primary http_503", "retry http_503"],
                   "attempts_exhausted")
        self.becomes(lambda: rig.metric("budget_in_flight", budget="t.Op"), 0)

    def test_no_budget_and_an_unlimited_one(self):
        for budget in ("none", {"type": "unlimited"}):
            with self.subTest(budget):
                self.assertEqual(self.extra(self.failing(budget), 50), 50)

    def test_what_was_spent_comes_back_with_time(self):
        for budget in ({"type": "token_bucket", "capacity": 2, "refill_per_second": 2},
                       {"type": "window", "max_rate": 0, "min_per_second": 2, "window": "1s"},
                       {"type": "success_credit", "capacity": 5, "retry_cost": 5, "min_per_second": 2}):
            with self.subTest(budget["type"]):
                rig = self.failing(budget)
                begun = time.monotonic()
                spent = self.extra(rig, 20)
                self.assertIn(spent, range(2, 2 + int(2 * (time.monotonic() - begun)) + 1))
                eventually(lambda: self.extra(rig, 1), "an extra attempt is admitted again")

    def test_a_named_budget_is_shared_and_has_its_cost(self):
        bucket = {"type": "token_bucket", "capacity": 5, "refill_per_second": 0}
        routes = [{"match": {"path": f"/{name}"}, "policy": f"t.{name}", "upstream": "up"} for name in ("one", "two")]
        rig = self.rig(lambda _: unavailable(), routes=routes, budgets={"shared": bucket},
                       policies={"t.one": retry(2, budget="shared"),
                                 "t.two": retry(2, budget={"name": "shared", "cost": 2})})
        self.assertEqual([self.extra(rig, 1, "/one"), self.extra(rig, 3, "/two"), self.extra(rig, 2, "/one")],
                         [1, 2, 0])
        self.decisions(rig, "shared", 3, 3)


class Books(EndToEnd):
    """10,000 requests of 64 clients against an upstream that fails three in ten at random."""
    REQUESTS, CLIENTS = 10_000, 64

    def test_every_request_has_one_outcome_and_all_counts_agree(self):
        dice, lock = random.Random(7), threading.Lock()

        def script(_request):
            with lock:
                return unavailable() if dice.random() < 0.3 else OK

        rig = self.rig(script, policy=retry(3))
        statuses = collections.Counter()

        def run(share):
            mine = collections.Counter()
            with Client(rig.proxy.address) as client:
                for _ in range(share):
                    response = client.fetch()
                    mine[response.status, response.body] += 1
            with lock:
                statuses.update(mine)

        each, left = divmod(self.REQUESTS, self.CLIENTS)
        shares = [each + (index < left) for index in range(self.CLIENTS)]
        clients = [threading.Thread(target=run, args=(share,)) for share in shares]
        begun = time.monotonic()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        took = time.monotonic() - begun

        self.assertEqual(set(statuses), {(200, b"ok"), (503, b"no")})
        self.assertEqual(statuses.total(), self.REQUESTS)
        attempts = len(rig.up.requests)
        eventually(lambda: rig.metric("requests_total") >= self.REQUESTS, "all requests are counted")
        metrics = rig.proxy.metrics()
        self.assertEqual(metrics.sum("requests_total"), self.REQUESTS)
        self.assertEqual(metrics.sum("requests_total", outcome="ok", code="2xx", reason="success"),
                         statuses[200, b"ok"])
        self.assertEqual(metrics.sum("requests_total", outcome="upstream_error", code="5xx"), statuses[503, b"no"])
        self.assertEqual(metrics.sum("attempts_total"), attempts)
        self.assertEqual(metrics.sum("attempts_total", kind="primary"), self.REQUESTS)
        self.assertEqual([metrics.sum("attempts_total", reason=reason) for reason in ("success", "http_503")],
                         [statuses[200, b"ok"], attempts - statuses[200, b"ok"]])
        self.assertEqual(metrics.sum("request_duration_seconds_count"), self.REQUESTS)
        self.assertEqual(metrics.sum("attempt_duration_seconds_count"), attempts)
        # A stop of a retryable result is a refused retry or the end of the attempts, and leaves a 503.
        self.assertEqual(metrics.sum("retries_suppressed_total"), statuses[503, b"no"])
        extra = attempts - self.REQUESTS
        self.assertEqual(metrics.sum("budget_decisions_total", budget="default/up", kind="retry", allowed="true"),
                         extra)
        self.assertLessEqual(extra, 0.2 * self.REQUESTS + 30 * (1 + took // 10) + 10)  # the last: threads racing
        self.assertGreater(extra, 0.1 * self.REQUESTS)
        self.at_rest(rig)


if __name__ == "__main__":
    unittest.main()
