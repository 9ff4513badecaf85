"""HTTP/1.1 messages over plain sockets, for both ends of the tests.

The reader is strict on purpose: what the proxy writes has to be exact, so anything doubtful raises Malformed instead of
being tolerated, and a message that stops halfway raises Truncated instead of looking like a short one.
"""
import os
import socket
import struct
from dataclasses import dataclass, field

BINARY = os.environ.get("OUTRIGGER_BIN") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "release", "proxy", "outrigger")


def _sanitized():
    try:
        with open(BINARY, "rb") as binary:
            image = binary.read()
    except OSError:
        return False
    return b"__asan_init" in image or b"__tsan_init" in image


SANITIZED = _sanitized()
PATIENCE = 10.0 * float(os.environ.get("TEST_PATIENCE", "1")) * (4 if SANITIZED else 1)
LOOPBACK = "127.0.0.1"
BLOCK = 64 * 1024


class Truncated(Exception):
    """The peer ended the connection in the middle of a message."""


class Malformed(Exception):
    """The peer wrote something that is not HTTP/1.1 to the letter."""


class Port:
    """A loopback port that stays ours while nothing listens on it, so that connecting is refused, not misdirected."""

    def __init__(self, host=LOOPBACK, number=0):
        self._claim = self._socket(host, number)
        self.address = self._claim.getsockname()
        self.name = "%s:%d" % self.address

    @staticmethod
    def _socket(host, number):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind((host, number))
        except OSError:
            sock.close()
            raise
        return sock

    def listen(self, backlog=4096):
        listener = self._socket(*self.address)
        listener.listen(backlog)
        return listener

    def close(self):
        self._claim.close()


class UnixPath:
    """The same for a Unix socket."""

    def __init__(self, path):
        self.address, self.name = path, "unix:" + path

    def listen(self, backlog=4096):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.address)
        listener.listen(backlog)
        return listener

    def close(self):
        os.unlink(self.address)


class Blackhole(Port):
    """An endpoint whose connections are never completed: the accept queue is full from the start."""

    def __init__(self):
        super().__init__()
        self._listener = self.listen(0)
        self._filler = socket.create_connection(self.address)

    def close(self):
        self._filler.close()
        self._listener.close()
        super().close()


def hang_up(sock, how="fin"):
    """Ends a connection with a FIN, or with a reset when `how` says so, even while another thread waits in recv.

    Under TLS a FIN says nothing of an end; `notify` says it."""
    try:
        if how == "notify":
            sock.unwrap()
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.shutdown(socket.SHUT_RD)  # wakes that thread without sending a FIN first
        else:
            sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()


@dataclass
class Message:
    """What a request and a response have in common; field names keep the case they came in."""
    start: str = ""
    headers: list = field(default_factory=list)
    body: bytes = b""
    size: int = 0
    chunks: list = field(default_factory=list)
    trailers: list = field(default_factory=list)
    complete: bool = False

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name, default=None):
        return next(iter(self.all(name)), default)

    def joined(self, name):
        return ", ".join(self.all(name))

    def names(self):
        return [name for name, _ in self.headers]


class Stream:
    """Reads messages from a socket; bytes beyond a message stay in `buffer` for the next."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self._tap = None

    def fill(self, most=BLOCK):
        data = self.sock.recv(most)
        self.buffer += data
        return bool(data)

    def line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            if not self.fill():
                raise Truncated(f"in a line: {bytes(self.buffer)[:200]!r}")
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 2]
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise Malformed(f"control byte in {line!r}")
        return line.decode("latin-1")

    def head(self, message):
        """Reads a start line and fields; False when the connection ended before the first byte."""
        if not self.buffer and not self.fill():
            return False
        message.start = self.line()
        message.headers = self.fields()
        return True

    def fields(self):
        fields = []
        while line := self.line():
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Malformed(f"field line {line!r}")
            fields.append((name, value.strip()))
        return fields

    def body(self, message, until_close=False, bodiless=False, keep=True, tap=None):
        """Reads the body that the head announces into `message`; `tap` sees each piece as it comes."""
        self._tap = tap
        codings, lengths = message.all("Transfer-Encoding"), message.all("Content-Length")
        if bodiless:
            pass
        elif codings:
            if lengths or codings != ["chunked"]:
                raise Malformed(f"framing {codings} {lengths}")
            self._chunked(message, keep)
        elif lengths:
            if len(lengths) > 1 or not lengths[0].isdigit():
                raise Malformed(f"lengths {lengths}")
            self._exactly(int(lengths[0]), message, keep)
        elif until_close:
            while self.buffer or self.fill():
                self._exactly(len(self.buffer), message, keep)
        message.complete = True
        return message

    def _exactly(self, count, message, keep):
        while count:
            if not self.buffer and not self.fill():
                raise Truncated(f"{count} body bytes short after {message.size}")
            piece = self.buffer[:count]
            del self.buffer[:count]
            count -= len(piece)
            message.size += len(piece)
            if keep:
                message.body += piece
            if self._tap:
                self._tap(piece)

    def _chunked(self, message, keep):
        while True:
            size = self.line().partition(";")[0]
            if not size or any(digit not in "0123456789abcdefABCDEF" for digit in size):
                raise Malformed(f"chunk size {size!r}")
            if int(size, 16) == 0:
                message.trailers = self.fields()
                return
            if keep:
                message.chunks.append(int(size, 16))
            self._exactly(int(size, 16), message, keep)
            if self.line():
                raise Malformed("chunk without its end of line")


def chunked(pieces, trailers=()):
    """The chunked form of some pieces, the last chunk included."""
    if isinstance(pieces, bytes):
        pieces = [pieces] if pieces else []
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\n" + lines(trailers) + b"\r\n"


def lines(fields):
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


def head(start, headers=()):
    """The bytes of a message head."""
    return start.encode("latin-1") + b"\r\n" + lines(headers) + b"\r\n"
