"""The webhook, with a receiver whose HTTPS is not ours, and the library of the Standard Webhooks specification."""

import base64
import http.server
import ipaddress
import pathlib
import queue
import ssl
import tempfile
import threading
import time

from cryptography import x509
from google.protobuf.duration_pb2 import Duration
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError

import program
from client import PATIENCE, Test
from test_tls import Authority

SECRET, OTHER_SECRET = (f"whsec_{base64.b64encode(bytes([byte]) * 32).decode()}" for byte in (1, 2))


class Receiver(http.server.ThreadingHTTPServer):
    """Takes every message and keeps it."""

    def __init__(self, home):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got = queue.Queue()
        authority = Authority("receivers")
        certificate, key = authority.issue(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        for name, content in [("receiver.pem", certificate + key), ("ca.crt", authority.pem)]:
            (home / name).write_bytes(content)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(home / "receiver.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server_port}/tokend"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.put((self.path, dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Webhook(Test):
    def setUp(self):
        self.home = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.receiver = self.enterContext(Receiver(self.home))
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        self.addCleanup(self.receiver.shutdown)
        secrets = self.home / "secrets"
        secrets.touch(mode=0o600)
        secrets.write_text(f"{SECRET}\n{OTHER_SECRET}\n")
        self.webhook = ["--webhook-url", self.receiver.url, "--webhook-secret-file", secrets]
        self.webhook += ["--webhook-ca-file", self.home / "ca.crt"]

    def test_the_end_of_a_token(self):
        key = program.init(self.home)
        with program.serving(self.home, *self.webhook) as address:
            self.admin = self.client(key, address=address)
            self.workspace = self.new_workspace()
            made = self.new_token(ttl=Duration(seconds=1)).token
        time.sleep(max(0, made.expire_time.ToMilliseconds() / 1000 - time.time()))
        # A server looks for what is due when it starts.
        with program.serving(self.home, *self.webhook):
            path, headers, body = self.receiver.got.get(timeout=PATIENCE)
        self.assertEqual(path, "/tokend")
        for secret in [SECRET, OTHER_SECRET]:
            told = Standard(secret).verify(body, headers)
            self.assertEqual((told["type"], told["data"]["token"]), ("token.expired", made.name))
            with self.assertRaises(WebhookVerificationError):
                Standard(secret).verify(body.replace(b"expired", b"expirEd"), headers)
        with self.assertRaises(WebhookVerificationError):
            Standard(SECRET.replace("A", "B")).verify(body, headers)
