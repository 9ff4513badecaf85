"""Scripted upstream servers: each request gets the answer its test wrote, and every request is kept as it came.

A thread serves each connection. Nothing waits for time to pass: an answer that has to come late is held by an event,
and while it is held the connection is watched, so that a test can see the proxy give up on it.
"""
import collections
import select
import socket
import ssl
import threading
from dataclasses import dataclass

from wire import BLOCK, PATIENCE, Malformed, Message, Port, Stream, Truncated, UnixPath, chunked, hang_up, head


@dataclass
class Request(Message):
    method: str = ""
    target: str = ""
    version: str = ""
    connection: int = 0


@dataclass
class Answer:
    """One scripted answer. `body` is bytes, or pieces (any iterable) sent one by one, each a chunk when chunked."""
    status: int = 200
    headers: tuple = ()
    body: object = b""
    framing: str = "length"   # length | chunked | close (the end of the connection ends the body) | none (no body)
    length: int | None = None  # of a body whose pieces are not known beforehand
    trailers: tuple = ()      # behind the last chunk
    interim: tuple = ()       # heads before the final one: (status, headers)
    early: bool = False       # answered before the request's body is read
    echo: bool = False        # answers with the request's body, piece by piece as it comes
    hold: threading.Event | None = None       # waited for before the first byte of the answer
    hold_read: threading.Event | None = None  # waited for before the request's body is read
    hold_body: threading.Event | None = None  # waited for between head and body
    raw: bytes | None = None  # sent instead of all of that, before hold_body
    rest: bytes = b""         # sent after raw and hold_body
    then: object = None       # called with the connection and its stream behind raw; when it returns, that ends
    end: str = "keep"         # keep | fin | reset | notify (TLS): what happens to the connection afterwards

    def head(self):
        fields = list(self.headers.items() if isinstance(self.headers, dict) else self.headers)
        if self.framing == "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
        elif self.framing == "length":
            fields.append(("Content-Length", len(self.body) if self.length is None else self.length))
        return head(f"HTTP/1.1 {self.status} Scripted", fields)

    def pieces(self):
        if isinstance(self.body, bytes):
            return [self.body] if self.body else []
        return self.body


OK = Answer(body=b"ok")
HANG_UP = Answer(raw=b"", end="fin")
RESET = Answer(raw=b"", end="reset")


def unavailable(body=b"no", **more):
    return Answer(status=503, body=body, **more)


@dataclass
class Connection:
    number: int
    sock: socket.socket
    closed: threading.Event   # set once the connection has ended, from whichever side


class _Gone(Exception):
    """The proxy ended the connection while an answer was held."""


class Upstream:
    """Serves `script`: a list (one answer per request as they come, then OK for ever) or a function of the request."""

    def __init__(self, script=(), keep_bodies=True, send_buffer=None, receive_buffer=None, port=None, path=None,
                 tls=None):
        """`port`: one that is claimed already; `path`: of a Unix socket instead; `tls`: a server's SSLContext."""
        self._port = port or (UnixPath(path) if path else Port())
        self._tls = tls
        self.refusals = []     # why handshakes failed
        self.address, self.name = self._port.address, self._port.name
        self._queue = collections.deque(() if callable(script) else script)
        self._script = script if callable(script) else self._next
        self._keep = keep_bodies
        self._buffers = {socket.SO_SNDBUF: send_buffer, socket.SO_RCVBUF: receive_buffer}
        self.heads = []        # every request whose head arrived, whole or not
        self.connections = []
        self.faults = []       # requests that were not HTTP to the letter; a rig demands none
        self.received = 0      # body bytes of requests without kept bodies, as they come
        self.sent = 0          # body bytes of answers, as they go
        self._closing = False
        self._lock = threading.Lock()
        self._listener = None
        self.open()

    @property
    def requests(self):
        """The requests that arrived whole, in order."""
        return [request for request in self.heads if request.complete]

    def _next(self, _request):
        with self._lock:
            return self._queue.popleft() if self._queue else OK

    def open(self):
        self._listener = self._port.listen()
        for option, size in self._buffers.items():
            if size:
                self._listener.setsockopt(socket.SOL_SOCKET, option, size)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self):
        """Stops listening: connecting is refused from now on; connections already made go on."""
        hang_up(self._listener)

    def close(self):
        self._closing = True
        self.refuse()
        for connection in list(self.connections):
            hang_up(connection.sock)
        for connection in list(self.connections):
            connection.closed.wait(PATIENCE)
        self._port.close()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(len(self.connections), sock, threading.Event())
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self._tls:
                connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
            stream = Stream(connection.sock)
            while self._exchange(connection, stream):
                pass
        except Malformed as fault:
            self.faults.append(str(fault))
        except ssl.SSLError as refusal:
            self.refusals.append(refusal.reason)
        except (_Gone, Truncated, OSError):
            pass
        finally:
            hang_up(connection.sock)
            connection.closed.set()

    def _exchange(self, connection, stream):
        request = Request(connection=connection.number)
        if not stream.head(request):
            return False
        request.method, request.target, request.version = request.start.split(" ")
        self.heads.append(request)
        answer = self._script(request)
        if answer.echo:
            return self._echo(connection, stream, request)
        if not answer.early:
            self._read(connection, stream, request, answer)
        self._wait(connection, answer.hold)
        self._answer(connection, answer, request)
        if answer.then:
            answer.then(connection, stream)
            return False
        if answer.end != "keep":
            hang_up(connection.sock, answer.end)
            return False
        if answer.early:
            self._read(connection, stream, request, answer)
        return answer.framing != "close"

    def _echo(self, connection, stream, request):
        send = connection.sock.sendall
        send(head("HTTP/1.1 200 Scripted", [("Transfer-Encoding", "chunked")]))
        stream.body(request, keep=self._keep, tap=lambda piece: send(b"%x\r\n%s\r\n" % (len(piece), piece)))
        send(chunked(b"", request.trailers))
        return True

    def _read(self, connection, stream, request, answer):
        self._wait(connection, answer.hold_read)
        try:
            stream.body(request, keep=self._keep)
        finally:
            self.received += request.size

    def _answer(self, connection, answer, request):
        sock = connection.sock
        if answer.raw is not None:
            sock.sendall(answer.raw)
            if answer.rest:
                self._wait(connection, answer.hold_body)
            return sock.sendall(answer.rest)
        for status, fields in answer.interim:
            sock.sendall(head(f"HTTP/1.1 {status} Interim", fields))
        bodiless = request.method == "HEAD" or answer.status in (204, 304) or answer.framing == "none"
        if isinstance(answer.body, bytes) and not bodiless and answer.hold_body is None:
            body = chunked(answer.body, answer.trailers) if answer.framing == "chunked" else answer.body
            return sock.sendall(answer.head() + body)
        sock.sendall(answer.head())
        if bodiless:
            return None
        self._wait(connection, answer.hold_body)
        for piece in answer.pieces():
            sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.framing == "chunked" else piece)
            self.sent += len(piece)
        return sock.sendall(chunked(b"", answer.trailers)) if answer.framing == "chunked" else None

    def _wait(self, connection, event):
        """Waits for the test's word while watching for the proxy to leave."""
        if event is None:
            return
        watch = select.poll()
        watch.register(connection.sock, select.POLLRDHUP)
        while not event.wait(0.005):
            if self._closing or watch.poll(0):
                raise _Gone


def blocks(total, size=BLOCK):
    """`total` bytes in blocks whose content says where they belong."""
    pattern = bytes(range(251)) * (size // 251 + 2)
    for start in range(0, total, size):
        count = min(size, total - start)
        yield pattern[start % 251:start % 251 + count]
