"""grpcurl and `buf curl`, with nothing but an address and a key: they learn the contract from reflection."""

import base64
import json
import os
import subprocess
import unittest

import grpc
from google.rpc import error_details_pb2

from client import ADDRESS, ADMIN_KEY, SERVICES, Test

GRPCURL = os.environ.get("TOKEND_FOREIGN_GRPCURL")
BUF = os.environ.get("TOKEND_FOREIGN_BUF")


def run(*command, secret_input=None):
    # The key never stands in the arguments, where every process can read it.
    environment = {**os.environ, "CALLER_KEY": ADMIN_KEY}
    return subprocess.run(command, input=secret_input, env=environment, capture_output=True, text=True, timeout=60)


@unittest.skipUnless(GRPCURL, "no grpcurl")
class Grpcurl(Test):
    KEY = ["-expand-headers", "-H", "authorization: Bearer ${CALLER_KEY}"]

    def grpcurl(self, *arguments, options=(), message=None):
        flags = ["-plaintext", *options, *(["-d", "@"] if message is not None else [])]
        return run(
            GRPCURL, *flags, ADDRESS, *arguments, secret_input=json.dumps(message) if message is not None else None
        )

    def call(self, method, message):
        done = self.grpcurl(f"tokend.v1.{method}", options=self.KEY, message=message)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_list_and_describe(self):
        done = self.grpcurl("list", options=self.KEY)
        self.assertLessEqual({service.full_name for service in SERVICES}, set(done.stdout.split()), done.stderr)
        for service in SERVICES:
            done = self.grpcurl("describe", service.full_name, options=self.KEY)
            for method in service.methods:
                self.assertIn(f"rpc {method.name} ", done.stdout, done.stderr)

    def test_the_main_job(self):
        made = self.call(
            "TokenAdmin/CreateToken",
            {
                "parent": self.workspace,
                "displayName": "ci",
                "scopes": ["repository:write"],
                "ttl": "3600s",
                "labels": {"a": "b"},
            },
        )
        question = {"token": made["secret"], "resource": self.workspace, "requiredScopes": ["repository"]}
        told = self.call("TokenVerify/Verify", question)
        self.assertEqual((told["decision"], told["token"]["name"]), ("DECISION_ALLOW", made["token"]["name"]))
        self.call("TokenAdmin/RevokeToken", {"name": made["token"]["name"], "reason": "done"})
        told = self.call("TokenVerify/BatchVerify", {"requests": [question, {**question, "token": "garbage"}]})
        reasons = [one["denyReason"] for one in told["responses"]]
        self.assertEqual(reasons, ["DENY_REASON_REVOKED", "DENY_REASON_UNRECOGNIZED"])

    def test_a_refusal_is_readable(self):
        message = {"parent": self.workspace, "displayName": "ci", "scopes": ["nothing"], "ttl": "3600s"}
        done = self.grpcurl("tokend.v1.TokenAdmin/CreateToken", options=self.KEY, message=message)
        self.assertNotEqual(done.returncode, 0)
        for part in ["InvalidArgument", '"reason": "INVALID_FIELD"', '"domain": "tokend"', '"field": "scopes[0]"']:
            self.assertIn(part.replace(" ", ""), done.stderr.replace(" ", ""), done.stderr)

    def test_a_stranger_learns_nothing_but_health(self):
        done = self.grpcurl("list")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("caller key", done.stderr)
        done = self.grpcurl("list", options=["-H", "authorization: Bearer garbage"])
        self.assertNotEqual(done.returncode, 0)


@unittest.skipUnless(BUF, "no buf")
class BufCurl(Test):
    def call(self, method, message, key=ADMIN_KEY):
        # Headers are read from standard input; the message has no secret of the caller's.
        options = ["--protocol", "grpc", "--http2-prior-knowledge", "--header", "@-", "--reflect-header", "*"]
        command = [BUF, "curl", *options, "--data", json.dumps(message)]
        return run(*command, f"http://{ADDRESS}/tokend.v1.{method}", secret_input=f"authorization: Bearer {key}\n")

    def test_a_verdict(self):
        done = self.call("TokenVerify/Verify", {"token": "garbage", "resource": self.workspace})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["denyReason"], "DENY_REASON_UNRECOGNIZED")

    def test_a_refusal_has_its_details(self):
        done = self.call("TokenAdmin/GetToken", {"name": "x"})
        self.assertEqual(done.returncode, grpc.StatusCode.INVALID_ARGUMENT.value[0] << 3, done.stderr)
        told = json.loads(done.stderr)
        self.assertEqual(told["code"], "invalid_argument")
        values = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in told["details"]}
        info = error_details_pb2.ErrorInfo.FromString(values["google.rpc.ErrorInfo"])
        self.assertEqual((info.domain, info.reason), ("tokend", "INVALID_FIELD"))
        [violation] = error_details_pb2.BadRequest.FromString(values["google.rpc.BadRequest"]).field_violations
        self.assertEqual(violation.field, "name")
