"""Health checks: how endpoints go out of service and come back, and where that shows."""
import unittest

from harness import EndToEnd, eventually, settings
from upstream import OK, Answer, Upstream
from wire import Blackhole, Port

CHECK = {"path": "/health?deep=1", "interval": "100ms", "timeout": "5s", "healthy_after": 2, "unhealthy_after": 2}


class Checked(Upstream):
    """A server whose checks are answered with `check`."""

    def __init__(self):
        self.check = OK
        super().__init__(lambda request: self.check if request.target == CHECK["path"] else OK)

    @property
    def checks(self):
        return [request for request in self.requests if request.target == CHECK["path"]]


class HealthChecks(EndToEnd):
    def checked(self, *servers, endpoints=None, upstream=None, **check):
        return self.rig(servers=list(servers), endpoints=endpoints,
                        upstream={"health_check": {**CHECK, **check}, **(upstream or {})})

    def states(self, rig):
        metrics = rig.proxy.metrics()
        return {state: metrics.sum("upstream_endpoints", upstream="up", state=state) for state in ("healthy", "unhealthy")}

    def says(self, rig, text):
        eventually(lambda: text in rig.proxy.stderr(), f"the log says: {text}")

    def shown(self, rig):
        return [each["state"] for each in rig.proxy.json("/upstreams")["upstreams"][0]["endpoints"]]

    def test_an_endpoint_goes_out_of_service_and_comes_back(self):
        up = Checked()
        rig = self.checked(up)
        self.assertEqual((self.states(rig), self.shown(rig)), ({"healthy": 1, "unhealthy": 0}, ["healthy"]))
        self.becomes(lambda: rig.metric("health_checks_total", upstream="up", result="success") >= 2, True)
        up.check = Answer(status=500, body=b"")
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
        self.assertEqual(self.shown(rig), ["unhealthy"])
        self.assertGreaterEqual(rig.metric("health_checks_total", upstream="up", result="failure"), 2)
        up.check = OK
        self.becomes(lambda: self.states(rig), {"healthy": 1, "unhealthy": 0})
        self.says(rig, "an endpoint is healthy again")
        self.says(rig, '"reason":"status 500"')
        log = rig.proxy.stderr()
        self.assertEqual((log.count("an endpoint is unhealthy"), log.count("an endpoint is healthy again")), (1, 1))

    def test_an_endpoint_that_is_out_of_service_gets_no_requests_while_there_is_another(self):
        bad, good = Checked(), Checked()
        bad.check = Answer(status=503, body=b"")
        rig = self.checked(bad, good)
        self.becomes(lambda: self.states(rig), {"healthy": 1, "unhealthy": 1})
        before = len([request for request in bad.requests if request.target != CHECK["path"]])
        for _ in range(20):
            self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(len([request for request in bad.requests if request.target != CHECK["path"]]), before)
        good.check = bad.check
        self.becomes(lambda: (self.states(rig), rig.metric("upstream_panic")), ({"healthy": 0, "unhealthy": 2}, 1))
        self.assertEqual(rig.fetch().status, 200)  # rather one that may fail than nobody

    def test_a_check_is_a_plain_request_of_its_own_and_nothing_that_is_counted_as_one(self):
        up = Checked()
        rig = self.checked(up, upstream={"host": "api.test"})
        eventually(lambda: len(up.checks) >= 3, "three checks")
        check = up.checks[0]
        self.assertEqual((check.method, check.target, check.get("Host"), check.get("Connection")),
                         ("GET", CHECK["path"], "api.test", "close"))
        self.assertEqual(check.get("User-Agent"), "outrigger-health-check")
        self.assertEqual((rig.metric("requests_total"), rig.metric("attempts_total"),
                          rig.metric("upstream_connects_total"), rig.proxy.timelines()), (0, 0, 0, []))

    def test_other_statuses_may_be_expected(self):
        up = Checked()
        up.check = Answer(status=401, body=b"")
        rig = self.checked(up, expect=["2xx", 401])
        eventually(lambda: len(up.checks) >= 3, "three checks")
        self.assertEqual(self.states(rig), {"healthy": 1, "unhealthy": 0})
        up.check = Answer(status=404, body=b"")
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})

    def test_an_interim_answer_is_not_the_answer(self):
        up = Checked()
        up.check = Answer(status=503, interim=((103, ()), (102, ())), body=b"")
        rig = self.checked(up)
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
        self.says(rig, '"reason":"status 503"')

    def test_an_endpoint_that_refuses_is_unhealthy(self):
        port = Port()
        self.addCleanup(port.close)
        rig = self.checked(endpoints=[port.name])
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
        self.says(rig, "cannot connect")

    def test_an_endpoint_that_takes_too_long_is_unhealthy(self):
        hole = Blackhole()
        self.addCleanup(hole.close)
        rig = self.checked(endpoints=[hole.name], timeout="50ms")
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
        self.says(rig, "no answer in time")

    def test_an_endpoint_that_does_not_speak_http_is_unhealthy(self):
        for raw in (b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000):
            with self.subTest(raw[:20]):
                up = Checked()
                up.check = Answer(raw=raw, end="fin")
                rig = self.checked(up)
                self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
                self.says(rig, "the answer is not HTTP")

    def test_what_is_known_survives_a_reload(self):
        up = Checked()
        up.check = Answer(status=500, body=b"")
        rig = self.checked(up)
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
        changed = settings([up.name], upstream={"health_check": {**CHECK, "interval": "1h"}, "connect_timeout": "2s"})
        rig.proxy.write(changed)
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
        self.assertEqual(self.states(rig), {"healthy": 0, "unhealthy": 1})
        # An interval that has become short does not wait for the end of the long one.
        up.check = OK
        rig.proxy.write(settings([up.name], upstream={"health_check": CHECK}))
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
        self.becomes(lambda: self.states(rig), {"healthy": 1, "unhealthy": 0})

    def test_an_endpoint_that_is_no_longer_checked_is_in_service(self):
        up = Checked()
        up.check = Answer(status=500, body=b"")
        rig = self.checked(up)
        self.becomes(lambda: self.states(rig), {"healthy": 0, "unhealthy": 1})
        rig.proxy.write(settings([up.name]))
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
        self.assertEqual(self.states(rig), {"healthy": 1, "unhealthy": 0})
        checks = len(up.checks)
        self.assertEqual([rig.fetch().status for _ in range(3)], [200] * 3)
        self.assertEqual(len(up.checks), checks)

    def test_a_check_under_way_does_not_hold_up_the_end(self):
        hole = Blackhole()
        self.addCleanup(hole.close)
        rig = self.checked(endpoints=[hole.name], timeout="1m")
        rig.proxy.stop()


if __name__ == "__main__":
    unittest.main()
