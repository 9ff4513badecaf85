"""A name server for tests, and a process that asks no other.

The system's resolver knows no port but 53 and no file but /etc/resolv.conf. So the server has port 53 of a loopback
address of its own, and the process runs in a mount namespace of its own in which those files are the test's: nothing
outside it changes. Both need root.
"""
import os
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

A, AAAA = 1, 28
IN_NAMESPACE = ('mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf '
                '&& exec "$@"')


def why_not():
    """Why this cannot be done here; None where it can."""
    if os.geteuid() != 0:
        return "needs root: a name server has port 53"
    if not all(os.path.exists(name) for name in ("/etc/resolv.conf", "/etc/nsswitch.conf")):
        return "needs /etc/resolv.conf and /etc/nsswitch.conf to stand in for"
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False) if shutil.which("unshare") else None
    return None if tried and tried.returncode == 0 else "needs a mount namespace (unshare -m)"


class NameServer:
    """Answers for `names`: IPv4 addresses by name; a name it does not have does not exist. Silent while `silent`."""

    def __init__(self, names):
        self.names = dict(names)
        self.silent = False
        self.asked = 0
        self._socket = self._open()
        self.folder = tempfile.mkdtemp(prefix="outrigger-names-")
        self._write("resolv.conf", f"nameserver {self._socket.getsockname()[0]}\noptions timeout:1 attempts:1\n")
        self._write("nsswitch.conf", "hosts: dns\n")
        self.wrap = ("unshare", "-m", "sh", "-c", IN_NAMESPACE, self.folder)
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    @staticmethod
    def _open():
        while True:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.bind((f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}", 53))
                return sock
            except OSError:  # somebody has it
                sock.close()

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(text)

    def _serve(self, sock):
        while True:
            try:
                query, sender = sock.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            if not self.silent:
                sock.sendto(self._answer(query), sender)

    def _answer(self, query):
        labels, at = [], 12
        while size := query[at]:
            labels.append(query[at + 1:at + 1 + size].decode().lower())
            at += 1 + size
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        addresses = self.names.get(".".join(labels))
        records = addresses if addresses and kind == A else []
        flags = 0x8580 | (0 if addresses is not None else 3)
        answers = b"".join(struct.pack("!HHHIH", 0xC00C, A, 1, 0, 4) + socket.inet_aton(each) for each in records)
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + answers

    def close(self):
        self._socket.close()
        shutil.rmtree(self.folder)
