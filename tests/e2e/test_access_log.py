"""The access log: one line per request, from the same facts as the timeline."""
import json
import os
import signal
import unittest

from client import Client
from harness import EndToEnd, retry
from upstream import unavailable

SCALARS = ("request_id", "duration_ms", "policy", "route", "listener", "method", "path", "priority", "outcome",
           "status", "reason", "termination", "bytes_in", "bytes_out")


class AccessLog(EndToEnd):
    def logged(self, script=(), policy=None, **log):
        """A rig that logs into a file of its own, and that file's path."""
        path = os.path.join(self.folder(), "access.log")
        telemetry = {"timelines": {"keep": 2048, "sample": "100%"}, "access_log": {"file": path, **log}}
        return self.rig(script, policy=policy, telemetry=telemetry), path

    @staticmethod
    def lines(path):
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def ids(self, path):
        return [line["request_id"] for line in self.lines(path)]

    def test_each_request_has_one_line_that_agrees_with_its_timeline(self):
        rig, path = self.logged([unavailable()], retry(2))
        client = rig.client()
        responses = [client.fetch("PUT", "/a?token=secret", body=b"12345"), client.fetch()]
        self.becomes(lambda: self.ids(path), [response.request_id for response in responses])
        line, timeline = self.lines(path)[0], rig.timeline(responses[0])
        self.assertEqual({name: line.get(name) for name in SCALARS}, {name: timeline[name] for name in SCALARS})
        self.assertEqual((line["status"], line["method"], len(line["attempts"])), (200, "PUT", 2))
        self.assertIn("flags", line)
        self.assertNotIn("secret", json.dumps(line))

    def test_refusals_and_departures_have_their_lines(self):
        rig, path = self.logged()
        self.refused(rig.raw(b"GET / HTTP/1.1\r\nX-A : 1\r\n\r\n"), 400, "bad_request")
        client = rig.client().ask("PUT", headers=[("Content-Length", "9"), ("X-Request-Id", "gone")], body=b"part")
        self.becomes(lambda: len(rig.up.heads), 1)
        client.close()
        self.becomes(lambda: {(line["reason"], line["status"]) for line in self.lines(path)},
                     {("bad_request", 400), ("client_disconnected", 499)})

    def test_a_named_header_that_has_no_room_leaves_a_mark(self):
        rig, path = self.logged(headers=["X-Tenant", "X-Long"])
        ids = [rig.fetch(headers=[("X-Tenant", "blue"), ("X-Long", size * "x")]).request_id for size in (200, 256)]
        self.becomes(lambda: len(self.lines(path)), 2)
        lines = {line["request_id"]: line for line in self.lines(path)}  # of two workers, in whatever order
        whole, cut = (lines[each] for each in ids)
        self.assertEqual((whole["headers"], whole.get("truncated")), ({"X-Tenant": "blue", "X-Long": 200 * "x"}, None))
        self.assertEqual((cut["headers"], cut.get("truncated")), ({"X-Tenant": "blue"}, True))

    def test_only_named_headers_are_written(self):
        rig, path = self.logged(headers=["X-Tenant"])
        response = rig.fetch(headers=[("X-Tenant", "blue"), ("X-Other", "hidden")])
        self.becomes(lambda: self.ids(path), [response.request_id])
        text = json.dumps(self.lines(path))
        self.assertIn("blue", text)
        self.assertNotIn("hidden", text)

    def test_a_path_cannot_forge_a_line(self):
        rig, path = self.logged()
        response = rig.fetch("GET", "/%0d%0a%22%7d", [("X-Request-Id", 'quote-"-here')])
        self.becomes(lambda: self.ids(path), ['quote-"-here'])
        self.assertEqual(response.status, 200)

    def test_the_file_is_reopened_on_request(self):
        rig, path = self.logged()
        first = rig.fetch().request_id
        self.becomes(lambda: self.ids(path), [first])
        os.rename(path, path + ".1")
        rig.proxy.send(signal.SIGUSR1)
        self.becomes(lambda: os.path.exists(path), True)
        second = rig.fetch().request_id
        self.becomes(lambda: (self.ids(path + ".1"), self.ids(path)), ([first], [second]))

    def test_stopping_loses_no_line(self):
        rig, path = self.logged()
        with Client(rig.proxy.address) as client:
            ids = [client.fetch().request_id for _ in range(200)]
        rig.proxy.stop()
        self.assertEqual(self.ids(path), ids)


if __name__ == "__main__":
    unittest.main()
