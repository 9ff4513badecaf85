"""Just enough of WebSocket (RFC 6455) for both ends of a tunnel: the handshake, frames, and a server that echoes."""
import base64
import hashlib
import os

from wire import Malformed, head

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def switch(request, protocol="websocket"):
    """The 101 that accepts this request."""
    return head("HTTP/1.1 101 Switching Protocols",
                [("Upgrade", protocol), ("Connection", "Upgrade"),
                 ("Sec-WebSocket-Accept", accept_of(request.get("Sec-WebSocket-Key", "")))])


def asking(key=None):
    """The fields of a client that asks for WebSocket."""
    return [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key or base64.b64encode(os.urandom(16)).decode())]


def frame(opcode, payload=b"", masked=False):
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        start = bytes([0x80 | opcode, bit | size])
    elif size < 1 << 16:
        start = bytes([0x80 | opcode, bit | 126]) + size.to_bytes(2, "big")
    else:
        start = bytes([0x80 | opcode, bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return start + payload
    mask = os.urandom(4)
    return start + mask + unmasked(payload, mask)


def unmasked(payload, mask):
    whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def receive(stream):
    """The next frame as (opcode, payload); None where the other side has ended in good order."""
    if not stream.buffer and not stream.fill():
        return None
    first, second = take(stream, 2)
    if first & 0xF0 != 0x80:
        raise Malformed(f"the first byte of a frame: {first:#x}")
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(take(stream, 2 if size == 126 else 8), "big")
    mask = take(stream, 4) if second & 0x80 else None
    payload = bytes(take(stream, size))
    return first & 0x0F, unmasked(payload, mask) if mask else payload


def take(stream, count):
    while len(stream.buffer) < count:
        if not stream.fill():
            raise Malformed("the connection ended in the middle of a frame")
    piece = bytes(stream.buffer[:count])
    del stream.buffer[:count]
    return piece


def echo(connection, stream):
    """Echoes messages until the client closes."""
    while (got := receive(stream)) is not None:
        opcode, payload = got
        connection.sock.sendall(frame(PONG if opcode == PING else opcode, payload))
        if opcode == CLOSE:
            return
