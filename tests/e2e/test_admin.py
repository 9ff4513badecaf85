"""The admin API and the metrics, as tools read them."""
import json
import re
import unittest

from client import Client
from harness import EndToEnd, retry, settings
from upstream import OK, Answer, unavailable

# Families that exist from the start, before any request.
FAMILIES = ("requests_total", "request_duration_seconds", "requests_in_flight", "attempts_total",
            "attempt_duration_seconds", "retries_suppressed_total", "budget_decisions_total", "upstream_connections",
            "upstream_connects_total", "upstream_endpoints", "upstream_pending",
            "upstream_panic", "draining", "downstream_connections",
            "downstream_connections_total", "bytes_total", "deadline_exceeded_total", "buffer_bytes",
            "dropped_total", "config_generation",
            "config_last_reload_success", "config_last_reload_timestamp_seconds", "config_reloads_total", "build_info")
SCALARS = ("request_id", "start", "duration_ms", "policy", "route", "listener", "method", "path", "priority",
           "deadline_ms", "outcome", "status", "reason", "termination", "bytes_in", "bytes_out", "config_generation")
OF_ATTEMPT = ("n", "kind", "upstream", "endpoint", "start_ms", "duration_ms", "outcome", "reason")


class Health(EndToEnd):
    def test_healthy_and_ready(self):
        rig = self.rig()
        for target in ("/healthz", "/readyz"):
            self.assertEqual(rig.proxy.call(target).status, 200)
            head = rig.proxy.call(target, "HEAD")
            self.assertEqual((head.status, head.get("Content-Length"), head.body), (200, "2", b""))
        self.assertEqual(rig.proxy.call("/metrics", "HEAD").status, 200)
        self.assertEqual(rig.proxy.call("/healthz").body.strip(), b"ok")

    def test_only_hosts_we_know_are_served(self):
        rig = self.rig(admin={"listen": "127.0.0.1:0", "allowed_hosts": ["outrigger.test"]})
        port = rig.proxy.admin[1]
        for host, status in ((f"127.0.0.1:{port}", 200), (f"localhost:{port}", 200), ("localhost", 200),
                             (f"[::1]:{port}", 200), ("outrigger.test", 200), ("evil.test", 403),
                             (f"evil.test:{port}", 403), ("127.0.0.1.evil.test", 403)):
            with self.subTest(host):
                self.assertEqual(rig.proxy.call("/config", headers=[("Host", host)]).status, status)

    def test_wrong_methods_and_unknown_calls(self):
        rig = self.rig()
        for target in ("/metrics", "/timelines", "/config", "/healthz"):
            response = rig.proxy.call(target, "POST", body=b"")
            self.assertEqual((response.status, response.get("Allow")), (405, "GET, HEAD"))
        self.assertEqual(rig.proxy.call("/nothing-here").status, 404)
        self.assertEqual(rig.proxy.call("/timelines/no-such-request").status, 404)

    def test_the_admin_listener_survives_nonsense(self):
        rig = self.rig()
        for data in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: " + b"x" * 100_000):
            client = Client(rig.proxy.admin)
            try:
                client.send(data).half_close()
                client.ending()
            except OSError:
                pass
            client.close()
        self.assertEqual(rig.proxy.call("/healthz").status, 200)


class MetricsCall(EndToEnd):
    def test_families_exist_before_the_first_request(self):
        rig = self.rig(policy=retry())
        response = rig.proxy.call("/metrics")
        self.assertTrue(response.get("Content-Type").startswith("text/plain; version=0.0.4"))
        declared = dict(re.findall(r"^# TYPE outrigger_(\w+) (\w+)$", response.body.decode(), re.M))
        self.assertEqual([name for name in FAMILIES if name not in declared], [])
        helped = re.findall(r"^# HELP outrigger_(\w+) \S", response.body.decode(), re.M)
        self.assertEqual(sorted(declared), sorted(helped))
        metrics = rig.proxy.metrics()
        self.assertCountEqual(metrics.series("requests_total", policy="t.Op", reason="success"),
                              [({"policy": "t.Op", "code": code, "outcome": "ok", "reason": "success"}, 0)
                               for code in ("2xx", "3xx")])
        self.assertEqual(metrics.sum("build_info"), 1)
        self.assertGreater(metrics.samples["process_resident_memory_bytes"][0][1], 0)

    def test_no_label_comes_from_a_request(self):
        rig = self.rig([Answer(status=418)])
        rig.fetch("BREW", "/secret-path", [("X-Request-Id", "secret-id")])
        self.becomes(lambda: rig.metric("requests_total", reason="http_4xx"), 1)
        labels = " ".join(re.findall(r"{(.*)}", rig.proxy.metrics().text))
        for word in ("secret", "BREW", "418", rig.up.name):
            self.assertNotIn(word, labels)

    def test_histograms_add_up(self):
        rig = self.rig([unavailable()], policy=retry())
        rig.fetch()
        self.becomes(lambda: rig.metric("request_duration_seconds_count"), 1)
        metrics = rig.proxy.metrics()
        self.assertEqual(metrics.sum("request_duration_seconds_bucket", policy="t.Op", le="+Inf"), 1)
        self.assertEqual(metrics.sum("attempt_duration_seconds_count", kind="primary"), 1)
        self.assertEqual(metrics.sum("attempt_duration_seconds_count", kind="retry"), 1)
        buckets = metrics.series("request_duration_seconds_bucket", policy="t.Op", outcome="ok")
        bounds = [labels["le"] for labels, _ in buckets]
        self.assertEqual([float(bound) for bound in bounds[:3]] + bounds[-1:], [0.0005, 0.001, 0.0025, "+Inf"])

    def test_connections_and_bytes_are_counted(self):
        rig = self.rig([Answer(body=b"x" * 1000)])
        client = rig.client()
        client.fetch("PUT", body=b"y" * 500)
        self.becomes(lambda: (rig.metric("downstream_connections", listener="main"),
                              rig.metric("upstream_connections", state="idle"),
                              rig.metric("upstream_connects_total", upstream="up")), (1, 1, 1))
        for direction, least in (("downstream_in", 500), ("upstream_out", 500), ("upstream_in", 1000),
                                 ("downstream_out", 1000)):
            self.becomes(lambda: rig.metric("bytes_total", direction=direction) >= least, True)


class Timelines(EndToEnd):
    def some(self):
        """A rig that has answered: an OK, a retried OK, a 404, a 503 after two attempts, and one without a route."""
        script = {"/ok": [OK], "/retried": [unavailable(), OK], "/missing": [Answer(status=404)],
                  "/down": [unavailable()] * 2}
        rig = self.rig(lambda request: script[request.target.split("?")[0]].pop(0), policy=retry(2),
                       route={"match": {"path_regex": "/(ok|retried|missing|down)"}})
        for path in ("/ok?token=secret", "/retried", "/missing", "/down", "/nowhere"):
            rig.timeline(rig.fetch("GET", path, [("X-Request-Id", path.split("?")[0][1:])]))
        return rig

    def test_they_are_listed_newest_first_and_filtered(self):
        rig = self.some()
        everything = ["nowhere", "down", "missing", "retried", "ok"]
        for query, expected in (("", everything), ("?limit=2", everything[:2]), ("?policy=t.Op", everything[1:]),
                                ("?status=404", ["nowhere", "missing"]), ("?reason=http_5xx", ["down"]),
                                ("?reason=no_route", ["nowhere"]),
                                ("?kind=retry", ["down", "retried"]), ("?min_ms=60000", []),
                                ("?status=200&kind=retry", ["retried"])):
            with self.subTest(query):
                self.assertEqual([timeline["request_id"] for timeline in rig.proxy.timelines(query)], expected)

    def test_one_in_full(self):
        rig = self.some()
        timeline = rig.timeline("retried")
        self.assertEqual([name for name in SCALARS if name not in timeline], [])
        self.assertRegex(timeline["start"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual((timeline["method"], timeline["path"], timeline["listener"], timeline["priority"]),
                         ("GET", "/retried", "main", "standard"))
        first, second = timeline["attempts"]
        for attempt in (first, second):
            self.assertEqual([name for name in OF_ATTEMPT if name not in attempt], [])
            self.assertEqual((attempt["upstream"], attempt["endpoint"]), ("up", rig.up.name))
        self.assertEqual((first["n"], first["kind"], first["outcome"], first["status"]),
                         (1, "primary", "retryable", 503))
        self.assertEqual((second["n"], second["kind"], second["outcome"], second["status"]),
                         (2, "retry", "success", 200))
        self.assertIn("connect_ms", rig.timeline("ok")["attempts"][0])  # the first on a connection, which stays
        self.assertNotIn("connect_ms", second)
        self.assertEqual(second["budget"], {"name": "default/up", "allowed": True})
        self.assertLessEqual(first["start_ms"] + first["duration_ms"], second["start_ms"] + 0.01)
        self.assertEqual(timeline["termination"][0], "-")

    def test_queries_are_not_shown_unless_wanted(self):
        rig = self.some()
        self.assertNotIn("secret", rig.timeline("ok")["path"])
        rig = self.rig(telemetry={"timelines": {"keep": 64, "sample": "100%", "log_query": True}})
        self.assertIn("token=secret", rig.timeline(rig.fetch("GET", "/ok?token=secret"))["path"])

    def test_what_failed_or_was_retried_is_kept_without_sampling(self):
        rig = self.rig([unavailable(), OK, Answer(status=500), Answer(status=500)], policy=retry(2),
                       telemetry={"timelines": {"keep": 64, "sample": 0}})
        responses = [rig.fetch() for _ in range(2)]
        for _ in range(200):
            rig.fetch()
        self.assertEqual([rig.timeline(response)["status"] for response in responses], [200, 500])

    def test_storage_is_bounded(self):
        keep, slowest = 16, 64  # the slowest of each of two minutes are kept besides
        rig = self.rig(lambda request: Answer(status=500) if request.target == "/bad" else OK,
                       telemetry={"timelines": {"keep": keep, "sample": "100%"}}, workers=1)
        client = rig.client()
        for _ in range(200):
            client.fetch("GET", "/bad")
            client.fetch("GET", "/good")
        bad = rig.proxy.timelines("?limit=1000&reason=http_5xx")
        self.assertEqual(len(bad), keep)
        self.assertEqual(bad[0]["path"], "/bad")
        self.assertLessEqual(len(rig.proxy.timelines("?limit=1000&reason=success")), 2 * slowest + keep // 4)


class ConfigCall(EndToEnd):
    def test_a_configuration_may_be_tried_without_effect(self):
        rig = self.rig()
        good = settings([rig.up.name])
        for policy, valid in (({}, True), ({"overall_timeout": "never"}, False)):
            body = json.dumps({**good, "policies": {"t.Op": policy}}).encode()
            response = rig.proxy.call("/config/validate", "POST", body=body)
            verdict = json.loads(response.body)
            self.assertEqual((response.status, verdict["valid"], bool(verdict["errors"])), (200, valid, not valid))
        self.assertEqual(rig.metric("config_generation"), rig.proxy.json("/config")["generation"])

    def test_the_effective_configuration_is_shown(self):
        rig = self.rig(policy=retry())
        shown = rig.proxy.json("/config")
        self.assertLessEqual({"generation", "hash", "source"}, shown.keys())
        self.assertEqual(shown["generation"], rig.metric("config_generation"))
        text = rig.proxy.call("/config").body.decode()
        for word in (rig.up.name, "t.Op", "overall_timeout", "max_attempts"):
            self.assertIn(word, text)

    def test_a_value_that_is_cut_within_a_character_is_quoted_up_to_it(self):
        rig = self.rig()
        response = rig.proxy.call("/config/validate", "POST", body=("version: " + "x" * 59 + "é\n").encode())
        self.assertEqual((response.status, [error for error in json.loads(response.body)["errors"] if "x" * 59 in error]),
                         (200, ['body:1:10: error: version: must be a whole number, got "' + "x" * 59 + '..."']))
        self.assertEqual(rig.proxy.call("/healthz").status, 200)

    def test_a_file_whose_name_is_not_utf8_is_shown_as_far_as_it_is(self):
        proxy = self.start(settings(["127.0.0.1:9"]), wrap=(
            "sh", "-c", r"""f=$(printf '%s/\377.yaml' "${3%/*}"); cp "$3" "$f"; exec "$0" run --config "$f" """))
        self.before([], proxy)
        self.assertTrue(proxy.json("/config")["source"].endswith("/\ufffd.yaml"))
        self.assertEqual(proxy.call("/healthz").status, 200)


if __name__ == "__main__":
    unittest.main()
