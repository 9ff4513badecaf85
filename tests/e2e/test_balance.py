"""How requests and retries spread over several endpoints."""
import collections
import threading
import unittest

from harness import EndToEnd, retry
from upstream import OK, Answer, Upstream, unavailable
from wire import Port


class Balance(EndToEnd):
    def test_round_robin_takes_turns(self):
        rig = self.rig((), (), (), upstream={"balance": "round_robin"})
        client = rig.client()
        endpoints = [rig.timeline(client.fetch())["attempts"][0]["endpoint"] for _ in range(9)]
        self.assertEqual([len(up.requests) for up in rig.ups], [3, 3, 3])
        self.assertEqual(set(endpoints), {up.name for up in rig.ups})
        self.assertEqual(endpoints[:3] * 3, endpoints)

    def test_least_request_avoids_the_busy(self):
        hold = threading.Event()
        script = lambda request: Answer(hold=hold) if request.target == "/slow" else OK
        rig = self.rig(script, script, upstream={"balance": "least_request"})
        slow = rig.client().ask("GET", "/slow")
        self.becomes(lambda: len(rig.heads()), 1)
        busy, other = sorted(rig.ups, key=lambda up: -len(up.heads))
        client = rig.client()
        for _ in range(10):
            self.assertEqual(client.fetch().status, 200)
        self.assertEqual((len(busy.heads), len(other.heads)), (1, 10))
        hold.set()
        self.assertEqual(slow.response().status, 200)

    def test_least_request_reaches_everyone(self):
        rig = self.rig((), (), ())
        client = rig.client()
        for _ in range(60):
            client.fetch()
        self.assertTrue(all(len(up.requests) > 3 for up in rig.ups), [len(up.requests) for up in rig.ups])

    def test_a_retry_goes_elsewhere(self):
        for balance in ("round_robin", "least_request"):
            with self.subTest(balance):
                rig = self.rig(lambda _: unavailable(), (), policy=retry(2, budget="none"),
                               upstream={"balance": balance})
                client = rig.client()
                stories = collections.Counter()
                for _ in range(20):
                    response = client.fetch()
                    self.assertEqual(response.status, 200)
                    stories[tuple(attempt["endpoint"] for attempt in rig.timeline(response)["attempts"])] += 1
                bad, good = (up.name for up in rig.ups)
                self.assertLessEqual(set(stories), {(good,), (bad, good)})
                self.assertGreater(stories[bad, good], 0)

    def test_the_only_endpoint_is_tried_again(self):
        rig = self.rig([unavailable()], policy=retry(2))
        response = rig.fetch()
        self.check(rig, response, 200, "success", ["primary http_503", "retry success"], upstream=2)
        self.assertEqual([attempt["endpoint"] for attempt in rig.timeline(response)["attempts"]], [rig.up.name] * 2)

    def test_a_dead_endpoint_costs_a_retry_and_no_request(self):
        port = Port()
        self.addCleanup(port.close)
        up = Upstream()
        rig = self.rig(servers=[up], endpoints=[port.name, up.name], policy=retry(2, budget="none"))
        client = rig.client()
        self.assertEqual([client.fetch().status for _ in range(20)], [200] * 20)
        self.assertEqual(len(up.requests), 20)
        self.becomes(lambda: rig.metric("attempts_total", reason="success"), 20)
        self.assertEqual(rig.metric("attempts_total", reason="connect_refused"),
                         rig.metric("attempts_total", kind="retry"))

    def test_an_upstream_is_chosen_by_its_route(self):
        left, right = Upstream(), Upstream()
        self.addCleanup(right.close)
        rig = self.rig(servers=[left], routes=[
            {"match": {"path": "/left"}, "policy": "t.Op", "upstream": "up"},
            {"match": {}, "policy": "t.Op", "upstream": "other"}],
            upstreams={"up": {"endpoints": [left.name]}, "other": {"endpoints": [right.name]}})
        timelines = [rig.timeline(rig.fetch("GET", path)) for path in ("/left", "/right", "/left")]
        names = [timeline["attempts"][0]["upstream"] for timeline in timelines]
        self.assertEqual((names, len(left.requests), len(right.requests)), (["up", "other", "up"], 2, 1))
        self.becomes(lambda: rig.metric("attempts_total", upstream="other"), 1)


if __name__ == "__main__":
    unittest.main()
