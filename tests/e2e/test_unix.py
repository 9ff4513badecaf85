"""Unix sockets, for clients and for upstreams."""
import json
import os
import signal
import socket
import threading
import unittest

from harness import EndToEnd, eventually, retry, settings
from upstream import Answer, Upstream


class Listener(EndToEnd):
    def listening(self, script=(), path=None, **config):
        path = path or os.path.join(self.folder(), "in.sock")
        return self.rig(script, listener={"listen": "unix:" + path}, **config), path

    def test_it_is_served_and_named_in_the_ready_line(self):
        rig, path = self.listening()
        self.assertEqual(rig.proxy.ready["listeners"]["main"], "unix:" + path)
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(rig.proxy.json("/config")["config"]["listeners"][0]["listen"], "unix:" + path)

    def test_a_client_has_no_address_to_pass_on_and_is_believed(self):
        rig, _ = self.listening()
        rig.fetch()
        self.assertEqual(rig.heads()[0].get("X-Forwarded-For"), None)
        self.assertEqual(rig.heads()[0].get("X-Forwarded-Proto"), "http")
        rig.fetch(headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https",
                           "X-Request-Priority": "critical"})
        seen = rig.heads()[1]
        self.assertEqual((seen.get("X-Forwarded-For"), seen.get("X-Forwarded-Proto"), seen.get("X-Request-Priority")),
                         ("192.0.2.1", "https", "critical"))

    def test_clients_of_a_socket_share_one_limit_by_address(self):
        rig, _ = self.listening(policy={"rate_limit": {"requests": 1, "per": "1h", "key": "client_ip"}})
        self.assertEqual([rig.fetch().status, rig.fetch().status], [200, 429])

    def test_connections_are_spread_over_the_workers(self):
        rig, _ = self.listening()
        clients = [rig.client() for _ in range(8)]
        for client in clients:
            self.assertEqual(client.fetch().status, 200)
        # One worker alone would need no more than one upstream connection for requests one after the other.
        self.assertEqual(rig.metric("upstream_connects_total", result="success"), 2)
        self.assertEqual(rig.metric("downstream_connections", listener="main"), 8)

    def test_the_file_goes_when_the_process_ends(self):
        rig, path = self.listening()
        self.assertTrue(os.path.exists(path))
        rig.proxy.stop()
        self.assertFalse(os.path.exists(path))

    def test_a_second_signal_leaves_no_file_either(self):
        rig, path = self.listening(drain={"delay": "10m", "grace": "1s"})
        rig.proxy.send(signal.SIGTERM)
        eventually(lambda: rig.proxy.call("/readyz").status == 503, "it drains")
        rig.proxy.stop(expect=143)
        self.assertFalse(os.path.exists(path))

    def test_a_file_that_a_killed_process_left_behind_gives_way(self):
        rig, path = self.listening()
        rig.proxy.process.kill()
        rig.proxy.wait()
        self.assertTrue(os.path.exists(path))
        again, _ = self.listening(path=path)
        self.assertEqual(again.fetch().status, 200)

    def test_a_socket_in_use_and_a_file_that_is_none_are_left_alone(self):
        rig, path = self.listening()
        plain = path + ".txt"
        with open(plain, "w", encoding="ascii") as file:
            file.write("mine")
        for taken in (path, plain):
            proxy = self.start(settings(["127.0.0.1:9"], listener={"listen": "unix:" + taken}))
            self.assertEqual(proxy.wait(), 1)
            self.assertIn(f"listener main: cannot listen on unix:{taken}: Address already in use", proxy.stderr())
        with open(plain, encoding="ascii") as file:
            self.assertEqual(file.read(), "mine")
        self.assertEqual(rig.fetch().status, 200)

    def test_while_draining_it_accepts_as_long_as_anything_is_in_flight(self):
        release = threading.Event()
        rig, path = self.listening([Answer(hold=release)], drain={"delay": "0s", "grace": "10s"})
        busy = rig.client().ask()
        eventually(rig.heads, "the request arrives")
        rig.proxy.send(signal.SIGTERM)
        eventually(lambda: rig.metric("draining"), "it drains")
        late = rig.fetch()
        self.assertEqual((late.status, late.get("Connection")), (200, "close"))
        release.set()
        self.assertEqual(busy.response().status, 200)
        rig.close_clients()
        self.assertEqual(rig.proxy.wait(), 0)
        self.assertFalse(os.path.exists(path))

    def test_a_changed_path_needs_a_restart_and_says_so(self):
        rig, path = self.listening()
        config = settings([rig.up.name], listener={"listen": "unix:" + path + "2"})
        rig.proxy.write(config)
        answer = rig.proxy.call("/reload", "POST")
        self.assertEqual(answer.status, 422)
        self.assertIn("listeners: a change needs a restart", json.loads(answer.body)["errors"])
        self.assertEqual(rig.fetch().status, 200)


class Endpoint(EndToEnd):
    def up(self, script=()):
        return Upstream(script, path=os.path.join(self.folder(), "up.sock"))

    def test_requests_go_there_over_kept_connections(self):
        up = self.up()
        rig = self.rig(servers=[up])
        for _ in range(3):
            response = rig.fetch()
            self.assertEqual(response.status, 200)
        timeline = rig.timeline(response)
        self.assertEqual(timeline["attempts"][0]["endpoint"], up.name)
        self.assertLessEqual(len(up.connections), 2)
        self.assertEqual(rig.proxy.json("/upstreams")["upstreams"][0]["endpoints"][0]["address"], up.name)

    def test_a_path_that_nobody_serves_is_refused_and_another_endpoint_takes_over(self):
        folder = self.folder()
        up = self.up()
        rig = self.rig(servers=[up], endpoints=["unix:" + os.path.join(folder, "none.sock"), up.name],
                       upstream={"balance": "round_robin"}, policy=retry(2))
        for _ in range(4):
            self.assertEqual(rig.fetch().status, 200)
        self.assertGreater(rig.metric("upstream_connects_total", result="connect_refused"), 0)

    def test_a_full_backlog_is_a_failure_to_connect(self):
        path = os.path.join(self.folder(), "full.sock")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(path)
        rig = self.rig(servers=[], endpoints=["unix:" + path])
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "connect_error"))

    def test_a_relative_path_is_refused(self):
        proxy = self.start(settings(["unix:up.sock"]))
        self.assertEqual(proxy.wait(), 1)
        self.assertIn("must be unix: and the absolute path of a socket", proxy.stderr())


if __name__ == "__main__":
    unittest.main()
