"""Upgrades: WebSocket through the proxy, from the handshake to the last byte of either side."""
import signal
import threading
import unittest

from harness import EndToEnd, retry, settled, story
from upstream import OK, RESET, Answer, Upstream, blocks
from websocket import BINARY, CLOSE, PING, PONG, TEXT, asking, echo, frame, receive, switch
from wire import BLOCK, SANITIZED, hang_up

MIB = 1024 * 1024
KERNEL = 40 * MIB   # what socket buffers on the way may swallow at their largest


def websocket_server(then=echo):
    return lambda request: Answer(raw=switch(request), then=then)


class Tunnels(EndToEnd):
    def tunnel(self, rig, **more):
        """A client whose upgrade was accepted, and the head of the 101."""
        client = rig.client(**more).ask("GET", "/chat", asking("dGhlIHNhbXBsZSBub25jZQ=="))
        answer = client.begin()
        self.assertEqual(answer.status, 101)
        return client, answer

    def ends(self, rig, answer, reason, termination):
        timeline = rig.timeline(answer)
        self.assertEqual((timeline["status"], timeline["reason"], timeline["termination"]), (101, reason, termination))
        return timeline

    # ---- the handshake, and bytes both ways

    def test_messages_are_echoed_and_the_tunnel_is_one_request(self):
        rig = self.rig(websocket_server())
        client, answer = self.tunnel(rig)
        self.assertEqual((answer.get("Upgrade"), answer.get("Connection"), answer.get("Sec-WebSocket-Accept")),
                         ("websocket", "Upgrade", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        asked = rig.up.heads[0]
        self.assertEqual((asked.get("Upgrade"), asked.get("Connection")), ("websocket", "Upgrade"))
        self.assertEqual(rig.metric("requests_in_flight"), 1)
        self.assertEqual(rig.metric("upstream_connections", state="active"), 1)
        sizes = 0
        for opcode, payload in ((TEXT, b"hello"), (BINARY, bytes(range(256)) * 4096), (PING, b"?"), (TEXT, b"")):
            data = frame(opcode, payload, masked=True)
            sender = threading.Thread(target=client.send, args=(data,))
            sender.start()
            self.assertEqual(receive(client.stream), (PONG if opcode == PING else opcode, payload))
            sender.join()
            sizes += len(data)
        client.send(frame(CLOSE, b"\x03\xe8", masked=True))
        self.assertEqual(receive(client.stream), (CLOSE, b"\x03\xe8"))
        client.half_close()
        self.assertEqual(client.ending(), ("fin", b""))
        timeline = self.ends(rig, answer, "success", "-a")
        self.assertEqual((story(timeline), timeline["outcome"]), (["primary success"], "ok"))
        self.assertEqual(timeline["bytes_in"], sizes + 8)
        self.assertGreater(timeline["bytes_out"], 256 * 4096)
        self.at_rest(rig)

    def test_frames_that_come_early_wait_for_the_switch(self):
        hold = threading.Event()
        rig = self.rig(lambda request: Answer(raw=switch(request), hold=hold, then=echo))
        client = rig.client().ask("GET", "/", asking())
        client.send(frame(TEXT, b"early", masked=True))
        self.becomes(lambda: len(rig.up.heads), 1)
        hold.set()
        self.assertEqual(client.begin().status, 101)
        self.assertEqual(receive(client.stream), (TEXT, b"early"))

    def test_hundreds_at_once(self):
        rig = self.rig(websocket_server(), websocket_server())
        tunnels = [self.tunnel(rig) for _ in range(200)]
        for number, (client, _) in enumerate(tunnels):
            client.send(frame(TEXT, b"%d" % number, masked=True))
        for number, (client, _) in enumerate(tunnels):
            self.assertEqual(receive(client.stream), (TEXT, b"%d" % number))
        self.assertEqual(rig.metric("requests_in_flight"), 200)
        for number, (client, _) in enumerate(tunnels):
            (client.close, client.reset)[number % 2]()
        self.at_rest(rig)

    # ---- its end

    def test_half_closing_passes_through_in_both_directions(self):
        def count(connection, stream):
            while stream.fill():
                pass
            connection.sock.sendall(b"%d bytes" % len(stream.buffer))

        rig = self.rig(websocket_server(count))
        client, answer = self.tunnel(rig)
        client.send(b"x" * 100_000)
        client.half_close()
        self.assertEqual(client.ending(), ("fin", b"100000 bytes"))
        self.assertEqual(self.ends(rig, answer, "success", "-a")["bytes_in"], 100_000)

        heard = []

        def speak_first(connection, stream):
            connection.sock.sendall(b"all I have")
            connection.sock.shutdown(1)
            while stream.fill():
                pass
            heard.append(bytes(stream.buffer))

        rig = self.rig(websocket_server(speak_first))
        client, answer = self.tunnel(rig)
        self.assertEqual(client.ending(), ("fin", b"all I have"))
        client.send(b"and I")
        client.half_close()
        self.becomes(lambda: heard, [b"and I"])
        self.ends(rig, answer, "success", "-a")

    def test_an_idle_tunnel_ends(self):
        rig = self.rig(websocket_server(), route={"tunnel_idle_timeout": "400ms"},
                       limits={"idle_timeout": "100ms", "body_idle_timeout": "100ms", "write_idle_timeout": "100ms"},
                       policy={"overall_timeout": "100ms"}, upstream={"read_idle_timeout": "100ms"})
        client, answer = self.tunnel(rig)
        client.send(frame(TEXT, b"hi", masked=True))
        self.assertEqual(receive(client.stream), (TEXT, b"hi"))
        self.assertEqual(client.ending(), ("reset", b""))
        self.assertGreaterEqual(self.ends(rig, answer, "tunnel_idle", "P9")["duration_ms"], 400)
        self.given_up(rig.up.connections[0])

    def test_an_upstream_that_dies_does_not_look_like_one_that_is_done(self):
        def die(connection, stream):
            stream.fill()
            hang_up(connection.sock, "reset")

        rig = self.rig(websocket_server(die))
        client, answer = self.tunnel(rig)
        client.send(b"x")
        self.assertEqual(client.ending(), ("reset", b""))
        self.ends(rig, answer, "reset", "U9")

    def test_a_client_that_dies_takes_its_tunnel_with_it(self):
        rig = self.rig(websocket_server())
        client, answer = self.tunnel(rig)
        client.reset()
        self.ends(rig, answer, "client_disconnected", "D9")
        self.given_up(rig.up.connections[0])

    def test_a_drain_waits_for_tunnels_until_its_grace_is_over(self):
        rig = self.rig(websocket_server(), drain={"delay": "0s", "grace": "1s"})
        client, _ = self.tunnel(rig)
        rig.proxy.send(signal.SIGTERM)
        self.becomes(lambda: rig.proxy.call("/readyz").status, 503)
        client.send(frame(TEXT, b"still there", masked=True))
        self.assertEqual(receive(client.stream), (TEXT, b"still there"))
        self.assertEqual(client.ending(), ("reset", b""))
        self.assertEqual(rig.proxy.wait(), 0)

    def test_a_drain_is_over_when_its_tunnels_are(self):
        rig = self.rig(websocket_server(), drain={"delay": "0s", "grace": "1h"})
        client, _ = self.tunnel(rig)
        rig.proxy.send(signal.SIGTERM)
        self.becomes(lambda: rig.proxy.call("/readyz").status, 503)
        client.close()
        self.assertEqual(rig.proxy.wait(), 0)

    # ---- back-pressure

    def test_who_does_not_read_costs_no_memory(self):
        size = 64 * MIB
        sent = [0]

        def pour(connection, stream):
            for piece in blocks(size):
                connection.sock.sendall(piece)
                sent[0] += len(piece)

        rig = self.rig(servers=[Upstream(websocket_server(pour), send_buffer=BLOCK)])
        before = rig.proxy.resident()
        client, answer = self.tunnel(rig, receive_buffer=BLOCK)
        self.assertLess(settled(lambda: sent[0]), KERNEL)
        self.assertTrue(SANITIZED or rig.proxy.resident() - before < 4 * MIB)
        received = 0
        for piece in blocks(size):
            while len(client.stream.buffer) < len(piece):
                self.assertTrue(client.stream.fill(), f"the tunnel ended after {received} bytes")
            self.assertTrue(client.stream.buffer.startswith(piece), f"other bytes behind {received}")
            del client.stream.buffer[:len(piece)]
            received += len(piece)
        client.half_close()
        self.assertEqual(client.ending(), ("fin", b""))
        self.assertTrue(SANITIZED or rig.proxy.resident() - before < 4 * MIB)
        self.ends(rig, answer, "success", "-a")

    def test_an_upstream_that_does_not_read_costs_no_memory(self):
        hold = threading.Event()
        heard = [0]

        def deaf(_, stream):
            hold.wait()
            while stream.fill():
                heard[0] += len(stream.buffer)
                stream.buffer.clear()

        rig = self.rig(servers=[Upstream(websocket_server(deaf), receive_buffer=BLOCK)])
        self.addCleanup(hold.set)
        before = rig.proxy.resident()
        client, answer = self.tunnel(rig)
        size, sent = 64 * MIB, [0]

        def pour():
            for piece in blocks(size):
                client.send(piece)
                sent[0] += len(piece)
            client.half_close()

        sender = threading.Thread(target=pour)
        sender.start()
        self.assertLess(settled(lambda: sent[0]), KERNEL)
        self.assertTrue(SANITIZED or rig.proxy.resident() - before < 4 * MIB)
        hold.set()
        self.assertEqual(client.ending(), ("fin", b""))
        sender.join()
        self.assertEqual((heard[0], self.ends(rig, answer, "success", "-a")["bytes_in"]), (size, size))

    # ---- no tunnel

    def test_what_the_route_does_not_allow_is_an_ordinary_request(self):
        rig = self.rig([OK, OK], route={"upgrade": []})
        client = rig.client()
        response = client.fetch("GET", "/", asking())
        self.assertEqual((response.status, response.body), (200, b"ok"))
        self.assertEqual((rig.up.heads[0].all("Upgrade"), rig.up.heads[0].all("Connection")), ([], []))
        self.assertEqual(client.fetch("GET", "/again").status, 200)

    def test_an_upstream_may_decline(self):
        rig = self.rig([Answer(status=426, body=b"no"), OK])
        client = rig.client()
        self.assertEqual(client.fetch("GET", "/", asking()).status, 426)
        self.assertEqual(client.fetch("GET", "/again").status, 200)

    def test_another_protocol_than_was_asked_for_is_refused(self):
        rig = self.rig(lambda request: Answer(raw=switch(request, "h2c")), policy=retry(3, non_idempotent=True))
        response = rig.client().fetch("GET", "/", asking())
        self.check(rig, response, 502, "upgrade_refused", ["primary upgrade_refused"], "non_retryable",
                   outcome="upstream_error", upstream=1)
        self.assertIn("error=http_upgrade_failed", response.get("Proxy-Status"))

    def test_an_upgrade_is_sent_once(self):
        for answer, status in ((RESET, 502), (Answer(status=503, body=b"no"), 503)):
            rig = self.rig(lambda _, answer=answer: answer, policy=retry(3, non_idempotent=True))
            response = rig.client().fetch("GET", "/", asking())
            self.assertEqual((response.status, len(rig.up.heads)), (status, 1))
            self.assertEqual(rig.timeline(response)["stop_reason"], "http_non_idempotent")


if __name__ == "__main__":
    unittest.main()
