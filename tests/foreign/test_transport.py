"""What holds for every call: who may call, what is no message, what the wire may and may not do."""

import threading
import time

import grpc

from client import ADMIN_KEY, ANSWERS, CONTRACT_PATHS, Refusal, Test, callers, tokens, verify

VERIFY = "/tokend.v1.TokenVerify/Verify"
LIST_CALLERS = "/tokend.v1.CallerAdmin/ListCallers"


def authorization(*values):
    return [("authorization", value) for value in values]


class Authentication(Test):
    def test_no_credential_no_answer(self):
        for metadata in [
            [],
            [("x-authorization", f"Bearer {ADMIN_KEY}")],
            [("authorization-bin", f"Bearer {ADMIN_KEY}".encode())],
        ]:
            stranger = self.client(metadata=metadata)
            # Strangers do not learn what there is, either.
            for path in [*CONTRACT_PATHS, "/tokend.v1.TokenVerify/Nothing", "/nobody.Nothing/Nothing"]:
                with self.subTest(f"{path} {metadata}"), self.refused("UNAUTHENTICATED", "MISSING_CREDENTIAL"):
                    stranger.raw(path, b"\xff")

    def test_only_a_caller_key_that_works_is_a_credential(self):
        secret = self.new_token().secret
        other = ADMIN_KEY[:40] + ("0" if ADMIN_KEY[40] != "0" else "1") + ADMIN_KEY[41:]
        for credential in [
            f"Bearer {secret}",
            f"Bearer {secret.replace('tkdw', 'tkdc')}",
            f"Bearer {other}",
            f"Bearer {ADMIN_KEY[:-1]}",
            f"Bearer {ADMIN_KEY}, Bearer {ADMIN_KEY}",
            f"Bearer{ADMIN_KEY}",
            f"Basic {ADMIN_KEY}",
            ADMIN_KEY,
            "Bearer",
            "Bearer ",
            "",
        ]:
            client = self.client(metadata=authorization(credential))
            with self.subTest(credential[:12]), self.refused("UNAUTHENTICATED", "INVALID_CREDENTIAL") as told:
                client.raw(LIST_CALLERS)
            self.assertNotIn(ADMIN_KEY[24:], told[0].message)

    def test_of_two_credentials_none_counts(self):
        good = f"Bearer {ADMIN_KEY}"
        for values in [(good, good), (good, "Bearer garbage"), ("", good)]:
            with self.subTest(len(values)), self.refused("UNAUTHENTICATED", "INVALID_CREDENTIAL"):
                self.client(metadata=authorization(*values)).raw(LIST_CALLERS)

    def test_the_name_of_the_scheme_may_have_any_case(self):
        for scheme in ["bearer", "BEARER", "bEaReR", "Bearer "]:
            self.client(metadata=authorization(f"{scheme} {ADMIN_KEY}")).raw(LIST_CALLERS)

    def test_the_role_counts_before_the_request(self):
        auditor = self.caller(callers.ROLE_AUDITOR)
        for path in [VERIFY, "/tokend.v1.TokenAdmin/CreateToken", "/tokend.v1.CallerAdmin/CreateCaller"]:
            with self.subTest(path), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                auditor.raw(path, b"\xff")


class Messages(Test):
    def test_an_empty_message_is_one(self):
        for path in CONTRACT_PATHS:
            with self.subTest(path):
                try:
                    self.admin.raw(path)
                    self.assertRegex(path, "/(List|Watch$)", "only a list or a watch needs to be told nothing")
                except grpc.RpcError as error:
                    # Of fields that are missing, not of the bytes; and IdentifyToken knows no token without characters.
                    self.assertIn(Refusal(error).reason, ["INVALID_FIELD", "TOKEN_NOT_FOUND"])

    def test_bytes_that_are_no_message(self):
        for path in CONTRACT_PATHS:
            for body in [b"\xff" * 11, b"\x0a\x7fshort", b"\x0f"]:
                with self.subTest(f"{path} {body}"), self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
                    self.admin.raw(path, body)

    def test_text_that_is_no_utf8(self):
        for path in CONTRACT_PATHS:
            # Field 1, as text: ListCallers and ListWorkspaces have a number there, ListScopes and BatchVerify no text.
            with self.subTest(path):
                if path.rpartition("/")[2] == "ListScopes":
                    continue
                with self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
                    self.admin.raw(path, b"\x0a\x04ab\xff\xfe")
        for body in [b"\x1a\x02\xc0\x80", b"\x22\x03\xed\xa0\x80"]:
            with self.subTest(body), self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
                self.admin.raw(VERIFY, body)

    def test_fields_of_a_later_contract_are_passed_over(self):
        secret = self.new_token().secret
        body = self.question(secret).SerializeToString() + b"\xfa\x7f\x03new"
        self.assert_allowed(verify.VerifyResponse.FromString(self.admin.raw(VERIFY, body)))

    def test_a_message_has_a_largest_size(self):
        for path, limit in [(VERIFY, 16 << 10), ("/tokend.v1.TokenAdmin/IdentifyToken", 64 << 10)]:
            # The first field of both is the secret; its tag and length take 4 bytes.
            fits, *too_large = [
                tokens.IdentifyTokenRequest(secret="x" * n).SerializeToString() for n in [limit - 4, limit, 8 << 20]
            ]
            with self.assertRaises(grpc.RpcError) as caught:
                self.admin.raw(path, fits)
            self.assertIn(Refusal(caught.exception).reason, ["INVALID_FIELD", "TOKEN_NOT_FOUND"])
            for body in too_large:
                with self.subTest(f"{path} {len(body)}"), self.refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"):
                    self.admin.raw(path, body)
        with self.refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"):
            self.new_token(description="x" * (64 << 10))
        with self.refused_field("description"):
            self.new_token(description="x" * (63 << 10))
        with self.refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"):
            self.admin.verify.BatchVerify(verify.BatchVerifyRequest(requests=[self.question("x" * 9_000)] * 256))
        self.new_token()

    def test_what_is_not_there(self):
        for path in [
            "/tokend.v1.TokenVerify/Unwatch",
            "/tokend.v1.TokenVerify/verify",
            "/tokend.v1.TokenAdmin/UpdateToken",
            "/tokend.v2.TokenVerify/Verify",
            "/grpc.health.v1.Health/List",
            "/nobody.Nothing/Nothing",
        ]:
            with self.subTest(path), self.refused("UNIMPLEMENTED", "UNKNOWN_METHOD"):
                self.admin.raw(path)
            with self.subTest(f"{path} as a stream"), self.refused("UNIMPLEMENTED", "UNKNOWN_METHOD"):
                next(self.admin.channel.stream_stream(path)(iter([b""])))

    def test_a_call_has_exactly_one_message(self):
        call = self.admin.channel.stream_stream(LIST_CALLERS)
        with self.refused("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"):
            list(call(iter([])))


class Wire(Test):
    def test_compression_is_refused_in_words(self):
        question = self.question(self.new_token().secret + "x" * 2_000)
        for compression in [grpc.Compression.Gzip, grpc.Compression.Deflate]:
            with self.subTest(compression), self.refused("UNIMPLEMENTED", "ENCODING_NOT_SERVED") as told:
                self.admin.verify.Verify(question, compression=compression)
            self.assertRegex(told[0].message, "gzip|deflate")
        self.admin.verify.Verify(question, compression=grpc.Compression.NoCompression)

    def test_a_deadline_ends_a_call_or_it_has_a_verdict(self):
        # Which of the two is a race; test_health has a call that nothing but its deadline ends.
        for timeout in [0, *(n / 10_000 for n in range(50))]:
            try:
                response = self.admin.verify.Verify(self.question("garbage"), timeout=timeout)
                self.assert_denied(response, "UNRECOGNIZED")
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assert_denied(self.verdict("garbage"), "UNRECOGNIZED")

    def test_a_change_that_the_client_gave_up_is_whole_or_not_there(self):
        request = self.token_request(request_id=self.new_id())
        for timeout in [0.001, 0.002, 0.004]:
            try:
                self.admin.tokens.CreateToken(request, timeout=timeout)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.admin.tokens.CreateToken(request)
        listed = self.admin.tokens.ListTokens(tokens.ListTokensRequest(parent=self.workspace))
        self.assertEqual(listed.total_size, 1, "however often it was sent")

    def test_a_call_can_be_cancelled(self):
        call = self.admin.verify.Verify.future(self.question("garbage"))
        call.cancel()
        if not call.cancelled():
            call.result()
        self.assert_denied(self.verdict("garbage"), "UNRECOGNIZED")

    def test_metadata_that_nobody_asked_for(self):
        self.admin.raw(
            LIST_CALLERS, metadata=[("x-request-id", "a"), ("x-bytes-bin", b"\0\xff"), ("x-long", "a" * 4_000)]
        )
        # Past the size of a header list HTTP/2 itself answers, 431, before there is a gRPC call.
        with self.assertRaises(grpc.RpcError) as caught:
            self.admin.raw(LIST_CALLERS, metadata=[("x-long", "a" * 9_000)])
        self.assertIn("431", caught.exception.details())
        self.admin.raw(LIST_CALLERS)

    def test_many_calls_on_one_connection(self):
        secret = self.new_token().secret
        # What memory answers is never too much for one connection.
        left = {n: self.question(secret if n % 2 else f"garbage {n}", fully_consistent=True) for n in range(500)}
        while left:
            calls = {n: self.admin.verify.Verify.future(question) for n, question in left.items()}
            for n, call in calls.items():
                try:
                    self.assertEqual(call.result().decision, verify.DECISION_ALLOW if n % 2 else verify.DECISION_DENY)
                    del left[n]
                except grpc.RpcError as error:
                    # Too many at once for one connection or for a slow machine: rejected with a delay for the next
                    # attempt, but never a wrong verdict.
                    refusal = Refusal(error)
                    ANSWERS.add_reason(refusal.reason)
                    self.assertIn(refusal.reason, {"TOO_MANY_IN_FLIGHT", "OVERLOADED", "STORAGE_UNAVAILABLE"}, refusal)
                    delay = refusal.retry.retry_delay.ToTimedelta().total_seconds()
            if left:
                self.assertLess(len(left), len(calls), "some get through each time")
                time.sleep(delay)

    def test_a_call_waits_for_a_connection(self):
        done = threading.Event()
        call = self.client(ADMIN_KEY).verify.Verify.future(self.question("garbage"), wait_for_ready=True)
        call.add_done_callback(lambda _: done.set())
        self.assertTrue(done.wait(30))
        self.assert_denied(call.result(), "UNRECOGNIZED")
