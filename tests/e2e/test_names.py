"""Names of endpoints: every address counts, changes arrive beside the traffic, and a resolver holds nobody up."""
import time
import unittest

import resolver
from harness import EndToEnd, eventually, settings
from upstream import Upstream
from wire import LOOPBACK, Port

SECOND = "127.0.0.2"


def neighbours():
    """Two servers on the same port of two addresses."""
    while True:
        first = Port()
        try:
            second = Port(SECOND, first.address[1])
        except OSError:  # somebody has that port there
            first.close()
            continue
        return Upstream(port=first), Upstream(port=second)


@unittest.skipIf(resolver.why_not(), resolver.why_not() or "")
class Names(EndToEnd):
    def setUp(self):
        super().setUp()
        self.one, self.two = neighbours()
        self.port = self.one.address[1]
        self.server = resolver.NameServer({"api.test": [LOOPBACK]})
        self.addCleanup(self.server.close)

    def named(self, name="api.test", dns=None, ready=True, **config):
        """A proxy whose upstream is that name; it is refreshed by reload alone unless the test says otherwise."""
        proxy = self.start(settings([f"{name}:{self.port}"], upstream={"dns": {"refresh": "1h", "timeout": "10s", **(dns or {})}},
                                    **config), wrap=self.server.wrap)
        return self.before([self.one, self.two], proxy)

    def count(self, rig):
        return rig.metric("upstream_endpoints", upstream="up", state="healthy")

    def reload(self, rig):
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)

    def test_every_address_of_a_name_is_an_endpoint(self):
        self.server.names["api.test"] = [SECOND, LOOPBACK]
        rig = self.named()
        client = rig.client()
        self.assertEqual({client.fetch().status for _ in range(40)}, {200})
        self.assertTrue(self.one.requests and self.two.requests)
        shown = rig.proxy.json("/upstreams")["upstreams"][0]
        self.assertEqual(shown["connections"]["active"] + shown["connections"]["idle"],
                         len(self.one.connections) + len(self.two.connections))
        endpoints = shown["endpoints"]
        self.assertEqual([(each["address"], each["host"]) for each in endpoints],
                         [(f"{LOOPBACK}:{self.port}", "api.test"), (f"{SECOND}:{self.port}", "api.test")])

    def test_a_refresh_takes_effect_by_itself_and_keeps_what_has_not_moved(self):
        rig = self.named(dns={"refresh": "1s"})
        client = rig.client()
        client.fetch()
        generation = rig.metric("config_generation")
        self.server.names["api.test"] = [LOOPBACK, SECOND]
        self.becomes(lambda: self.count(rig), 2)
        self.becomes(lambda: client.fetch().status == 200 and bool(self.two.requests), True)
        self.assertEqual(len(self.one.connections), 1)  # its pool is the one it was
        self.server.names["api.test"] = [SECOND]
        self.becomes(lambda: self.count(rig), 1)
        before = len(self.one.requests)
        self.assertEqual({client.fetch().status for _ in range(10)}, {200})
        self.assertEqual((len(self.one.requests), rig.metric("config_generation")), (before, generation))

    def test_a_reload_of_the_same_file_asks_again(self):
        rig = self.named()
        self.server.names["api.test"] = [SECOND]
        self.reload(rig)
        self.becomes(lambda: rig.fetch().status == 200 and bool(self.two.requests), True)
        self.assertEqual(rig.metric("config_generation"), 1)

    def ask_again(self, rig):
        """Reloads until the name has been asked about once more, both of its kinds of address: a question that is still
        under way is not asked twice."""
        asked = self.server.asked

        def both_kinds():
            self.reload(rig)
            return self.server.asked >= asked + 2

        eventually(both_kinds, "the name is asked about")

    def test_a_failed_refresh_keeps_the_last_addresses_and_is_told_once(self):
        rig = self.named()
        del self.server.names["api.test"]
        for _ in range(3):
            self.ask_again(rig)
        eventually(lambda: "does not resolve" in rig.proxy.stderr(), "a warning")
        self.assertEqual([rig.fetch().status for _ in range(3)], [200] * 3)
        self.server.names["api.test"] = [LOOPBACK]
        self.ask_again(rig)
        eventually(lambda: "resolves again" in rig.proxy.stderr(), "the good news")
        self.assertEqual(rig.proxy.stderr().count("does not resolve"), 1)

    def test_a_silent_resolver_delays_the_start_no_longer_than_the_timeout(self):
        self.server.silent = True
        begun = time.monotonic()
        rig = self.named(dns={"timeout": "200ms"})
        self.assertLess(time.monotonic() - begun, 5)
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "dns_failure"))
        self.server.silent = False
        self.becomes(lambda: rig.fetch().status, 200)

    def test_nothing_stands_still_for_a_silent_resolver(self):
        rig = self.named()
        self.server.silent = True
        asked = self.server.asked
        self.reload(rig)
        eventually(lambda: self.server.asked > asked, "the name is asked about")
        begun = time.monotonic()
        for target in ("/healthz", "/readyz", "/metrics", "/upstreams"):
            self.assertEqual(rig.proxy.call(target).status, 200)
        self.assertEqual(rig.fetch().status, 200)
        rig.proxy.stop()
        self.assertLess(time.monotonic() - begun, 1)  # before the resolver gives up

    def test_a_reload_waits_for_the_names_that_it_brings_and_the_others_wait_for_it(self):
        rig = self.named()
        self.server.names["new.test"] = [SECOND]
        rig.proxy.write(settings([f"new.test:{self.port}"]))
        self.reload(rig)
        self.assertEqual((rig.fetch().status, len(self.two.requests)), (200, 1))
        self.assertEqual([rig.proxy.call("/reload", "POST").status for _ in range(5)], [200] * 5)
        self.assertEqual(rig.metric("config_generation"), 2)

    def test_a_file_that_is_refused_changes_no_name(self):
        rig = self.named()
        rig.proxy.write("version: 2\n")
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 422)
        self.assertEqual(rig.fetch().status, 200)


if __name__ == "__main__":
    unittest.main()
