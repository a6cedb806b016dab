"""Token policies: what they say of tokens that are made and rotated."""

from google.protobuf.duration_pb2 import Duration

from client import Test, token, tokens, workspaces

HOUR = 3600


class Admission(Test):
    def set_policy(self, **rules):
        """Sets the policy of the test's workspace, and returns its name."""
        name = f"{self.workspace}/tokenPolicy"
        policy = workspaces.TokenPolicy(name=name, **rules)
        self.admin.workspaces.UpdateTokenPolicy(workspaces.UpdateTokenPolicyRequest(policy=policy))
        return name

    def set_strict_policy(self):
        return self.set_policy(
            require_expiry=True,
            max_lifetime=Duration(seconds=2 * HOUR),
            default_lifetime=Duration(seconds=HOUR),
            allowed_scopes=token.Selection(only=["repository:write"]),
            allowed_cidrs=token.Selection(only=["10.0.0.0/8", "2001:db8::/32"]),
        )

    def test_every_broken_rule_is_told(self):
        name = self.set_strict_policy()
        for validate_only in [False, True]:
            with self.refused("FAILED_PRECONDITION", "POLICY_VIOLATED") as told:
                self.new_token(
                    no_expiry=True,
                    scopes=["webhook", "pullrequest"],
                    allowed_cidrs=["192.0.2.0/24"],
                    validate_only=validate_only,
                )
            [refusal] = told
            self.assertEqual(
                [(violation.type, violation.subject) for violation in refusal.preconditions],
                [(rule, name) for rule in ["require_expiry", "max_lifetime", "allowed_scopes", "allowed_cidrs"]],
            )
            scopes, networks = refusal.preconditions[2:]
            self.assertRegex(scopes.description, "pullrequest.*webhook|webhook.*pullrequest")
            self.assertIn("repository:write", scopes.description)
            self.assertIn("10.0.0.0/8", networks.description)
        listed = self.admin.tokens.ListTokens(tokens.ListTokensRequest(parent=self.workspace))
        self.assertEqual(listed.total_size, 0, "nothing was made")

    def test_what_is_left_open_is_filled_in(self):
        self.set_strict_policy()
        made = self.admin.tokens.CreateToken(
            tokens.CreateTokenRequest(parent=self.workspace, display_name="ci", scopes=["repository"])
        )
        self.assertEqual(list(made.token.allowed_cidrs), ["10.0.0.0/8", "2001:db8::/32"])
        self.assertEqual(made.token.expire_time.ToNanoseconds() - made.token.create_time.ToNanoseconds(), HOUR * 10**9)
        self.assert_allowed(self.verdict(made.secret, client_address="10.1.2.3"))
        self.assert_denied(self.verdict(made.secret), "ADDRESS_NOT_ALLOWED")

    def test_a_rotation_obeys_the_policy_of_now(self):
        old = self.new_token(ttl=Duration(seconds=30 * HOUR)).token
        name = self.set_policy(max_lifetime=Duration(seconds=2 * HOUR))
        with self.refused("FAILED_PRECONDITION", "POLICY_VIOLATED") as told:
            self.admin.tokens.RotateToken(tokens.RotateTokenRequest(name=old.name))
        self.assertEqual([(broken.type, broken.subject) for broken in told[0].preconditions], [("max_lifetime", name)])
        rotation = tokens.RotateTokenRequest(name=old.name, ttl=Duration(seconds=2 * HOUR))
        new = self.admin.tokens.RotateToken(rotation).token
        self.assertEqual(new.expire_time.ToNanoseconds() - new.create_time.ToNanoseconds(), 2 * HOUR * 10**9)
        # What is longer than may be made now is revoked all the same.
        self.assertEqual(self.revoke(old.name).token.state, token.Token.STATE_REVOKED)

    def test_as_many_work_as_may(self):
        name = self.set_policy(max_active_tokens=2)
        first = self.new_token().token.name
        self.new_token()
        with self.refused("RESOURCE_EXHAUSTED", "TOO_MANY_ACTIVE_TOKENS") as told:
            self.new_token()
        [violation] = told[0].quota.violations
        self.assertEqual(violation.subject, name)
        self.assertIn("2", violation.description)
        self.admin.tokens.RotateToken(tokens.RotateTokenRequest(name=first))
        with self.refused("RESOURCE_EXHAUSTED", "TOO_MANY_ACTIVE_TOKENS"):
            self.new_token()
