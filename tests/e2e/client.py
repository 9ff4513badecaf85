"""A client that shows every byte: raw sends, half-closes and resets, beside a convenient way to ask for something."""
import collections
import itertools
import socket
from dataclasses import dataclass, field

from wire import PATIENCE, Message, Stream, Truncated, chunked, hang_up, head

_serial = itertools.count(1)


def new_id():
    return f"e2e-{next(_serial)}"


@dataclass
class Response(Message):
    status: int = 0
    version: str = ""
    request_id: str = ""
    interim: list = field(default_factory=list)


def request(method="GET", target="/", headers=(), body=None, chunks=None, trailers=(), version="HTTP/1.1",
            host="rig.test"):
    """The bytes of a request; `chunks` instead of `body` makes it chunked."""
    names = {name.lower() for name, _ in headers}
    fields = [("Host", host)] if host and "host" not in names else []
    fields += list(headers)
    if chunks is not None:
        return head(f"{method} {target} {version}", [*fields, ("Transfer-Encoding", "chunked")]) + chunked(chunks, trailers)
    if body is not None and "content-length" not in names:
        fields.append(("Content-Length", len(body)))
    return head(f"{method} {target} {version}", fields) + (body or b"")


class Client:
    """One connection. Responses are read in the order the requests were sent."""

    def __init__(self, address, receive_buffer=None, patience=PATIENCE, tls=None, name="localhost"):
        """`address`: host and port, or the path of a Unix socket; `tls`: a client's SSLContext."""
        unix = isinstance(address, str)
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(patience)
        self.sock.connect(address)
        if not unix:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=name, suppress_ragged_eofs=False)
        self.stream = Stream(self.sock)
        self._sent = collections.deque()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def ask(self, method="GET", target="/", headers=(), **more):
        """Sends one request, with an X-Request-Id to find its timeline by unless it bears one."""
        headers = list(headers.items() if isinstance(headers, dict) else headers)
        given = [value for name, value in headers if name.lower() == "x-request-id"]
        if not given:
            headers.append(("X-Request-Id", new_id()))
        self.expect(method, given[0] if given else headers[-1][1])
        return self.send(request(method, target, headers, **more))

    def expect(self, method, request_id):
        """Announces the response to a request that was sent as bytes."""
        self._sent.append((method, request_id))

    def begin(self, method="GET", keep=True):
        """Reads up to the end of the next final head; interim ones are put beside it."""
        method, request_id = self._sent.popleft() if self._sent else (method, "")
        response = Response(request_id=request_id)
        interim = []
        while True:
            if not self.stream.head(response):
                raise Truncated("the connection ended without a response")
            response.version, status, *_ = response.start.split(" ", 2)
            response.status = int(status)
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
            response = Response(request_id=request_id)
        response.interim = interim
        response.method = method
        return response

    def finish(self, response, keep=True):
        bodiless = response.method == "HEAD" or response.status in (101, 204, 304)
        return self.stream.body(response, until_close=True, bodiless=bodiless, keep=keep)

    def response(self, method="GET", keep=True):
        return self.finish(self.begin(method), keep)

    def fetch(self, *args, **more):
        return self.ask(*args, **more).response()

    def ending(self):
        """How the peer ends the connection, `fin` or `reset`, and what it sends before beyond the responses read."""
        try:
            while self.stream.fill():
                pass
            how = "fin"
        except ConnectionResetError:
            how = "reset"
        return how, bytes(self.stream.buffer)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        hang_up(self.sock, "reset")

    def close(self):
        hang_up(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
