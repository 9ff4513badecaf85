"""Which route takes a request, and the form of the path that routes and upstreams agree on."""
import json
import unittest

from harness import EndToEnd


class Matching(EndToEnd):
    def routes(self, *matches, listeners=None):
        """A rig whose n-th match leads to policy route.N; anything else ends at no_route."""
        names = [f"route.{'ABCDEFGHIJ'[index]}" for index in range(len(matches))]
        more = {"listeners": listeners} if listeners else {}
        return self.rig(routes=[{"match": match, "policy": name, "upstream": "up"} for match,
                                name in zip(matches, names)],
                        policies={name: {} for name in names}, **more)

    def taken(self, rig, target="/", method="GET", headers=(), listener="main"):
        """The letter of the route that took the request, or None."""
        client = rig.client(listener)
        response = client.fetch(method, target, headers)
        timeline = rig.timeline(response)
        if response.status == 404:
            self.assertEqual(timeline["reason"], "no_route")
            return None
        self.assertEqual(response.status, 200)
        client.close()
        return timeline["policy"].split(".")[1]

    def expect(self, rig, cases):
        for asked, letter in cases:
            with self.subTest(asked):
                asked = asked if isinstance(asked, dict) else {"target": asked}
                self.assertEqual(self.taken(rig, **asked), letter)

    def test_the_first_match_wins(self):
        rig = self.routes({"path_prefix": "/a"}, {"path": "/a/b"}, {})
        self.expect(rig, [("/a/b", "A"), ("/c", "C")])

    def test_an_exact_path(self):
        self.expect(self.routes({"path": "/a"}),
                    [("/a", "A"), ("/a?x=1", "A"), ("/a/", None), ("/A", None), ("/ab", None)])

    def test_a_prefix_ends_at_a_segment(self):
        self.expect(self.routes({"path_prefix": "/api"}),
                    [("/api", "A"), ("/api/", "A"), ("/api/x/y", "A"), ("/api?q", "A"), ("/apix", None), ("/", None)])

    def test_templates(self):
        rig = self.routes({"path_template": "/users/{id}/orders"}, {"path_template": "/files/{rest...}"})
        self.expect(rig,
                    [("/users/7/orders", "A"), ("/users/7", None), ("/users/7/8/orders", None),
                     ("/users//orders", None),
                          ("/users/a%2Fb/orders", "A"), ("/files/a/b/c", "B"), ("/filesystem", None)])

    def test_regular_expressions_match_the_whole_path(self):
        rig = self.routes({"path_regex": "/v[0-9]+/x"})
        self.expect(rig, [("/v12/x", "A"), ("/v12/xy", None), ("/a/v1/x", None), ("/v/x", None)])

    def test_hosts(self):
        rig = self.routes({"host": "shop.test"}, {"host": "*.shop.test"})
        host = lambda name: {"headers": [("Host", name)]}
        self.expect(rig, [(host("shop.test"), "A"), (host("SHOP.test:8080"), "A"), (host("eu.Shop.test"), "B"),
                          (host("a.b.shop.test"), "B"), (host("myshop.test"), None), (host("other.test"), None)])

    def test_methods(self):
        rig = self.routes({"methods": ["POST", "PUT"]}, {"methods": ["GET"]})
        self.expect(rig, [({"method": "POST"}, "A"), ({"method": "GET"}, "B"), ({"method": "DELETE"}, None)])

    def test_headers(self):
        rig = self.routes({"headers": [{"name": "X-A", "equals": "1"}]}, {"headers": [{"name": "x-b", "prefix": "v"}]},
                          {"headers": [{"name": "X-C", "contains": "mid"}]},
                          {"headers": [{"name": "X-D", "regex": "[0-9]+"}]},
                          {"headers": [{"name": "X-E", "present": True}]},
                          {"headers": [{"name": "X-F", "present": False}]})
        with_f = lambda *fields: {"headers": [("X-F", "1"), *fields]}
        self.expect(rig, [(with_f(("x-a", "1")), "A"), (with_f(("X-A", "11")), None), (with_f(("X-B", "v2")), "B"),
                          (with_f(("X-C", "amidst")), "C"), (with_f(("X-D", "42")), "D"), (with_f(("X-E", "")), "E"),
                          (with_f(), None), ("/", "F")])

    def test_all_headers_of_a_match_are_needed(self):
        rig = self.routes({"headers": [{"name": "X-A", "equals": "1"}, {"name": "X-B", "equals": "2"}]})
        self.expect(rig, [({"headers": [("X-A", "1")]}, None), ({"headers": [("X-B", "2"), ("X-A", "1")]}, "A")])

    def test_queries(self):
        rig = self.routes({"query": [{"name": "a", "equals": "1"}]}, {"query": [{"name": "b", "present": True}]})
        self.expect(rig,
                    [("/?a=1", "A"), ("/?x=y&a=1", "A"), ("/?a=12", None), ("/?b", "B"), ("/?b=", "B"),
                     ("/?ab=1", None)])

    def test_listeners(self):
        listeners = [{"name": name, "listen": "127.0.0.1:0"} for name in ("in", "out", "third")]
        rig = self.routes({"listener": "in"}, {"listener": ["out"], "path": "/o"}, {"listener": "any", "path": "/any"},
                          listeners=listeners)
        self.expect(rig, [({"listener": "in"}, "A"), ({"listener": "out", "target": "/o"}, "B"),
                          ({"listener": "third", "target": "/o"}, None),
                          ({"listener": "third", "target": "/any"}, "C")])

    def test_no_route_is_told_and_counted(self):
        rig = self.routes({"path": "/known"})
        response = rig.fetch("GET", "/unknown")
        problem = json.loads(response.body)
        self.assertEqual((response.status, response.get("X-Outrigger-Reason"), response.get("Content-Type")),
                         (404, "no_route", "application/problem+json"))
        self.assertEqual((problem["reason"], problem["policy"], problem["request_id"]),
                         ("no_route", None, response.request_id))
        self.assertIn("error=destination_not_found", response.get("Proxy-Status"))
        self.assertEqual(rig.timeline(response)["outcome"], "rejected")
        self.becomes(lambda: rig.metric("requests_total", policy="_unrouted", reason="no_route", code="4xx"), 1)
        self.assertEqual(rig.up.heads, [])

    def test_no_route_leaves_the_connection_usable(self):
        rig = self.routes({"path": "/known"})
        client = rig.client()
        self.assertEqual([client.fetch("GET", path).status for path in ("/unknown", "/known")], [404, 200])


class Normalisation(EndToEnd):
    def test_the_path_is_matched_as_it_is_sent(self):
        rig = self.rig()
        for target, sent in [("/%41%7e", "/A~"), ("/a/./b/../c", "/a/c"), ("/a/%2e%2E/b", "/b"), ("//a//b", "//a//b"),
                             ("/a%2Fb", "/a%2Fb"), ("/a%5Cb", "/a%5Cb"), ("/a%20b", "/a%20b"), ("/a/..", "/"),
                             ("/?q=%41/../b", "/?q=%41/../b"), ("/a?q=%zz", "/a?q=%zz"), ("/a/.?x", "/a/?x"),
                             ("/%2d?", "/-?")]:
            with self.subTest(target):
                self.assertEqual(rig.fetch("GET", target).status, 200)
                self.assertEqual(rig.up.requests[-1].target, sent)

    def test_a_disguised_path_finds_the_same_route(self):
        rig = self.rig(route={"match": {"path": "/admin"}})
        for target, status in [("/admin", 200), ("/%61dmin", 200), ("/x/../admin", 200), ("/admin%2F", 404),
                               ("/x%2F..%2Fadmin", 404), ("//admin", 404)]:
            with self.subTest(target):
                self.assertEqual(rig.fetch("GET", target).status, status)

    def test_escaped_slashes_may_be_refused(self):
        rig = self.rig(limits={"escaped_slashes": "reject"})
        for target in ("/a%2Fb", "/a%2fb", "/a%5Cb"):
            self.refused(rig.client().ask("GET", target), 400, "bad_request", upstream_untouched=rig.up)
        self.assertEqual(rig.fetch("GET", "/a/b").status, 200)

    def test_options_may_ask_about_the_server_as_a_whole(self):
        rig = self.rig()
        self.assertEqual(rig.fetch("OPTIONS", "*").status, 200)
        self.assertEqual(rig.up.requests[0].target, "*")


if __name__ == "__main__":
    unittest.main()
