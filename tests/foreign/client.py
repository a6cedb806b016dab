"""A client of tokend in Python: connections and the details of errors. It knows nothing but the contract."""

import collections
import contextlib
import os
import threading
import time
import unittest
import uuid

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tokend.v1 import audit_log_pb2 as audit
from tokend.v1 import caller_admin_pb2 as callers
from tokend.v1 import (
    audit_log_pb2_grpc,
    caller_admin_pb2_grpc,
    token_admin_pb2_grpc,
    token_verify_pb2_grpc,
    workspace_admin_pb2_grpc,
)
from tokend.v1 import error_reason_pb2
from tokend.v1 import token_admin_pb2 as tokens
from tokend.v1 import token_pb2 as token
from tokend.v1 import token_verify_pb2 as verify
from tokend.v1 import workspace_admin_pb2 as workspaces

ADDRESS = os.environ["TOKEND_FOREIGN_ADDRESS"]
ADMIN_KEY = os.environ["TOKEND_FOREIGN_ADMIN_KEY"]

SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in [
        (verify, "TokenVerify"),
        (tokens, "TokenAdmin"),
        (workspaces, "WorkspaceAdmin"),
        (callers, "CallerAdmin"),
        (audit, "AuditLog"),
    ]
]
CONTRACT_PATHS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]

# Seconds: for one call, and for something to come true.
TIMEOUT = 30
PATIENCE = 30


class Answers:
    """What was answered, all tests together: the codes of each path, the reasons of refusals and of verdicts."""

    def __init__(self):
        self._lock = threading.Lock()
        self.codes = collections.defaultdict(collections.Counter)
        self.reasons = collections.Counter()
        self.verdicts = collections.Counter()

    def add(self, path, code):
        with self._lock:
            self.codes[path][code.name] += 1

    def add_reason(self, reason):
        with self._lock:
            self.reasons[reason] += 1

    def add_verdict(self, response):
        with self._lock:
            name = verify.DenyReason.Name(response.deny_reason).removeprefix("DENY_REASON_")
            self.verdicts["ALLOW" if response.decision == verify.DECISION_ALLOW else name] += 1


ANSWERS = Answers()


class _Details(
    collections.namedtuple("_Details", "method timeout metadata credentials wait_for_ready compression"),
    grpc.ClientCallDetails,
):
    """grpcio has no public way to make one."""


class _Interceptor(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Sends these metadata with each call, gives it a deadline, and writes down how it ended."""

    def __init__(self, metadata):
        self._metadata = metadata

    def _call(self, continuation, details, request):
        timeout = TIMEOUT if details.timeout is None else details.timeout
        metadata = [*self._metadata, *(details.metadata or [])]
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        call = continuation(
            _Details(method, timeout, metadata, details.credentials, details.wait_for_ready, details.compression),
            request,
        )
        call.add_done_callback(lambda call: ANSWERS.add(method, call.code()))
        return call

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _call


class Client:
    """The services as one caller sees them. Without a key: as a stranger does."""

    def __init__(self, key=None, metadata=None, address=ADDRESS, credentials=None):
        if metadata is None:
            metadata = [("authorization", f"Bearer {key}")] if key else []
        # A connection of its own, as a program of its own would have.
        options = [("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            self._connection = grpc.insecure_channel(address, options=options)
        else:
            self._connection = grpc.secure_channel(address, credentials, options=options)
        self.channel = grpc.intercept_channel(self._connection, _Interceptor(metadata))
        self.verify = token_verify_pb2_grpc.TokenVerifyStub(self.channel)
        self.tokens = token_admin_pb2_grpc.TokenAdminStub(self.channel)
        self.workspaces = workspace_admin_pb2_grpc.WorkspaceAdminStub(self.channel)
        self.callers = caller_admin_pb2_grpc.CallerAdminStub(self.channel)
        self.audit = audit_log_pb2_grpc.AuditLogStub(self.channel)

    def raw(self, path, body=b"", **options):
        """Sends these bytes as the message, and returns those of the answer."""
        return self.channel.unary_unary(path)(body, **options)

    def close(self):
        self._connection.close()


class Refusal:
    """A status that is not OK, taken apart. It is refused itself unless it has the form that the contract promises."""

    # The detail messages that the contract speaks of.
    KINDS = {
        kind.DESCRIPTOR.full_name: kind
        for kind in [
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.PreconditionFailure,
            error_details_pb2.QuotaFailure,
            error_details_pb2.RetryInfo,
            error_details_pb2.RequestInfo,
            error_details_pb2.Help,
        ]
    }

    def __init__(self, error):
        self.code = error.code().name
        self.message = error.details()
        # Fails if code or message differ between the trailers and the details.
        status = rpc_status.from_call(error)
        if status is None:
            raise AssertionError(f"{self.code} without details: {self.message}")
        details = {}
        for packed in status.details:
            name = packed.TypeName()
            if name in details:
                raise AssertionError(f"two {name}: {status}")
            details[name] = self.KINDS[name].FromString(packed.value)

        def get(kind):
            return details.get(kind.DESCRIPTOR.full_name)

        info = get(error_details_pb2.ErrorInfo)
        if info is None or info.domain != "tokend":
            raise AssertionError(f"no ErrorInfo of tokend: {status}")
        if f"ERROR_REASON_{info.reason}" not in error_reason_pb2.ErrorReason.keys():
            raise AssertionError(f"not in the contract: {info.reason}")
        self.reason = info.reason
        bad_request = get(error_details_pb2.BadRequest)
        self.fields = [violation.field for violation in bad_request.field_violations] if bad_request else []
        self.descriptions = [violation.description for violation in bad_request.field_violations] if bad_request else []
        preconditions = get(error_details_pb2.PreconditionFailure)
        self.preconditions = list(preconditions.violations) if preconditions else []
        self.quota = get(error_details_pb2.QuotaFailure)
        self.retry = get(error_details_pb2.RetryInfo)

    def __repr__(self):
        return f"{self.code} {self.reason} {self.fields}: {self.message}"


class Test(unittest.TestCase):
    """A test with a workspace of its own. What it makes is named at random: tests know nothing of each other."""

    def setUp(self):
        self.admin = self.client(ADMIN_KEY)
        self.workspace = self.new_workspace()

    def client(self, key=None, **options):
        client = Client(key, **options)
        self.addCleanup(client.close)
        return client

    @staticmethod
    def new_id():
        return f"f{uuid.uuid4().hex[:20]}"

    def new_workspace(self):
        """Makes a workspace and returns its name."""
        request = workspaces.CreateWorkspaceRequest(workspace_id=self.new_id(), display_name="Foreign")
        return self.admin.workspaces.CreateWorkspace(request).workspace.name

    def new_caller(self, role, only=None):
        """Makes a caller for all workspaces or these, and returns its name."""
        where = token.Selection(only=only) if only else token.Selection(all=True)
        request = callers.CreateCallerRequest(caller_id=self.new_id(), role=role, workspaces=where)
        return self.admin.callers.CreateCaller(request).caller.name

    def caller(self, role, only=None):
        """A client in the place of a caller made for it."""
        request = callers.CreateCallerKeyRequest(parent=self.new_caller(role, only))
        return self.client(self.admin.callers.CreateCallerKey(request).secret)

    def token_request(self, **fields):
        """A request that is fine, but for these fields."""
        request = dict(parent=self.workspace, display_name="ci", scopes=["repository"])
        if not {"ttl", "expire_time", "no_expiry"} & fields.keys():
            request["ttl"] = Duration(seconds=3600)
        return tokens.CreateTokenRequest(**{**request, **fields})

    def new_token(self, **fields):
        """Makes a token; the answer has its secret, too."""
        return self.admin.tokens.CreateToken(self.token_request(**fields))

    def revoke(self, name, reason="it leaked"):
        return self.admin.tokens.RevokeToken(tokens.RevokeTokenRequest(name=name, reason=reason))

    def get_token(self, name):
        """As every answer tells it: GetToken alone tells unused scopes."""
        told = self.admin.tokens.GetToken(tokens.GetTokenRequest(name=name)).token
        told.ClearField("unused_scopes")
        return told

    def question(self, secret, resource=None, scopes=(), **fields):
        return verify.VerifyRequest(token=secret, resource=resource or self.workspace, required_scopes=scopes, **fields)

    def verdict(self, secret, resource=None, scopes=(), client=None, **fields):
        response = (client or self.admin).verify.Verify(self.question(secret, resource, scopes, **fields))
        ANSWERS.add_verdict(response)
        return response

    def assert_allowed(self, response):
        self.assertEqual(
            (response.decision, response.deny_reason),
            (verify.DECISION_ALLOW, verify.DENY_REASON_UNSPECIFIED),
            verify.DenyReason.Name(response.deny_reason),
        )

    def assert_denied(self, response, reason):
        self.assertEqual(verify.DenyReason.Name(response.deny_reason), f"DENY_REASON_{reason}")
        self.assertEqual(response.decision, verify.DECISION_DENY)

    @contextlib.contextmanager
    def refused(self, code, reason, fields=()):
        """Asserts that the call within is refused for exactly these fields. Yields a list that then holds the error."""
        told = []
        with self.assertRaises(grpc.RpcError) as caught:
            yield told
        refusal = Refusal(caught.exception)
        ANSWERS.add_reason(refusal.reason)
        told.append(refusal)
        self.assertEqual((refusal.code, refusal.reason), (code, reason), refusal)
        self.assertEqual(refusal.fields, list(fields), refusal)
        self.assertTrue(all(refusal.descriptions), refusal)
        self.assertGreater(len(refusal.message), 10, refusal)

    def refused_field(self, *fields):
        return self.refused("INVALID_ARGUMENT", "INVALID_FIELD", fields)

    def eventually(self, what, condition):
        """Waits until the condition holds, and returns what it returned."""
        deadline = time.monotonic() + PATIENCE
        while not (held := condition()):
            self.assertLess(time.monotonic(), deadline, f"never came true: {what}")
            time.sleep(0.05)
        return held
