"""TLS and client certificates, with a foreign TLS library (grpcio has BoringSSL), on a server of its own."""

import datetime
import ipaddress
import pathlib
import tempfile

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import program
from client import Test, callers, token, tokens

LIST_SCOPES = tokens.ListScopesRequest()


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    """Issues certificates that are valid for an hour."""

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = pem(self._sign(self._key, self._name, x509.BasicConstraints(ca=True, path_length=None)))

    def issue(self, *names):
        """A certificate with these names, and its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key, x509.Name([]), x509.SubjectAlternativeName(names))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem(certificate), private

    def _sign(self, key, subject, extension):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(hours=1)
        )
        return builder.add_extension(extension, critical=True).sign(self._key, hashes.SHA256())


class Tls(Test):
    @classmethod
    def setUpClass(cls):
        cls.authority = Authority("servers and clients")
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        home = pathlib.Path(directory.name)
        certificate, key = cls.authority.issue(
            x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        )
        for name, content in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", cls.authority.pem)]:
            (home / name).touch(mode=0o600)
            (home / name).write_bytes(content)
        cls.key = program.init(home)
        tls = ["--tls-cert", home / "tls.crt", "--tls-key", home / "tls.key", "--client-ca", home / "ca.crt"]
        cls.address = cls.enterClassContext(program.serving(home, *tls))

    def setUp(self):
        self.admin = self.over_tls(self.key)

    def over_tls(self, key=None, pair=(None, None), trusted=None):
        """A client with this caller key and this client certificate."""
        certificate, private = pair
        credentials = grpc.ssl_channel_credentials(trusted or self.authority.pem, private, certificate)
        return self.client(key, address=self.address, credentials=credentials)

    def register(self, *names):
        """Makes a VERIFIER with these certificate names and returns its name."""
        request = callers.CreateCallerRequest(
            caller_id=self.new_id(),
            role=callers.ROLE_VERIFIER,
            workspaces=token.Selection(all=True),
            certificate_sans=names,
        )
        return self.admin.callers.CreateCaller(request).caller.name

    def no_connection(self, client):
        with self.assertRaises(grpc.RpcError) as caught:
            client.tokens.ListScopes(LIST_SCOPES)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_a_key_over_tls(self):
        self.admin.tokens.ListScopes(LIST_SCOPES)
        with self.refused("UNAUTHENTICATED", "MISSING_CREDENTIAL"):
            self.over_tls().tokens.ListScopes(LIST_SCOPES)
        self.no_connection(self.over_tls(self.key, trusted=Authority("somebody else").pem))
        self.no_connection(self.client(self.key, address=self.address))

    def test_a_certificate_is_its_callers(self):
        uri, dns = f"spiffe://example.com/{self.new_id()}", f"{self.new_id()}.example.com"
        name = self.register(uri, dns)
        for san in [x509.UniformResourceIdentifier(uri), x509.DNSName(dns)]:
            client = self.over_tls(pair=self.authority.issue(san))
            client.tokens.ListScopes(LIST_SCOPES)
            with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                client.callers.GetCaller(callers.GetCallerRequest(name=name))
        self.admin.callers.DeleteCaller(callers.DeleteCallerRequest(name=name))
        with self.refused("UNAUTHENTICATED", "INVALID_CREDENTIAL"):
            client.tokens.ListScopes(LIST_SCOPES)

    def test_a_certificate_of_nobody(self):
        nobody = self.authority.issue(x509.DNSName("nobody.example.com"))
        with self.refused("UNAUTHENTICATED", "INVALID_CREDENTIAL"):
            self.over_tls(pair=nobody).tokens.ListScopes(LIST_SCOPES)
        self.over_tls(self.key, nobody).tokens.ListScopes(LIST_SCOPES)

    def test_a_certificate_of_another_authority(self):
        name = f"{self.new_id()}.example.com"
        self.register(name)
        self.no_connection(self.over_tls(pair=Authority("somebody else").issue(x509.DNSName(name))))

    def test_key_and_certificate_disagree(self):
        name = f"{self.new_id()}.example.com"
        self.register(name)
        with self.refused("UNAUTHENTICATED", "CREDENTIALS_DISAGREE"):
            self.over_tls(self.key, self.authority.issue(x509.DNSName(name))).tokens.ListScopes(LIST_SCOPES)

    def test_a_name_belongs_to_one_caller(self):
        name = f"{self.new_id()}.example.com"
        self.register(name)
        with self.refused("ALREADY_EXISTS", "CERTIFICATE_SAN_TAKEN", ["certificate_sans"]):
            self.register(name.upper())

    def test_the_last_admin_stays(self):
        with self.refused("FAILED_PRECONDITION", "LAST_ADMIN"):
            self.admin.callers.DeleteCaller(callers.DeleteCallerRequest(name="callers/admin"))
