"""TokenVerify: every verdict that can be reached, and what is no verdict."""

import queue

from google.protobuf.duration_pb2 import Duration

from client import ADMIN_KEY, Test, callers, token, tokens, verify


class Verify(Test):
    def test_allow_tells_the_token(self):
        made = self.new_token(
            display_name="Déploiement 🚀",
            scopes=["pullrequest", "webhook"],
            resource=f"{self.workspace}/projects/web",
            labels={"team": "web", "empty": ""},
            allowed_cidrs=["192.0.2.0/24", "2001:db8::/32"],
        )
        told = self.verdict(
            made.secret,
            f"{made.token.resource}/repositories/a",
            ["repository", "webhook"],
            client_address="2001:db8::7",
        )
        self.assert_allowed(told)
        known = told.token
        self.assertEqual(known.name, made.token.name)
        self.assertEqual(known.workspace, self.workspace)
        self.assertEqual(known.resource, made.token.resource)
        self.assertEqual(known.display_name, "Déploiement 🚀")
        self.assertEqual(sorted(known.scopes), ["pullrequest", "repository", "webhook"], "implied ones included")
        self.assertEqual(known.expire_time, made.token.expire_time)
        self.assertTrue(3500 < known.expires_in.ToTimedelta().total_seconds() <= 3600, known.expires_in)
        self.assertEqual(list(known.allowed_cidrs), ["192.0.2.0/24", "2001:db8::/32"])
        self.assertEqual(dict(known.labels), {"team": "web", "empty": ""})
        self.assertEqual(list(told.missing_scopes), [])
        self.assertTrue(0 <= told.cacheable_for.ToTimedelta().total_seconds() <= 1, "the lease is of 1 s")
        self.assertGreater(told.revision.epoch, 0)

    def test_allow_without_an_end_or_a_required_scope(self):
        made = self.new_token(no_expiry=True)
        told = self.verdict(made.secret)
        self.assert_allowed(told)
        self.assertFalse(told.token.HasField("expire_time") or told.token.HasField("expires_in"))

    def test_unrecognized_is_one_answer(self):
        secret = self.new_token().secret
        epoch = self.verdict(secret).revision.epoch
        self.assertRegex(secret, r"\Atkdw_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}\Z")

        def altered(at):
            return secret[:at] + ("0" if secret[at] != "0" else "1") + secret[at + 1 :]

        stranger = self.caller(callers.ROLE_VERIFIER, only=[self.new_workspace()])
        asked = {
            "empty": (self.admin, ""),
            "garbage": (self.admin, "garbage"),
            "not ASCII": (self.admin, "tkdw_🚀"),
            "control characters": (self.admin, "\0\r\n"),
            "truncated": (self.admin, secret[:-1]),
            "only its id": (self.admin, secret[:23]),
            "one character more": (self.admin, secret + "0"),
            "white space around": (self.admin, f" {secret}\n"),
            "other prefix": (self.admin, "abcw" + secret[4:]),
            "as a caller key": (self.admin, "tkdc" + secret[4:]),
            "a caller key": (self.admin, ADMIN_KEY),
            "other case": (self.admin, secret.swapcase()),
            "other key id": (self.admin, altered(5)),
            "other id": (self.admin, altered(10)),
            "other secret": (self.admin, altered(30)),
            "other checksum": (self.admin, altered(len(secret) - 1)),
            "twice": (self.admin, secret + secret),
            "16,000 characters": (self.admin, "x" * 16_000),
            "of a workspace that is not the caller's": (stranger, secret),
        }
        expected = verify.VerifyResponse(
            decision=verify.DECISION_DENY, deny_reason=verify.DENY_REASON_UNRECOGNIZED, cacheable_for=Duration()
        )
        for what, (client, presented) in asked.items():
            with self.subTest(what):
                told = self.verdict(presented, client=client)
                self.assertEqual(told.SerializeToString(), expected.SerializeToString())
                # Whatever else is asked: a revision not reached yet would tell that there is such a token.
                ahead = token.Revision(epoch=epoch, number=2**63)
                told = self.verdict(
                    presented, client=client, min_revision=ahead, scopes=["webhook"], client_address="::1"
                )
                self.assertEqual(told.SerializeToString(), expected.SerializeToString())
        self.assert_allowed(self.verdict(secret))

    def test_revoked(self):
        made = self.new_token()
        self.assert_allowed(self.verdict(made.secret))
        revision = self.revoke(made.token.name).revision
        told = self.verdict(made.secret)
        self.assert_denied(told, "REVOKED")
        self.assertEqual(told.token.name, made.token.name, "told, for the secret has matched")
        self.assertEqual(told.revision.epoch, revision.epoch)
        self.assertGreaterEqual(told.revision.number, revision.number)

    def test_expired(self):
        made = self.new_token(ttl=Duration(seconds=1), allowed_cidrs=["192.0.2.0/24"])
        denied = self.eventually(
            "it expires", lambda: (told := self.verdict(made.secret, client_address="192.0.2.1")).decision != 1 and told
        )
        self.assert_denied(denied, "EXPIRED")
        self.assertEqual(denied.token.expires_in, Duration())
        # Whatever else is wrong, in the documented order; revoked comes first.
        self.assert_denied(self.verdict(made.secret, "workspaces/nowhere", ["webhook"]), "EXPIRED")
        self.revoke(made.token.name)
        self.assert_denied(self.verdict(made.secret), "REVOKED")

    def test_resource_not_covered(self):
        bound = f"{self.workspace}/projects/web"
        secret = self.new_token(resource=bound).secret
        for covered in [bound, f"{bound}/repositories/a", f"{bound}/~me%2F+x@y:z"]:
            self.assert_allowed(self.verdict(secret, covered))
        for other in [
            self.workspace,
            f"{self.workspace}/projects",
            f"{bound}2",
            f"{self.workspace}/projects/WEB",
            "workspaces/nowhere",
        ]:
            with self.subTest(other):
                told = self.verdict(secret, other, ["webhook"])
                self.assert_denied(told, "RESOURCE_NOT_COVERED")
                self.assertEqual(list(told.missing_scopes), [], "told only with its own reason")

    def test_insufficient_scope(self):
        secret = self.new_token(scopes=["pullrequest"], allowed_cidrs=["192.0.2.0/24"]).secret
        told = self.verdict(secret, scopes=["repository", "webhook", "pullrequest:write", "webhook"])
        self.assert_denied(told, "INSUFFICIENT_SCOPE")
        self.assertEqual(sorted(told.missing_scopes), ["pullrequest:write", "webhook"])

    def test_address_not_allowed(self):
        secret = self.new_token(allowed_cidrs=["192.0.2.0/24", "2001:db8::/32", "::ffff:198.51.100.0/120"]).secret
        for address in [
            "192.0.2.0",
            "192.0.2.255",
            "::ffff:192.0.2.7",
            "2001:db8:ffff::1",
            "198.51.100.9",
            "::ffff:c633:6409",
        ]:
            with self.subTest(address):
                self.assert_allowed(self.verdict(secret, client_address=address))
        for address in ["", "192.0.3.0", "2001:db9::1", "::1", "::192.0.2.7", "::ffff:192.0.3.7"]:
            with self.subTest(address):
                self.assert_denied(self.verdict(secret, client_address=address), "ADDRESS_NOT_ALLOWED")

    def test_a_revision_to_wait_for(self):
        made = self.new_token()
        revision = self.revoke(self.new_token().token.name).revision
        self.assert_allowed(self.verdict(made.secret, min_revision=revision, fully_consistent=True))
        other_epoch = token.Revision(epoch=revision.epoch + 1, number=2**64 - 1)
        self.assert_allowed(self.verdict(made.secret, min_revision=other_epoch))
        ahead = token.Revision(epoch=revision.epoch, number=2**63)
        with self.refused("UNAVAILABLE", "STORAGE_UNAVAILABLE") as told:
            self.verdict(made.secret, min_revision=ahead)
        self.assertGreater(told[0].retry.retry_delay.ToTimedelta().total_seconds(), 0)

    def test_fields_that_do_not_fit(self):
        secret = self.new_token().secret
        for resource in ["projects/web", "workspaces", "workspaces/", f"{self.workspace}/", f"{self.workspace}//a"] + [
            f"{self.workspace}/..",
            f"{self.workspace}/.",
            f"{self.workspace}/a b",
            f"/{self.workspace}",
            f"{self.workspace}/" + "a" * 129,
            f"{self.workspace}" + "/a" * 15,
            f"{self.workspace}" + ("/" + "a" * 127) * 8,
        ]:
            with self.subTest(resource), self.refused_field("resource"):
                self.verdict(secret, resource)
        with self.refused_field("resource"):
            self.admin.verify.Verify(verify.VerifyRequest(token=secret))
        for address in [
            "localhost",
            "192.0.2",
            "192.0.2.1/32",
            "192.0.2.1:80",
            "[::1]",
            " ::1",
            "fe80::1%eth0",
            "0xC0000201",
        ]:
            with self.subTest(address), self.refused_field("client_address"):
                self.verdict(secret, client_address=address)
        with self.refused_field("required_scopes[1]", "required_scopes[2]"):
            self.verdict(secret, scopes=["repository", "nothing", "Repository"])
        self.assert_allowed(self.verdict(secret, scopes=["repository"] * 64))
        with self.refused_field("required_scopes"):
            self.verdict(secret, scopes=["repository"] * 65)
        with self.refused_field("resource", "required_scopes[0]", "client_address"):
            self.verdict(secret, "x", [""], client_address="x")

    def test_roles(self):
        secret = self.new_token().secret
        for client in [self.caller(callers.ROLE_VERIFIER), self.caller(callers.ROLE_VERIFIER, only=[self.workspace])]:
            self.assert_allowed(self.verdict(secret, client=client))
        for role in [callers.ROLE_WORKSPACE_ADMIN, callers.ROLE_REVOKER, callers.ROLE_AUDITOR]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                # Before anything is validated.
                self.verdict(secret, "ill-formed", client=self.caller(role))


class BatchVerify(Test):
    def batch(self, questions, client=None):
        return (client or self.admin).verify.BatchVerify(verify.BatchVerifyRequest(requests=questions)).responses

    def test_256_answers_in_the_order_of_the_questions(self):
        some = [self.new_token() for _ in range(4)]
        for dead in some[1::2]:
            self.revoke(dead.token.name)
        questions, expected = [], []
        for n in range(256):
            made = some[n * 7 % 4]
            questions.append(
                self.question(made.secret if n % 5 else f"garbage {n}", scopes=["webhook"] if n % 3 == 0 else [])
            )
            if n % 5 == 0:
                expected.append(("", verify.DENY_REASON_UNRECOGNIZED))
            elif n * 7 % 4 % 2:
                expected.append((made.token.name, verify.DENY_REASON_REVOKED))
            else:
                lacks = verify.DENY_REASON_INSUFFICIENT_SCOPE if n % 3 == 0 else verify.DENY_REASON_UNSPECIFIED
                expected.append((made.token.name, lacks))
        told = self.batch(questions)
        self.assertEqual([(one.token.name, one.deny_reason) for one in told], expected)
        for one in told:
            self.assertEqual(one.decision == verify.DECISION_ALLOW, one.deny_reason == verify.DENY_REASON_UNSPECIFIED)

    def test_each_is_answered_as_if_alone(self):
        secret = self.new_token().secret
        questions = [self.question(secret), self.question("garbage"), self.question(secret, scopes=["webhook"])]
        for together, alone in zip(self.batch(questions), questions, strict=True):
            alone = self.admin.verify.Verify(alone)
            for answer in [together, alone]:
                # Time goes on between the two, and so may the database.
                answer.token.ClearField("expires_in")
                answer.ClearField("revision")
                answer.ClearField("cacheable_for")
            self.assertEqual(together, alone)

    def test_ill_formed_ones_are_named_and_nothing_is_told(self):
        fine = self.question("garbage")
        with self.refused_field("requests[1].resource", "requests[3].required_scopes[0]", "requests[3].client_address"):
            self.batch(
                [fine, self.question("x", "nowhere"), fine, self.question("x", scopes=["no"], client_address="x")]
            )

    def test_1_to_256(self):
        for count in [0, 257]:
            with self.subTest(count), self.refused_field("requests"):
                self.batch([self.question("garbage")] * count)

    def test_one_from_the_future_fails_the_call(self):
        made = self.new_token()
        revision = self.verdict(made.secret).revision
        ahead = token.Revision(epoch=revision.epoch, number=2**63)
        with self.refused("UNAVAILABLE", "STORAGE_UNAVAILABLE"):
            self.batch([self.question(made.secret), self.question(made.secret, min_revision=ahead)])

    def test_roles(self):
        mine, theirs = self.new_token().secret, self.new_token(parent=self.new_workspace()).secret
        told = self.batch(
            [self.question(mine), self.question(theirs)], self.caller(callers.ROLE_VERIFIER, only=[self.workspace])
        )
        self.assert_allowed(told[0])
        self.assert_denied(told[1], "UNRECOGNIZED")
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.batch([], self.caller(callers.ROLE_AUDITOR))


class Watch(Test):
    def test_a_revocation_is_told_before_the_pong(self):
        made = self.new_token()
        requests = queue.SimpleQueue()
        responses = self.admin.verify.Watch(iter(requests.get, None))
        told, last = [], None
        for number in range(1, 1000):
            requests.put(verify.WatchRequest(ping=verify.Ping(number=number)))
            for response in responses:
                told += response.invalidations
                if response.HasField("pong"):
                    break
            self.assertEqual(response.pong.number, number)
            self.assertFalse(response.resync_required)
            if last is None:
                self.assertEqual(told, [], "nothing has changed yet")
                last = self.admin.tokens.RevokeToken(
                    tokens.RevokeTokenRequest(name=made.token.name, no_wait=True)
                ).revision
            elif response.pong.revision.number >= last.number:
                break
        requests.put(None)
        self.assertEqual([(each.token, each.revision) for each in told], [(made.token.name, last)])
        self.assertEqual(list(responses), [], "the stream ends when the client has no more to say")
