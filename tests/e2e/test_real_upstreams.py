"""The proxy between programs that it will stand between: curl in front of it, nginx and HAProxy behind it."""
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
import unittest

from harness import EndToEnd, eventually, retry
from wire import PATIENCE, Port

PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
NGINX, HAPROXY, CURL = (shutil.which(name, path=PATH) for name in ("nginx", "haproxy", "curl"))
BIG = 3_000_000

NGINX_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors info; worker_rlimit_nofile 1024;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 3; client_max_body_size 1k; default_type text/plain; root {folder};
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  gzip on; gzip_types text/plain; gzip_min_length 1; gzip_proxied any;
  server {{
    listen {address} reuseport;
    location = /ok {{ return 200 "nginx\\n"; }}
    location = /moved {{ return 302 /ok; }}
    location = /empty {{ return 204; }}
    location = /silent {{ return 444; }}
    location = /busy {{ return 503 "busy"; }}
    location = /slow {{ limit_rate 2m; alias {folder}/big; }}
  }}
}}
"""

HAPROXY_CONF = """
global
  nbthread 1
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 1s
  timeout http-request 1s
  timeout http-keep-alive 150ms
frontend main
  bind {address}
  http-request deny deny_status 403 if {{ path /deny }}
  http-request deny deny_status 503 if {{ path /busy }}
  http-request silent-drop if {{ path /drop }}
  http-request return status 200 content-type text/plain lf-string "%[req.hdr(host)] %[path]" hdr Connection close if {{ path /close }}
  http-request return status 200 content-type text/plain lf-string "%[req.hdr(host)] %[path]"
"""


class RealServer:
    """A server from the distribution on a port of ours."""

    def __init__(self, folder, conf, command):
        self._port = Port()
        self.name, self.faults, self.heads = self._port.name, [], []
        path = os.path.join(folder, "conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(conf.format(folder=folder, address=self.name))
        self._said = open(os.path.join(folder, "said"), "wb")
        self._command = [part.format(conf=path, folder=folder) for part in command]
        self.start()
        try:
            eventually(self._answers, "the server listens")
        except AssertionError:
            self.close()
            with open(os.path.join(folder, "said"), encoding="utf-8", errors="replace") as said:
                raise AssertionError(f"{command[0]} does not start: {said.read()}") from None

    def start(self):
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=self._said,
                                        stderr=subprocess.STDOUT)

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("it has ended")
        try:
            socket.create_connection(self._port.address, PATIENCE).close()
            return True
        except ConnectionRefusedError:
            return False

    def close(self):
        self.process.kill()
        self.process.wait()
        self._said.close()
        self._port.close()


class RealUpstream(EndToEnd):
    def nginx(self, **config):
        folder = self.folder()
        os.chmod(folder, 0o755)
        self.content = bytes(range(256)) * (BIG // 256)
        with open(os.path.join(folder, "big"), "wb") as file:
            file.write(self.content)
        with open(os.path.join(folder, "text"), "wb") as file:
            file.write(b"many words " * 2000)
        return self.rig(servers=[RealServer(folder, "user root;\n" * (os.geteuid() == 0) + NGINX_CONF,
                                            [NGINX, "-p", "{folder}", "-c", "{conf}", "-e", "stderr"])], **config)

    def haproxy(self, **config):
        return self.rig(servers=[RealServer(self.folder(), HAPROXY_CONF, [HAPROXY, "-db", "-f", "{conf}"])], **config)


@unittest.skipUnless(NGINX, "nginx is not installed (deploy/packages: tests)")
class Nginx(RealUpstream):
    def test_answers_of_every_shape(self):
        rig = self.nginx()
        client = rig.client()
        self.assertEqual([(r.status, r.body) for r in (client.fetch("GET", "/ok"), client.fetch("HEAD", "/ok"),
                                                       client.fetch("GET", "/empty"))],
                         [(200, b"nginx\n"), (200, b""), (204, b"")])
        self.assertEqual([client.fetch("GET", path).status for path in ("/moved", "/none", "/busy")], [302, 404, 503])
        self.assertEqual(client.fetch("GET", "/big").body, self.content)
        part = client.fetch("GET", "/big", [("Range", "bytes=1000000-1000099")])
        self.assertEqual((part.status, part.body), (206, self.content[1000000:1000100]))
        self.assertEqual(client.fetch("GET", "/big", [("If-None-Match", part.get("ETag"))]).status, 304)

    def test_a_chunked_answer_stays_whole(self):
        rig = self.nginx()
        response = rig.fetch("GET", "/text", [("Accept-Encoding", "gzip")])
        self.assertEqual((response.status, response.get("Content-Encoding"), response.get("Transfer-Encoding")),
                         (200, "gzip", "chunked"))

    def test_connections_are_used_as_long_as_the_server_lets_them(self):
        # nginx closes each after three requests, and says so.
        rig = self.nginx()
        client = rig.client()
        self.assertEqual([client.fetch("GET", "/ok").status for _ in range(30)], [200] * 30)
        self.becomes(lambda: rig.metric("upstream_connects_total", result="success"), 10)
        self.assertEqual(rig.metric("attempts_total", kind="reconnect"), 0)

    def test_a_body_that_is_too_large_there_is_answered_while_it_is_sent(self):
        rig = self.nginx()
        response = rig.fetch("POST", "/ok", body=b"x" * 500_000)
        self.assertEqual(response.status, 413)

    def test_a_connection_that_ends_without_an_answer(self):
        rig = self.nginx(policy=retry(2, budget="none"))
        response = rig.fetch("GET", "/silent")
        self.check(rig, response, 502, "closed_early", ["primary closed_early", "retry closed_early"],
                   stop="attempts_exhausted")

    def test_a_restart_under_requests_loses_none_that_may_be_sent_again(self):
        rig = self.nginx(policy=retry(5, budget="none", max_backoff="50ms", initial_backoff="20ms"))
        client = rig.client()
        before = [client.fetch("GET", "/ok").status for _ in range(5)]
        # All idle connections die at once; the listening socket is gone for a moment.
        rig.up.process.kill()
        rig.up.process.wait()
        thread = threading.Thread(target=rig.up.start)
        thread.start()
        statuses = []
        end = time.monotonic() + PATIENCE
        while statuses[-3:] != [200] * 3 and time.monotonic() < end:
            statuses.append(client.fetch("GET", "/ok").status)
        thread.join()
        self.assertEqual((before, statuses[-3:]), ([200] * 5, [200] * 3))
        self.assertTrue(set(statuses) <= {200, 502}, statuses)
        rig.close_clients()
        self.becomes(lambda: rig.proxy.metrics().held(), {})

    def test_a_slow_answer_goes_through_as_it_comes(self):
        rig = self.nginx()
        self.assertEqual(hashlib.sha256(rig.fetch("GET", "/slow").body).digest(), hashlib.sha256(self.content).digest())

    def test_it_answers_health_checks(self):
        rig = self.nginx(upstream={"health_check": {"path": "/ok", "interval": "100ms", "unhealthy_after": 2}})
        self.becomes(lambda: rig.metric("health_checks_total", result="success") >= 2, True)
        rig.up.process.kill()
        rig.up.process.wait()
        self.becomes(lambda: rig.metric("upstream_endpoints", state="unhealthy"), 1)


@unittest.skipUnless(HAPROXY, "haproxy is not installed (deploy/packages: tests)")
class HaProxy(RealUpstream):
    def test_answers(self):
        rig = self.haproxy(upstream={"host": "ha.test"})
        client = rig.client()
        self.assertEqual([(r.status, r.body) for r in (client.fetch("GET", "/a"), client.fetch("HEAD", "/a"))],
                         [(200, b"ha.test /a"), (200, b"")])
        self.assertEqual([client.fetch("GET", path).status for path in ("/deny", "/busy", "/close", "/b")],
                         [403, 503, 200, 200])
        self.assertEqual(client.fetch("POST", "/p", body=b"x" * 1000).status, 200)

    def test_a_rewritten_route_arrives_as_written(self):
        rig = self.haproxy(route={"match": {"path_prefix": "/api"}, "rewrite": {"prefix": "/v2", "host": "r.test"}})
        self.assertEqual(rig.fetch("GET", "/api/x?q=1").body, b"r.test /v2/x")

    def test_idle_connections_that_it_closes_cost_no_request(self):
        # It closes them after 150 ms, we would after 4 s.
        rig = self.haproxy()
        client = rig.client()
        for _ in range(3):
            self.assertEqual(client.fetch("GET", "/a").status, 200)
            self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 0)
        self.assertEqual(rig.metric("requests_total", reason="success"), 3)

    def test_a_dropped_connection_is_an_attempt_that_timed_out(self):
        rig = self.haproxy(policy=retry(2, budget="none", timeout_per_attempt="100ms"))
        response = rig.fetch("GET", "/drop")
        self.assertIn(response.status, (502, 504))
        self.assertEqual(rig.fetch("GET", "/a").status, 200)


@unittest.skipUnless(CURL and NGINX, "curl or nginx is not installed (deploy/packages: tests)")
class Curl(RealUpstream):
    def curl(self, rig, *arguments):
        done = subprocess.run([CURL, "-sS", "--max-time", "20", *arguments], capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def url(self, rig, path):
        return "http://%s:%d%s" % (*rig.proxy.address, path)

    def test_it_gets_what_the_server_has(self):
        rig = self.nginx()
        out = os.path.join(self.folder(), "big")
        for arguments in ([], ["-0"], ["--compressed"], ["--raw"], ["-H", "Connection: close"]):
            with self.subTest(arguments):
                self.curl(rig, *arguments, "-o", out, self.url(rig, "/big"))
                with open(out, "rb") as file:
                    self.assertEqual(file.read(), self.content)
        self.assertIn(b"HTTP/1.1 200", self.curl(rig, "-I", self.url(rig, "/ok")))
        self.assertEqual(self.curl(rig, "-L", self.url(rig, "/moved")), b"nginx\n")
        text = self.curl(rig, "--compressed", self.url(rig, "/text"))
        self.assertEqual(text, b"many words " * 2000)

    def test_it_uses_its_connection_again(self):
        rig = self.nginx()
        said = self.curl(rig, "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n",
                         *[self.url(rig, path) for path in ("/ok", "/none", "/ok")])
        self.assertEqual(said.split(), [b"200", b"1", b"404", b"0", b"200", b"0"])

    def test_it_waits_for_the_word_to_go_on_and_takes_a_refusal_for_an_answer(self):
        rig = self.nginx(limits={"max_request_body": "1MiB"})
        upload = os.path.join(self.folder(), "upload")
        with open(upload, "wb") as file:
            file.write(b"x" * 2_000_000)
        said = self.curl(rig, "-T", upload, "-H", "Expect: 100-continue", "-w", "\n%{http_code} %{size_upload}",
                         "-o", "/dev/null", self.url(rig, "/ok"))
        self.assertEqual(said.split(), [b"413", b"0"])

    def test_a_route_that_answers_by_itself(self):
        rig = self.nginx(routes=[{"match": {}, "policy": "t.Op",
                                  "respond": {"status": 503, "headers": {"Retry-After": "5"}, "body": "soon\n"}}])
        said = self.curl(rig, "-i", self.url(rig, "/any"))
        self.assertTrue(said.startswith(b"HTTP/1.1 503"))
        self.assertTrue(said.endswith(b"\r\n\r\nsoon\n"))
        self.assertIn(b"Retry-After: 5\r\n", said)


if __name__ == "__main__":
    unittest.main()
