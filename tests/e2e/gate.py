"""A TCP gate between proxy and upstream, which can refuse, stall, cut after N bytes, reset, or trickle.

Rules are given out one per connection in order; connections beyond them pass untouched.
"""
import collections
import socket
import threading
from dataclasses import dataclass

from wire import BLOCK, Port, hang_up


@dataclass
class Rule:
    """What happens to one connection. Byte counts are of its whole life, per direction."""
    cut_request: int | None = None    # both sides are ended once so many bytes went to the upstream
    cut_response: int | None = None   # the same towards the proxy; 0 cuts when the first byte would pass
    end: str = "fin"                  # how a cut ends: fin | reset
    stall_request: threading.Event | None = None   # nothing passes to the upstream before it is set
    stall_response: threading.Event | None = None  # nothing passes to the proxy before it is set
    trickle: bool = False             # byte by byte, both ways


class Gate:
    def __init__(self, target, rules=()):
        self._target = target
        self._port = Port()
        self.address, self.name = self._port.address, self._port.name
        self._rules = collections.deque(rules)
        self._open = set()
        self.connections = 0
        self.accept()

    def plan(self, *rules):
        self._rules.extend(rules)

    def accept(self):
        self._listener = self._port.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self):
        hang_up(self._listener)

    def reset(self):
        """Resets every connection that is open now."""
        self._end("reset")

    def close(self):
        self.refuse()
        self._end("fin")
        self._port.close()

    def _end(self, how):
        for sock in list(self._open):
            hang_up(sock, how)

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            rule = self._rules.popleft() if self._rules else Rule()
            self.connections += 1
            far = socket.create_connection(self._target)
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(sock)
            threading.Thread(target=self._join, args=(rule, near, far), daemon=True).start()

    def _join(self, rule, near, far):
        """Lives as long as one connection."""
        answers = threading.Thread(target=self._pump, args=(rule, far, near, rule.cut_response, rule.stall_response),
                                   daemon=True)
        answers.start()
        self._pump(rule, near, far, rule.cut_request, rule.stall_request)
        answers.join()
        for sock in (near, far):
            sock.close()
            self._open.discard(sock)

    def _pump(self, rule, source, sink, cut, stall):
        passed = 0
        try:
            while data := source.recv(1 if rule.trickle else BLOCK):
                if stall is not None:
                    stall.wait()
                if cut is not None:
                    data = data[:cut - passed]
                sink.sendall(data)
                passed += len(data)
                if passed == cut:
                    hang_up(source, rule.end)
                    return hang_up(sink, rule.end)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            hang_up(sink, "reset")
        return None
