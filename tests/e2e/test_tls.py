"""TLS, for clients and for upstreams, against Python's ssl, OpenSSL's s_client and curl."""
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

from certificates import Authority, openssl
from client import Client, request
from harness import EndToEnd, eventually, retry, settings
from upstream import OK, Answer, Upstream, blocks
from websocket import asking, switch
from wire import PATIENCE, Truncated


class Secure(EndToEnd):
    @classmethod
    def setUpClass(cls):

        cls.home = tempfile.mkdtemp(prefix="outrigger-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.home)
        cls.ca = Authority(cls.home)
        cls.other = Authority(cls.home, "Other CA")
        cls.server = cls.ca.issue()

    def tls_rig(self, script=(), listener=None, tls=None, **more):
        """A rig whose listener speaks TLS."""
        return self.rig(script, listener={"tls": {**self.server.keys(), **(tls or {})}, **(listener or {})}, **more)

    def connect(self, rig, context=None, **more):
        client = Client(rig.proxy.address, tls=context or self.ca.client(), **more)
        self.addCleanup(client.close)
        return client

    def fails(self, rig, error, count=1):
        """Waits until the proxy has counted and logged that many failed handshakes, the last for that reason."""
        self.becomes(lambda: rig.metric("downstream_rejected_total", reason="tls_failure"), count)
        eventually(lambda: error in rig.proxy.stderr(), f"the log says {error!r}")
        self.assertIn("TLS with a client failed", rig.proxy.stderr())


class Clients(Secure):
    def test_requests_are_served_and_marked(self):
        rig = self.tls_rig()
        client = self.connect(rig)
        for _ in range(3):
            self.assertEqual(client.fetch().status, 200)
        self.assertEqual(client.sock.version(), "TLSv1.3")
        self.assertEqual(rig.heads()[0].get("X-Forwarded-Proto"), "https")
        self.assertEqual(rig.heads()[0].get("X-Forwarded-Client-Cert"), None)

    def test_a_client_of_a_tunnel_may_end_its_side_without_saying_so(self):
        def reply(connection, stream):
            while stream.fill():
                pass
            connection.sock.sendall(bytes(stream.buffer).upper())
        rig = self.tls_rig(lambda request: Answer(raw=switch(request), then=reply))
        client = self.connect(rig).ask(headers=asking())
        answer = client.begin()
        client.send(b"all of it")
        socket.socket.shutdown(client.sock, socket.SHUT_WR)  # ssl's own would take the other direction for plain text
        self.assertEqual(client.ending(), ("fin", b"ALL OF IT"))
        self.assertEqual(rig.timeline(answer)["reason"], "success")

    def test_large_bodies_pass_both_ways(self):
        rig = self.tls_rig([Answer(echo=True)])
        body = b"".join(blocks(3_000_000))
        client = self.connect(rig)
        threading.Thread(target=lambda: client.ask("POST", body=body), daemon=True).start()
        eventually(rig.heads, "the request arrives")
        self.assertEqual(hashlib.sha256(client.response("POST").body).digest(), hashlib.sha256(body).digest())

    def test_pipelined_requests_in_one_record_are_answered_in_order(self):
        rig = self.tls_rig(lambda request: Answer(body=request.target.encode()))
        client = self.connect(rig)
        client.send(b"".join(request(target=f"/{i}") for i in range(5)))
        self.assertEqual([client.response().body for _ in range(5)], [b"/%d" % i for i in range(5)])

    def test_a_close_is_said_with_close_notify(self):
        rig = self.tls_rig()
        client = self.connect(rig)
        self.assertEqual(client.fetch(headers={"Connection": "close"}).status, 200)
        self.assertEqual(client.ending(), ("fin", b""))  # an end without it would be an ssl.SSLEOFError

    def test_a_close_delimited_answer_to_an_old_client_is_ended_by_close_notify_or_not_at_all(self):
        rig = self.tls_rig([Answer(framing="close", body=b"whole", end="fin"),
                            Answer(framing="chunked", headers=[], raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
                                   b"\r\n\r\n4\r\nhalf\r\n", end="fin")])
        client = self.connect(rig)
        client.send(request(version="HTTP/1.0"))
        self.assertEqual(client.response().body, b"whole")
        client = self.connect(rig)
        client.send(request(version="HTTP/1.0"))
        with self.assertRaises((ssl.SSLEOFError, ConnectionResetError)):
            client.response()

    def test_alpn_is_http_1_1_or_nothing(self):
        rig = self.tls_rig()
        for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (None, None)):
            context = self.ca.client()
            if offered:
                context.set_alpn_protocols(offered)
            client = self.connect(rig, context)
            self.assertEqual(client.sock.selected_alpn_protocol(), chosen)
            self.assertEqual(client.fetch().status, 200)
        context = self.ca.client()
        context.set_alpn_protocols(["h2"])
        with self.assertRaises(ssl.SSLError):
            self.connect(rig, context)
        self.fails(rig, "no application protocol")

    def test_old_versions_are_refused(self):
        rig = self.tls_rig(tls={"min_version": "1.3"})
        context = self.ca.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(ssl.SSLError):
            self.connect(rig, context)
        self.fails(rig, "unsupported protocol")
        rig = self.tls_rig()
        client = self.connect(rig, context)
        self.assertEqual((client.sock.version(), client.fetch().status), ("TLSv1.2", 200))
        port = str(rig.proxy.address[1])
        # A client of the time of TLS 1.1 needs its ciphers, too.
        for version in ("-tls1", "-tls1_1"):
            said = subprocess.run(["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect",
                                   "127.0.0.1:" + port], input=b"", capture_output=True, timeout=PATIENCE)
            self.assertNotEqual(said.returncode, 0)
        self.fails(rig, "unsupported protocol", count=2)

    def test_a_session_is_taken_up_again_also_after_a_reload(self):
        rig = self.tls_rig()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.ca.client()
            context.maximum_version = context.minimum_version = version
            client = self.connect(rig, context)
            client.fetch()
            session = client.sock.session
            self.assertFalse(client.sock.session_reused)
            config = settings([rig.up.name], listener={"tls": self.server.keys(), "debug_headers":
                                                       version == ssl.TLSVersion.TLSv1_2})
            rig.proxy.write(config)
            self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
            with socket.create_connection(rig.proxy.address, PATIENCE) as plain, \
                    context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
                again.sendall(request(headers=[("Connection", "close")]))
                self.assertTrue(again.recv(100).startswith(b"HTTP/1.1 200"))
                self.assertTrue(again.session_reused, version)

    def test_no_renegotiation(self):
        rig = self.tls_rig()
        port = str(rig.proxy.address[1])
        said = subprocess.run(["openssl", "s_client", "-tls1_2", "-CAfile", self.ca.certificate, "-connect",
                               "127.0.0.1:" + port], input=b"R\n", capture_output=True, timeout=PATIENCE)
        self.assertIn(b"no renegotiation", said.stderr)

    # ---- certificates of clients

    def test_a_client_certificate_is_checked_and_passed_on(self):
        rig = self.tls_rig(tls={"client_ca": self.ca.certificate})
        mine = self.ca.issue('the "client"', names="DNS:c")
        client = self.connect(rig, self.ca.client(mine))
        response = client.fetch(headers={"X-Forwarded-Client-Cert": "forged"})
        self.assertEqual(response.status, 200)
        with open(mine.certificate, encoding="ascii") as file:
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()
        self.assertEqual(rig.heads()[0].all("X-Forwarded-Client-Cert"),
                         [f'Hash={digest};Subject="CN=the \\"client\\""'])

    def test_without_a_good_certificate_nobody_comes_in(self):
        rig = self.tls_rig(tls={"client_ca": self.ca.certificate})
        cases = ((None, "peer did not return a certificate"),
                 (self.other.issue("stranger"), "certificate verify failed"),
                 (self.ca.issue("late", until=-60, since=-7200), "certificate has expired"))
        for count, (identity, error) in enumerate(cases, 1):
            with self.assertRaises((ssl.SSLError, ConnectionResetError, Truncated)):
                self.connect(rig, self.ca.client(identity)).fetch()
            self.fails(rig, error, count)
        self.assertEqual(rig.heads(), [])

    # ---- what is no handshake

    def test_plain_bytes_get_no_answer_and_harm_nobody(self):
        rig = self.tls_rig()
        with self.assertRaises((Truncated, ConnectionResetError)):
            Client(rig.proxy.address).fetch()
        self.fails(rig, "http request")
        self.assertEqual(self.connect(rig).fetch().status, 200)

    def test_tls_to_a_plain_port_is_a_bad_request(self):
        rig = self.rig()
        with self.assertRaises(ssl.SSLError):
            self.connect(rig)
        self.becomes(lambda: rig.metric("downstream_rejected_total", reason="bad_request"), 1)

    def test_a_handshake_has_as_long_as_a_head(self):
        rig = self.tls_rig(listener={"limits": {"head_timeout": "100ms"}})
        with socket.create_connection(rig.proxy.address, PATIENCE) as silent:
            self.assertEqual(silent.recv(1), b"")
        self.fails(rig, "not done in time")

    def test_those_under_way_count_as_connections(self):
        rig = self.tls_rig(listener={"limits": {"max_connections": 2, "head_timeout": "1h"}})
        silent = [socket.create_connection(rig.proxy.address, PATIENCE) for _ in range(2)]
        eventually(lambda: rig.metric("downstream_rejected_total", reason="pool_full"), "the listener pauses")
        for sock in silent:
            sock.close()
        self.fails(rig, "closed during the handshake", 2)
        self.assertEqual(self.connect(rig).fetch().status, 200)

    def test_a_drain_leaves_them_a_second_and_no_more(self):
        rig = self.tls_rig(listener={"limits": {"head_timeout": "1h"}}, drain={"delay": "0s", "grace": "1h"})
        with socket.create_connection(rig.proxy.address, PATIENCE) as silent:
            # Who came behind it has left: but for the handshake all is quiet.
            client = self.connect(rig)
            self.assertEqual(client.fetch().status, 200)
            client.close()
            self.becomes(lambda: rig.metric("downstream_connections", listener="main"), 0)
            began = time.monotonic()
            rig.proxy.send(15)
            self.assertEqual(silent.recv(1), b"")
            self.assertGreaterEqual(time.monotonic() - began, 0.9)
        self.assertEqual(rig.proxy.wait(), 0)

    def test_bytes_that_come_with_the_end_of_the_handshake_are_served(self):
        rig = self.tls_rig()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.ca.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(rig.proxy.address, PATIENCE) as sock:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
            tls.write(request(headers=[("Connection", "close")]))
            sock.sendall(outgoing.read())  # the client's Finished and the request in one piece
            while True:
                try:
                    self.assertTrue(tls.read(100).startswith(b"HTTP/1.1 200"))
                    break
                except ssl.SSLWantReadError:
                    incoming.write(sock.recv(65536))

    def test_curl_is_content(self):
        rig = self.tls_rig()
        said = subprocess.run(["curl", "-sS", "--cacert", self.ca.certificate, "--resolve",
                               f"localhost:{rig.proxy.address[1]}:127.0.0.1",
                               f"https://localhost:{rig.proxy.address[1]}/"], capture_output=True, timeout=PATIENCE)
        self.assertEqual((said.returncode, said.stdout, said.stderr), (0, b"ok", b""))

    # ---- reload

    def reloaded(self, rig, **tls):
        rig.proxy.write(settings([rig.up.name], listener={"tls": tls}))
        return rig.proxy.call("/reload", "POST")

    def shown_serial(self, rig):
        return self.connect(rig).sock.getpeercert()["serialNumber"]

    def test_the_files_are_read_again_and_old_connections_stay(self):
        certificate, key = (os.path.join(self.folder(), name) for name in ("c.pem", "k.pem"))
        shutil.copy(self.server.certificate, certificate)
        shutil.copy(self.server.key, key)
        rig = self.rig(listener={"tls": {"certificate": certificate, "private_key": key}})
        old = self.connect(rig)
        before = old.sock.getpeercert()["serialNumber"]
        expiry = rig.metric("tls_certificate_expiry_timestamp_seconds", listener="main")
        self.assertEqual(expiry, ssl.cert_time_to_seconds(old.sock.getpeercert()["notAfter"]))
        fresh = self.ca.issue(until=7200)
        shutil.copy(fresh.certificate, certificate)
        shutil.copy(fresh.key, key)
        answer = rig.proxy.call("/reload", "POST")
        self.assertEqual((answer.status, json.loads(answer.body)["generation"]), (200, 2))
        self.assertNotEqual(self.shown_serial(rig), before)
        self.assertGreater(rig.metric("tls_certificate_expiry_timestamp_seconds", listener="main"), expiry + 3000)
        self.assertEqual(old.fetch().status, 200)

    def test_a_bad_file_refuses_the_reload_and_the_old_one_stays(self):
        rig = self.tls_rig()
        before = self.shown_serial(rig)
        missing = os.path.join(self.home, "missing.pem")
        rsa = os.path.join(self.home, "rsa.pem")
        openssl("genrsa", "-out", rsa, "2048")
        for tls, words in (
                ({"certificate": missing, "private_key": self.server.key}, f"{missing} cannot be read: no such file"),
                ({"certificate": self.server.key, "private_key": self.server.key}, "has no certificate in PEM form"),
                ({"certificate": self.server.certificate, "private_key": self.ca.issue().key},
                 "listeners[0].tls.private_key: "),
                ({"certificate": self.server.certificate, "private_key": rsa}, "key type mismatch")):
            answer = self.reloaded(rig, **tls)
            self.assertEqual(answer.status, 422)
            (error,) = json.loads(answer.body)["errors"]
            self.assertIn(words, error)
            self.assertRegex(error, r"^\S+/outrigger\.yaml:\d+:\d+: error: listeners\[0\]\.tls\.")
            self.assertEqual(self.shown_serial(rig), before)

    def test_a_bad_file_at_the_start_and_in_a_check_is_told_alike(self):
        config = settings(["127.0.0.1:9"], listener={"tls": {"certificate": self.server.certificate,
                                                             "private_key": self.ca.issue().key}})
        for arguments in (("run", "--config", "{config}"), ("check", "{config}")):
            proxy = self.start(config, arguments=arguments)
            self.assertEqual(proxy.wait(), 1)
            self.assertRegex(proxy.stderr(), r"outrigger\.yaml:\d+:\d+: error: listeners\[0\]\.tls\.private_key: .* does "
                                             r"not belong to the certificate: key values mismatch")

    def test_the_configuration_shows_names_of_files_and_nothing_of_what_is_in_them(self):
        rig = self.tls_rig()
        shown = rig.proxy.call("/config").body.decode()
        self.assertIn(self.server.key, shown)
        self.assertNotIn("BEGIN", shown)


class Upstreams(Secure):
    def up(self, script=(), identity=None, asking=False):
        return Upstream(script, tls=self.ca.server(identity or self.server, asking))

    def before_up(self, up, tls=None, name="localhost", **more):
        """A rig before a server that speaks TLS, which it knows by that name."""
        endpoint = f"{name}:{up.address[1]}"
        return self.rig(servers=[up], endpoints=[endpoint],
                        upstream={"tls": {"ca": self.ca.certificate} if tls is None else tls, **more.pop("upstream", {})},
                        **more)

    def fails(self, rig, error, status=502):
        response = rig.fetch()
        timeline = self.check(rig, response, status, "tls_failure", ["primary tls_failure"], "attempts_exhausted")
        self.assertGreater(rig.metric("upstream_connects_total", result="tls_failure"), 0)
        eventually(lambda: error in rig.proxy.stderr(), f"the log says {error!r}")
        return timeline

    def test_requests_go_over_kept_connections_and_sessions_are_taken_up_again(self):
        up = self.up(lambda request: Answer(body=b"ok", end="notify" if request.target == "/close" else "keep",
                                            headers=[("Connection", "close")] if request.target == "/close" else []))
        names = []
        up._tls.sni_callback = lambda sock, name, context: names.append((name, sock.session_reused))
        rig = self.before_up(up, workers=1)
        client = rig.client()
        for _ in range(3):
            self.assertEqual(client.fetch().status, 200)
        self.assertEqual(len(up.connections), 1)
        client.fetch(target="/close")
        response = client.fetch()
        self.assertEqual(response.status, 200)
        self.assertEqual(len(up.connections), 2)
        self.assertEqual([name for name, _ in names], ["localhost"] * 2)
        self.assertTrue(up.connections[1].sock.session_reused)

    def test_large_bodies_pass_both_ways(self):
        up = self.up([Answer(echo=True)])
        rig = self.before_up(up)
        body = b"".join(blocks(3_000_000))
        client = rig.client()
        threading.Thread(target=lambda: client.ask("POST", body=body), daemon=True).start()
        eventually(rig.heads, "the request arrives")
        self.assertEqual(hashlib.sha256(client.response("POST").body).digest(), hashlib.sha256(body).digest())

    def test_a_certificate_is_refused_for_what_is_wrong_with_it(self):
        for identity, tls, name, error in (
                (self.ca.issue(since=-7200, until=-60), None, "localhost", "certificate has expired"),
                (self.ca.issue(names="DNS:example.com"), None, "localhost", "hostname mismatch"),
                (self.ca.issue(names="DNS:localhost"), None, "127.0.0.1", "IP address mismatch"),
                (self.server, {"ca": self.other.certificate}, "localhost", "unable to get local issuer certificate"),
                (self.server, {}, "localhost", "unable to get local issuer certificate")):
            with self.subTest(error):
                up = self.up(identity=identity)
                rig = self.before_up(up, tls, name)
                self.fails(rig, "certificate verify failed: " + error)
                self.assertEqual(rig.heads(), [])

    def test_an_address_is_checked_as_one_and_a_name_can_be_given(self):
        rig = self.before_up(self.up(), name="127.0.0.1")
        self.assertEqual(rig.fetch().status, 200)
        up = self.up(identity=self.ca.issue(names="DNS:api.example.com"))
        rig = self.before_up(up, {"ca": self.ca.certificate, "sni": "api.example.com"})
        self.assertEqual(rig.fetch().status, 200)

    def test_without_verification_any_certificate_will_do_and_the_file_is_warned_about(self):
        up = self.up(identity=self.other.issue(names="DNS:x", since=-7200, until=-60))
        rig = self.before_up(up, {"verify": False})
        self.assertEqual(rig.fetch().status, 200)
        self.assertIn("warning: upstreams.up.tls.verify: ", rig.proxy.stderr())

    def test_our_certificate_is_shown_where_one_is_asked_for(self):
        mine = self.ca.issue("proxy")
        up = self.up(asking=True)
        rig = self.before_up(up, {"ca": self.ca.certificate, **mine.keys()})
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(dict(part[0] for part in up.connections[0].sock.getpeercert()["subject"])["commonName"], "proxy")
        self.assertGreater(rig.metric("tls_certificate_expiry_timestamp_seconds", upstream="up"), 0)

    def test_a_server_that_wants_a_certificate_we_do_not_have(self):
        up = self.up(asking=True)
        rig = self.before_up(up)
        response = rig.fetch()
        self.assertEqual(response.status, 502)
        self.assertIn(response.get("X-Outrigger-Reason"), ("tls_failure", "reset"))

    def test_a_server_that_speaks_no_tls(self):
        up = Upstream(lambda request: OK)
        plain = socket.socket()
        self.addCleanup(plain.close)
        plain.bind(("127.0.0.1", 0))
        plain.listen()
        def refuse():
            sock, _ = plain.accept()
            sock.recv(10000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            sock.close()
        threading.Thread(target=refuse, daemon=True).start()
        rig = self.rig(servers=[up], endpoints=["localhost:%d" % plain.getsockname()[1]],
                       upstream={"tls": {"ca": self.ca.certificate}})
        self.fails(rig, "wrong version number")

    def test_a_server_that_resets_in_the_middle_of_the_handshake(self):
        server = socket.socket()
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.listen()
        def reset():
            sock, _ = server.accept()
            sock.recv(1)  # the rest of it makes the end a reset
            sock.close()
        threading.Thread(target=reset, daemon=True).start()
        rig = self.rig(servers=[], endpoints=["localhost:%d" % server.getsockname()[1]],
                       upstream={"tls": {"ca": self.ca.certificate}})
        self.fails(rig, "Connection reset by peer")

    def test_a_server_that_does_not_answer_the_handshake_is_given_up_in_time(self):
        silent = socket.socket()
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        rig = self.rig(servers=[], endpoints=["127.0.0.1:%d" % silent.getsockname()[1]],
                       upstream={"connect_timeout": "200ms", "tls": {"ca": self.ca.certificate}})
        response = rig.fetch()
        self.check(rig, response, 504, "connect_timeout", ["primary connect_timeout"], "attempts_exhausted")
        self.assertEqual(rig.metric("upstream_connects_total", result="connect_timeout"), 1)

    def test_a_handshake_that_fails_is_tried_again_elsewhere(self):
        bad, good = self.up(identity=self.other.issue()), self.up()
        rig = self.rig(servers=[bad, good], endpoints=[f"localhost:{up.address[1]}" for up in (bad, good)],
                       upstream={"balance": "round_robin", "tls": {"ca": self.ca.certificate}},
                       policy=retry(2))
        self.assertEqual([rig.fetch(method="POST", body=b"x").status for _ in range(4)], [200] * 4)
        self.assertEqual(bad.heads, [])

    def test_a_close_delimited_body_is_complete_only_with_close_notify(self):
        up = self.up([Answer(framing="close", body=b"whole", end="notify"),
                      Answer(framing="close", body=b"cut", end="fin")])
        rig = self.before_up(up)
        self.assertEqual(rig.fetch().body, b"whole")
        response = rig.client().ask()
        with self.assertRaises((Truncated, ConnectionResetError)):
            response.response()
        self.becomes(lambda: [t["reason"] for t in rig.proxy.timelines("?limit=1")], ["closed_early"])

    def test_what_travels_in_a_tunnel_is_delivered_though_its_end_is_not_said(self):
        sent = b"".join(blocks(1_000_000))
        up = self.up(lambda request: Answer(raw=switch(request), then=lambda connection, _: connection.sock.sendall(sent)))
        rig = self.before_up(up)
        client = rig.client(receive_buffer=8192).ask(headers=asking())
        answer = client.begin()
        self.becomes(lambda: up.connections[0].closed.is_set(), True)
        how, got = client.ending()
        client.close()
        self.assertEqual((how, len(got), got == sent), ("fin", len(sent), True))
        timeline = rig.timeline(answer)
        self.assertEqual((timeline["status"], timeline["reason"]), (101, "success"))

    def test_the_upstreams_certificate_authority_is_read_again(self):
        ca = os.path.join(self.folder(), "ca.pem")
        shutil.copy(self.other.certificate, ca)
        up = self.up()
        rig = self.before_up(up, {"ca": ca})
        self.fails(rig, "unable to get local issuer certificate")
        shutil.copy(self.ca.certificate, ca)
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
        self.assertEqual(rig.fetch().status, 200)
        shutil.copy(self.other.certificate, ca)
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
        self.assertEqual(rig.fetch().status, 502)  # the idle connection was made under the other one

    def test_health_checks_are_made_in_the_same_way(self):
        checks = {"path": "/health", "interval": "100ms", "healthy_after": 1, "unhealthy_after": 1}
        rig = self.before_up(self.up(), upstream={"health_check": checks})
        self.becomes(lambda: rig.metric("health_checks_total", result="success") >= 2, True)
        self.assertEqual(rig.metric("upstream_endpoints", state="healthy"), 1)
        self.assertEqual(rig.up.heads[0].get("Host"), rig.proxy.json("/upstreams")["upstreams"][0]["endpoints"][0][
            "address"].replace("127.0.0.1", "localhost").replace("[::1]", "localhost"))
        strange = self.before_up(self.up(), tls={"ca": self.other.certificate}, upstream={"health_check": checks})
        self.becomes(lambda: strange.metric("upstream_endpoints", state="unhealthy") >= 1, True)
        eventually(lambda: "TLS: " in strange.proxy.stderr(), "the log says why")
        self.assertIn("unable to get local issuer certificate", strange.proxy.stderr())

    def test_a_server_of_openssls_is_content(self):
        folder = self.folder()
        path = os.path.join(folder, "up.sock")
        # It gives up where the path that it is told has 32 bytes or more.
        server = subprocess.Popen(["openssl", "s_server", "-unix", "up.sock", "-www", "-cert", self.server.certificate,
                                   "-key", self.server.key], cwd=folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        rig = self.rig(servers=[], endpoints=["unix:" + path],
                       upstream={"tls": {"ca": self.ca.certificate, "sni": "localhost"}})
        eventually(lambda: (response := rig.fetch()).status == 200 and b"TLSv1.3" in response.body, "it answers")

    def test_over_a_unix_socket_the_name_must_be_given(self):
        path = os.path.join(self.folder(), "up.sock")
        up = Upstream(path=path, tls=self.ca.server(self.server))
        rig = self.rig(servers=[up], upstream={"tls": {"ca": self.ca.certificate, "sni": "localhost"}})
        self.assertEqual(rig.fetch().status, 200)
        proxy = self.start(settings([up.name], upstream={"tls": {"ca": self.ca.certificate}}))
        self.assertEqual(proxy.wait(), 1)
        self.assertIn("upstreams.up.tls: sni is required", proxy.stderr())


if __name__ == "__main__":
    unittest.main()
