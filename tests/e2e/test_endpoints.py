"""Who gets a request: connections and who waits for them, endpoints that are left alone, balancing by hash."""
import collections
import threading
import unittest

from harness import EndToEnd, eventually, retry, settings
from upstream import OK, Answer, Upstream, unavailable

CRITICAL, LOW = [("X-Request-Priority", "critical")], [("X-Request-Priority", "low")]


class Endpoints(EndToEnd):
    def hold(self):
        """An event that lets held answers go, at the latest when the test is over."""
        event = threading.Event()
        self.addCleanup(event.set)
        return event

    def reload(self, rig, endpoints=None, **config):
        rig.proxy.write(settings(endpoints or [up.name for up in rig.ups], **config))
        self.assertEqual(rig.proxy.call("/reload", "POST", body=b"").status, 200)

    def endpoint(self, rig, name):
        """What the admin API says about an endpoint."""
        upstream = rig.proxy.json("/upstreams")["upstreams"][0]
        return next(each for each in upstream["endpoints"] if each["address"] == name)


class Connections(Endpoints):
    def test_one_at_the_limit_is_served_and_one_past_it_refused(self):
        go = self.hold()
        rig = self.rig(lambda _: Answer(body=b"ok", hold=go), upstream={"max_connections": 2, "max_pending": 0})
        held = [rig.client().ask("GET", "/") for _ in range(2)]
        self.becomes(lambda: len(rig.heads()), 2)
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason"), response.get("Retry-After")),
                         (503, "pool_full", "1"))
        timeline = rig.timeline(response)
        self.assertEqual((timeline["reason"], timeline["attempts"]), ("pool_full", []))
        self.assertEqual([(each["part"], each["reason"]) for each in timeline["decisions"]], [("pool", "pool_full")])
        self.becomes(lambda: rig.metric("requests_total", reason="pool_full", outcome="rejected"), 1)
        go.set()
        self.assertEqual([client.response().status for client in held], [200, 200])
        self.assertEqual(len(rig.heads()), 2)
        self.assertEqual(rig.fetch().status, 200)

    def test_requests_wait_for_a_connection_and_the_important_come_first(self):
        gates = collections.defaultdict(self.hold)
        rig = self.rig(lambda request: Answer(body=b"ok", hold=gates[request.target]),
                       upstream={"max_connections": 1, "max_pending": 2})
        first = rig.client().ask("GET", "/first")
        self.becomes(lambda: len(rig.heads()), 1)
        low = rig.client().ask("GET", "/low", LOW)
        self.becomes(lambda: rig.metric("upstream_pending", upstream="up"), 1)
        critical = rig.client().ask("GET", "/critical", CRITICAL)
        self.becomes(lambda: rig.metric("upstream_pending", upstream="up"), 2)
        self.assertEqual(rig.proxy.json("/upstreams")["upstreams"][0]["pending"], 2)
        self.assertEqual(rig.fetch("GET", "/none", LOW).get("X-Outrigger-Reason"), "pool_full")
        gates["/first"].set()
        self.assertEqual(first.response().status, 200)
        self.becomes(lambda: [request.target for request in rig.heads()], ["/first", "/critical"])
        gates["/critical"].set()
        response = critical.response()
        self.assertEqual(response.status, 200)
        gates["/low"].set()
        self.assertEqual(low.response().status, 200)
        self.assertGreater(rig.timeline(response)["queued_ms"], 0)
        self.becomes(lambda: rig.metric("queue_wait_seconds_count", part="pool"), 2)
        self.becomes(lambda: rig.metric("upstream_pending", upstream="up"), 0)

    def test_a_wait_ends_with_the_deadline_and_with_the_client(self):
        go = self.hold()
        rig = self.rig(lambda _: Answer(body=b"ok", hold=go), upstream={"max_connections": 1})
        held = rig.client().ask("GET", "/")
        self.becomes(lambda: len(rig.heads()), 1)
        gone = rig.client().ask("GET", "/")
        self.becomes(lambda: rig.metric("upstream_pending", upstream="up"), 1)
        gone.close()
        self.becomes(lambda: rig.metric("upstream_pending", upstream="up"), 0)
        late = rig.fetch(headers=[("X-Request-Timeout", "50")])
        self.assertEqual((late.status, late.get("X-Outrigger-Reason")), (504, "overall_timeout"))
        self.assertEqual([(each["part"], each["reason"]) for each in rig.timeline(late)["decisions"]],
                         [("pool", "overall_timeout")])
        go.set()
        self.assertEqual(held.response().status, 200)
        self.assertEqual(len(rig.heads()), 1)

    def test_a_full_endpoint_is_passed_over(self):
        go = self.hold()
        script = lambda request: Answer(body=b"ok", hold=go) if request.target == "/held" else OK
        rig = self.rig(script, script, upstream={"max_connections": 1, "balance": "round_robin"})
        held = rig.client().ask("GET", "/held")
        self.becomes(lambda: len(rig.heads()), 1)
        client = rig.client()
        self.assertEqual([client.fetch().status for _ in range(6)], [200] * 6)
        self.assertEqual(sorted(len(up.requests) for up in rig.ups), [1, 6])
        go.set()
        self.assertEqual(held.response().status, 200)

    def test_an_answer_kept_unread_keeps_its_connection_and_its_request_does_not_wait_for_itself(self):
        for size, status, stories, stop in ((1_000_000, 503, ["primary http_503"], "pool_full"),
                                            (1_000, 200, ["primary http_503", "retry success"], None)):
            with self.subTest(size):
                rig = self.rig([unavailable(b"x" * size)], policy=retry(2, budget="none"),
                               upstream={"max_connections": 1})
                response = rig.fetch()
                self.check(rig, response, status, "http_5xx" if stop else "success", stories, stop=stop)
                self.assertEqual(response.body, b"x" * size if stop else b"ok")
                self.assertEqual(rig.fetch().status, 200)

    def test_never_more_at_once_than_the_limit_and_none_left_behind(self):
        counts, lock, most = collections.Counter(), threading.Lock(), [0]

        def script(request):
            def pieces():
                yield b"o"
                with lock:
                    counts["now"] -= 1
                yield b"k"
            with lock:
                counts["now"] += 1
                most[0] = max(most[0], counts["now"])
            return Answer(body=pieces(), length=2)
        rig = self.rig(script, upstream={"max_connections": 3, "max_pending": 100}, policy={"overall_timeout": "10s"})

        def client():
            mine = rig.client()
            for _ in range(25):
                results.append(mine.fetch().status)
        results = []
        threads = [threading.Thread(target=client) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(collections.Counter(results), {200: 300})
        self.assertLessEqual(most[0], 3)
        self.becomes(lambda: [each["in_flight"] for each in rig.proxy.json("/upstreams")["upstreams"][0]["endpoints"]],
                     [0])
        self.assertGreater(rig.metric("queue_wait_seconds_count", part="pool"), 0)

    def test_a_raised_limit_holds_for_who_comes_after_the_reload(self):
        go = self.hold()
        rig = self.rig(lambda _: Answer(body=b"ok", hold=go), upstream={"max_connections": 1, "max_pending": 0})
        held = rig.client().ask("GET", "/")
        self.becomes(lambda: len(rig.heads()), 1)
        self.assertEqual(rig.fetch().status, 503)
        self.reload(rig, upstream={"max_connections": 2, "max_pending": 0})
        more = rig.client().ask("GET", "/")
        self.becomes(lambda: len(rig.heads()), 2)
        go.set()
        self.assertEqual([held.response().status, more.response().status], [200, 200])


class Outliers(Endpoints):
    DETECTION = {"outlier_detection": {"consecutive_failures": 3, "base_ejection": "1h", "max_ejection": "1h"},
                 "balance": "round_robin"}

    def test_an_endpoint_that_fails_is_left_alone_and_everybody_is_told(self):
        rig = self.rig(lambda _: unavailable(), (), policy=retry(2, budget="none"), upstream=self.DETECTION)
        bad, good = (up.name for up in rig.ups)
        client = rig.client()
        self.assertEqual([client.fetch().status for _ in range(20)], [200] * 20)
        self.assertEqual(len(rig.ups[0].requests), 3)
        self.assertEqual(self.endpoint(rig, bad)["state"], "ejected")
        self.assertGreater(self.endpoint(rig, bad)["ejected_for_ms"], 3_000_000)
        self.assertEqual(self.endpoint(rig, good)["state"], "healthy")
        self.assertEqual(rig.metric("outlier_ejections_total", upstream="up"), 1)
        self.assertEqual([rig.metric("upstream_endpoints", upstream="up", state=state)
                          for state in ("healthy", "unhealthy", "ejected")], [1, 0, 1])
        self.assertEqual(rig.metric("upstream_panic", upstream="up"), 0)
        eventually(lambda: "an endpoint was ejected" in rig.proxy.stderr() and bad in rig.proxy.stderr(), "a log line")

    def test_an_ejection_is_over_by_itself(self):
        answers = collections.deque([unavailable()] * 3)
        rig = self.rig(lambda _: answers.popleft() if answers else OK, (), policy=retry(2, budget="none"),
                       upstream={**self.DETECTION, "outlier_detection": {
                           "consecutive_failures": 3, "base_ejection": "100ms", "max_ejection": "100ms"}})
        client = rig.client()
        while answers:
            self.assertEqual(client.fetch().status, 200)
        eventually(lambda: client.fetch().status == 200 and len(rig.ups[0].requests) > 3, "the endpoint is used again")
        eventually(lambda: "an ejected endpoint is used again" in rig.proxy.stderr(), "a log line")
        self.becomes(lambda: self.endpoint(rig, rig.ups[0].name)["state"], "healthy")

    def test_the_last_usable_endpoint_is_never_ejected(self):
        failing = lambda _: unavailable()
        rig = self.rig(failing, failing, upstream={
            **self.DETECTION, "outlier_detection": {**self.DETECTION["outlier_detection"], "max_ejected": "100%"}})
        client = rig.client()
        self.assertEqual([client.fetch().status for _ in range(30)], [503] * 30)
        self.assertEqual(len(rig.heads()), 30)
        self.assertEqual(rig.metric("outlier_ejections_total", upstream="up"), 1)
        self.assertEqual(sorted(len(up.heads) for up in rig.ups)[0], 3)

    def test_a_refusal_by_a_sidecar_and_a_client_error_eject_nobody(self):
        for answer in (Answer(status=503, headers=[("X-Outrigger-Reason", "bulkhead_full")]), Answer(status=404),
                       Answer(status=429)):
            with self.subTest(answer.status):
                rig = self.rig(lambda _: answer, lambda _: answer, upstream=self.DETECTION)
                client = rig.client()
                for _ in range(12):
                    client.fetch()
                self.assertEqual(len(rig.heads()), 12)
                self.assertEqual(rig.metric("outlier_ejections_total", upstream="up"), 0)

    def test_ejections_outlive_a_reload_and_with_nobody_else_left_the_ejected_is_used(self):
        rig = self.rig(lambda _: unavailable(), (), policy=retry(2, budget="none"), upstream=self.DETECTION)
        bad = rig.ups[0].name
        client = rig.client()
        self.assertEqual([client.fetch().status for _ in range(8)], [200] * 8)
        before = len(rig.ups[0].requests)
        policy = retry(2, budget="none")
        self.reload(rig, policy=policy, upstream={**self.DETECTION, "connect_timeout": "900ms"})
        self.assertEqual([client.fetch().status for _ in range(8)], [200] * 8)
        self.assertEqual(len(rig.ups[0].requests), before)
        for panic in (True, False):
            self.reload(rig, [bad], policy=policy, upstream={**self.DETECTION, "panic": panic})
            response = client.fetch()
            self.assertEqual((response.status, response.get("X-Outrigger-Reason")),
                             (503, None if panic else "no_healthy_endpoint"))
            self.assertEqual(rig.metric("upstream_panic", upstream="up"), 1 if panic else 0)
        eventually(lambda: "no endpoint is usable: requests are refused" in rig.proxy.stderr(), "a log line")
        self.reload(rig, [bad], policy=policy)
        self.assertEqual(self.endpoint(rig, bad)["state"], "healthy")


class Hash(Endpoints):
    def where(self, rig, client, value):
        """The endpoint that a request with that value went to."""
        headers = [("X-Customer", value)] if value is not None else []
        return rig.timeline(client.fetch("GET", "/", headers))["attempts"][-1]["endpoint"]

    def test_a_key_stays_with_its_endpoint_whatever_the_connection(self):
        rig = self.rig((), (), (), upstream={"balance": {"hash": {"header": "X-Customer"}}})
        client = rig.client()
        homes = {f"c{i}": self.where(rig, client, f"c{i}") for i in range(30)}
        self.assertEqual(set(homes.values()), {up.name for up in rig.ups})
        again = rig.client()
        self.assertEqual({name: self.where(rig, again, name) for name in homes}, homes)

    def test_a_retry_takes_the_next_best_and_the_others_keep_their_homes(self):
        failing = threading.Event()
        scripts = [lambda _, up=up: unavailable() if failing.is_set() and up == 0 else OK for up in range(3)]
        rig = self.rig(*scripts, policy=retry(2, budget="none"),
                       upstream={"balance": {"hash": {"header": "X-Customer"}}})
        client = rig.client()
        homes = {f"c{i}": self.where(rig, client, f"c{i}") for i in range(30)}
        failing.set()
        bad = rig.ups[0].name
        now = {name: self.where(rig, client, name) for name in homes}
        self.assertEqual({name: home for name, home in now.items() if homes[name] != bad},
                         {name: home for name, home in homes.items() if home != bad})
        refugees = [home for name, home in now.items() if homes[name] == bad]
        self.assertNotIn(bad, refugees)
        self.assertEqual({name: self.where(rig, client, name) for name in homes}, now)

    def test_without_its_header_a_request_goes_anywhere(self):
        rig = self.rig((), (), upstream={"balance": {"hash": {"header": "X-Customer"}}})
        client = rig.client()
        eventually(lambda: self.where(rig, client, None) and all(up.heads for up in rig.ups), "both are used")

    def test_by_address_all_requests_of_a_client_stay_together(self):
        rig = self.rig((), (), (), upstream={"balance": {"hash": "client_ip"}}, listener={"trusted_hops": 1})
        client = rig.client()

        def where(name):
            response = client.fetch("GET", "/", [("X-Forwarded-For", name)])
            return rig.timeline(response)["attempts"][0]["endpoint"]
        homes = {f"10.0.0.{i}": where(f"10.0.0.{i}") for i in range(30)}
        self.assertEqual(set(homes.values()), {up.name for up in rig.ups})
        self.assertEqual({name: where(name) for name in homes}, homes)
        for up in rig.ups:
            up.heads.clear()
        for _ in range(10):
            client.fetch()
        self.assertEqual(sorted(len(up.heads) for up in rig.ups), [0, 0, 10])

    def test_random_reaches_everyone_by_weight(self):
        ups = [Upstream(), Upstream()]
        rig = self.rig(servers=ups, upstream={"balance": "random", "endpoints": [
            {"address": ups[0].name, "weight": 9}, ups[1].name]})
        client = rig.client()
        for _ in range(200):
            client.fetch()
        self.assertTrue(150 <= len(ups[0].heads) <= 195, [len(up.heads) for up in ups])


if __name__ == "__main__":
    unittest.main()
