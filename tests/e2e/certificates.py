"""Certificates of the tests' own making, by OpenSSL's command line."""
import os
import ssl
import subprocess
import time
from dataclasses import dataclass

_RULES = """
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[leaf]
subjectAltName = {names}
"""


def openssl(*arguments, **more):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **more).stdout


def _moment(offset):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset))


@dataclass
class Identity:
    """A certificate and its key, as files."""
    certificate: str
    key: str

    def keys(self):
        """As a `tls` block of the configuration."""
        return {"certificate": self.certificate, "private_key": self.key}


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder, name="Test CA"):
        self.folder = os.path.join(folder, name.replace(" ", "-"))
        os.mkdir(self.folder)
        self.certificate, self._key = self._path("ca.pem"), self._path("ca.key")
        with open(self._path("index"), "w", encoding="ascii"):
            pass
        self._issued = 0
        openssl("req", "-x509", *self._new_key(self._key), "-days", "2", "-subj", f"/CN={name}", "-out", self.certificate)

    def _path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def _new_key(path):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path

    def issue(self, subject="localhost", names="DNS:localhost,IP:127.0.0.1", since=-3600, until=3600):
        self._issued += 1
        request, rules = self._path("request"), self._path("rules")
        identity = Identity(self._path(f"{self._issued}.pem"), self._path(f"{self._issued}.key"))
        with open(rules, "w", encoding="ascii") as file:
            file.write(_RULES.format(folder=self.folder, names=names))
        openssl("req", *self._new_key(identity.key), "-subj", f"/CN={subject}", "-out", request)
        openssl("ca", "-batch", "-notext", "-config", rules, "-extensions", "leaf", "-cert", self.certificate,
                "-keyfile", self._key, "-in", request, "-out", identity.certificate,
                "-startdate", _moment(since), "-enddate", _moment(until))
        return identity

    def client(self, identity=None):
        """What a client needs to talk to servers of this authority."""
        context = ssl.create_default_context(cafile=self.certificate)
        if identity:
            context.load_cert_chain(identity.certificate, identity.key)
        return context

    def server(self, identity, asking=False):
        """What a server needs that shows this identity; `asking`: for certificates of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        if asking:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
