"""CallerAdmin: callers and their keys."""

import time

from google.protobuf.duration_pb2 import Duration

from client import Test, callers, token

EVERYWHERE = token.Selection(all=True)


class CallerTest(Test):
    def setUp(self):
        super().setUp()
        self.parent = self.new_caller(callers.ROLE_VERIFIER)

    def create(self, client=None, **fields):
        request = dict(caller_id=self.new_id(), role=callers.ROLE_VERIFIER, workspaces=EVERYWHERE)
        return (client or self.admin).callers.CreateCaller(callers.CreateCallerRequest(**{**request, **fields})).caller

    def get(self, name, client=None):
        return (client or self.admin).callers.GetCaller(callers.GetCallerRequest(name=name)).caller

    def new_key(self, parent=None, client=None, **fields):
        request = callers.CreateCallerKeyRequest(parent=parent or self.parent, **fields)
        return (client or self.admin).callers.CreateCallerKey(request)

    def revoke_key(self, name, client=None):
        return (client or self.admin).callers.RevokeCallerKey(callers.RevokeCallerKeyRequest(name=name))

    def keys(self, parent=None, client=None, **fields):
        return (client or self.admin).callers.ListCallerKeys(
            callers.ListCallerKeysRequest(parent=parent or self.parent, **fields)
        )

    def assert_works(self, secret):
        self.assert_denied(self.verdict("garbage", client=self.client(secret)), "UNRECOGNIZED")

    def assert_ended(self, secret):
        with self.refused("UNAUTHENTICATED", "INVALID_CREDENTIAL") as told:
            self.verdict("garbage", client=self.client(secret))
        self.assertNotIn(secret[24:], told[0].message)

    def refused_roles(self, call, *roles):
        for role in roles:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                call(self.caller(role))


# AUDITOR reads callers, and nobody else but ADMIN.
OTHERS = [callers.ROLE_WORKSPACE_ADMIN, callers.ROLE_REVOKER, callers.ROLE_VERIFIER]


class CreateCaller(CallerTest):
    def test_a_caller_is_what_was_asked_for(self):
        caller_id = self.new_id().ljust(63, "-")
        sans = ["spiffe://example.com/" + "a" * 234, *(f"{n}.example.com" for n in range(15))]
        only = sorted([self.workspace, "workspaces/not-there-yet"])
        made = self.create(
            caller_id=caller_id,
            role=callers.ROLE_WORKSPACE_ADMIN,
            workspaces=token.Selection(only=only),
            certificate_sans=sans,
        )
        self.assertEqual((made.name, made.role), (f"callers/{caller_id}", callers.ROLE_WORKSPACE_ADMIN))
        self.assertEqual((made.workspaces.all, list(made.workspaces.only)), (False, only))
        self.assertEqual(list(made.certificate_sans), sans)
        self.assertLess(abs(made.create_time.seconds - time.time()), 60)
        self.assertEqual(self.get(made.name), made)
        with self.refused("ALREADY_EXISTS", "CALLER_ALREADY_EXISTS"):
            self.create(caller_id=caller_id)

    def test_every_role(self):
        for role in set(callers.Role.values()) - {callers.ROLE_UNSPECIFIED}:
            made = self.create(role=role)
            self.assertEqual((made.role, made.workspaces), (role, EVERYWHERE))

    def test_fields_that_do_not_fit(self):
        for caller_id in ["", "a", "A-b", "a_b", "a" * 64, "callers/abc"]:
            with self.subTest(caller_id), self.refused_field("caller_id"):
                self.create(caller_id=caller_id)
        for role in [callers.ROLE_UNSPECIFIED, 99, -1]:
            with self.subTest(role), self.refused_field("role"):
                self.create(role=role)
        some = token.Selection(only=[self.workspace])
        for where in [None, token.Selection(), token.Selection(all=True, only=[self.workspace])]:
            with self.subTest(where), self.refused_field("workspaces"):
                self.create(workspaces=where)
        with self.refused_field("workspaces.only[1]"):
            self.create(workspaces=token.Selection(only=[self.workspace, "acme"]))
        for role in [callers.ROLE_ADMIN, callers.ROLE_AUDITOR, callers.ROLE_REVOKER]:
            with self.subTest(role), self.refused_field("workspaces"):
                self.create(role=role, workspaces=some)
        with self.refused_field("certificate_sans"):
            self.create(certificate_sans=[f"{n}.example.com" for n in range(17)])
        with self.refused_field("certificate_sans[0]", "certificate_sans[2]"):
            self.create(certificate_sans=["", "example.com", "a b"])
        with self.refused_field("caller_id", "role", "workspaces"):
            self.admin.callers.CreateCaller(callers.CreateCallerRequest())

    def test_roles(self):
        self.refused_roles(lambda client: self.create(client, caller_id=""), callers.ROLE_AUDITOR, *OTHERS)


class GetCaller(CallerTest):
    def test_what_is_not_there_and_what_is_no_name(self):
        with self.refused("NOT_FOUND", "CALLER_NOT_FOUND"):
            self.get("callers/nobody")
        for name in ["", "callers/", f"{self.parent}/keys", self.workspace]:
            with self.subTest(name), self.refused_field("name"):
                self.get(name)

    def test_roles(self):
        self.assertEqual(self.get(self.parent, self.caller(callers.ROLE_AUDITOR)).name, self.parent)
        self.refused_roles(lambda client: self.get(self.parent, client), *OTHERS)


class ListCallers(CallerTest):
    def list(self, client=None, **fields):
        return (client or self.admin).callers.ListCallers(callers.ListCallersRequest(**fields))

    def test_pages_ordered_by_id(self):
        mine = {self.parent, *(self.new_caller(callers.ROLE_AUDITOR) for _ in range(4))}
        page, listed = self.list(page_size=2), []
        while True:
            listed += page.callers
            if not page.next_page_token:
                break
            self.assertLessEqual(len(page.callers), 2)
            page = self.list(page_size=2, page_token=page.next_page_token)
        names = [caller.name for caller in listed]
        self.assertEqual(names, sorted(set(names)), "in order, none twice")
        self.assertLessEqual(mine, set(names))
        self.assertIn(self.get(self.parent), listed)

    def test_fields_that_do_not_fit(self):
        with self.refused_field("page_size"):
            self.list(page_size=-1)
        auditor = self.caller(callers.ROLE_AUDITOR)
        page_token = self.list(auditor, page_size=1).next_page_token
        self.assertEqual(len(self.list(auditor, page_token=page_token, page_size=1).callers), 1)
        for altered in [page_token, page_token[:-1], "x"]:
            with self.refused_field("page_token"):
                self.list(page_token=altered)

    def test_roles(self):
        self.refused_roles(lambda client: self.list(client), *OTHERS)


class DeleteCaller(CallerTest):
    def delete(self, name, client=None):
        return (client or self.admin).callers.DeleteCaller(callers.DeleteCallerRequest(name=name))

    def test_its_keys_end_and_its_tokens_live_on(self):
        caller = self.create(role=callers.ROLE_ADMIN)
        secret = self.new_key(caller.name).secret
        made = self.client(secret).tokens.CreateToken(self.token_request())
        told = self.delete(caller.name)
        self.assertEqual(told.caller, caller)
        self.assertGreater(told.revision.epoch, 0)
        self.assert_ended(secret)
        self.assert_allowed(self.verdict(made.secret))
        self.assertEqual(self.get_token(made.token.name).creator, caller.name)
        for call in [self.get, self.delete, self.new_key, self.keys]:
            with self.subTest(call.__name__), self.refused("NOT_FOUND", "CALLER_NOT_FOUND"):
                call(caller.name)

    def test_what_is_no_name(self):
        with self.refused_field("name"):
            self.delete("nobody")

    def test_roles(self):
        self.refused_roles(lambda client: self.delete(self.parent, client), callers.ROLE_AUDITOR, *OTHERS)
        self.get(self.parent)


class CreateCallerKey(CallerTest):
    def test_a_key_works_at_once_for_90_days_unless_told_otherwise(self):
        made = self.new_key()
        self.assert_works(made.secret)
        self.assertRegex(made.secret, r"\Atkdc_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}\Z")
        key = made.key
        self.assertEqual(key.name, f"{self.parent}/keys/{made.secret[6:23]}")
        self.assertEqual(key.state, callers.CallerKey.STATE_ACTIVE)
        self.assertTrue(made.secret.startswith(key.hint.removesuffix("...")) and key.hint.endswith("..."), key.hint)
        self.assertEqual(key.expire_time.ToNanoseconds() - key.create_time.ToNanoseconds(), 90 * 86_400 * 10**9)
        short = self.new_key(ttl=Duration(seconds=1))
        self.eventually("it expires", lambda: self.keys().keys[0].state == callers.CallerKey.STATE_EXPIRED)
        self.assertEqual(self.keys().keys[0].name, short.key.name)
        self.assert_ended(short.secret)
        self.assert_works(made.secret)

    def test_a_third_key_is_refused_until_one_has_ended(self):
        first, second = self.new_key(), self.new_key()
        with self.refused("RESOURCE_EXHAUSTED", "TOO_MANY_CALLER_KEYS") as told:
            self.new_key()
        [violation] = told[0].quota.violations
        self.assertEqual(violation.subject, self.parent)
        self.assertIn("revoke", violation.description)
        self.revoke_key(first.key.name)
        third = self.new_key()
        for made in [second, third]:
            self.assert_works(made.secret)

    def test_fields_that_do_not_fit(self):
        for ttl in [(0, 0), (-1, 0), (0, 999), (0, 10**9), (300_000_000_000, 0)]:
            with self.subTest(ttl), self.refused_field("ttl"):
                self.new_key(ttl=Duration(seconds=ttl[0], nanos=ttl[1]))
        with self.refused_field("parent"):
            self.new_key("nobody")
        with self.refused("NOT_FOUND", "CALLER_NOT_FOUND"):
            self.new_key("callers/nobody")

    def test_roles(self):
        self.refused_roles(lambda client: self.new_key(client=client), callers.ROLE_AUDITOR, *OTHERS)


class RevokeCallerKey(CallerTest):
    def test_it_ends_at_once_and_twice_changes_nothing(self):
        made = self.new_key()
        told = self.revoke_key(made.key.name)
        self.assertEqual((told.key.name, told.key.state), (made.key.name, callers.CallerKey.STATE_REVOKED))
        self.assert_ended(made.secret)
        again = self.revoke_key(made.key.name)
        self.assertEqual(again.key, told.key)
        self.assertGreaterEqual(again.revision.number, told.revision.number)

    def test_what_is_not_there_and_what_is_no_name(self):
        made = self.new_key()
        other = made.key.name.replace(self.parent, self.new_caller(callers.ROLE_AUDITOR))
        for name in [other, made.key.name.replace(self.parent, "callers/nobody")]:
            with self.subTest(name), self.refused("NOT_FOUND", "CALLER_KEY_NOT_FOUND"):
                self.revoke_key(name)
        for name in ["", self.parent, f"{self.parent}/keys/", f"{self.parent}/keys/x"]:
            with self.subTest(name), self.refused_field("name"):
                self.revoke_key(name)
        self.assert_works(made.secret)

    def test_roles(self):
        made = self.new_key()
        self.refused_roles(lambda client: self.revoke_key(made.key.name, client), callers.ROLE_AUDITOR, *OTHERS)


class ListCallerKeys(CallerTest):
    def test_pages_the_newest_first_with_ended_ones_and_without_secrets(self):
        made = []
        for _ in range(5):
            made.append(self.new_key())
            self.revoke_key(made[-1].key.name)
        made.append(self.new_key())
        page, listed = self.keys(page_size=4), []
        self.assertEqual(len(page.keys), 4)
        listed += page.keys
        page = self.keys(page_size=4, page_token=page.next_page_token)
        self.assertEqual((len(page.keys), page.next_page_token), (2, ""))
        listed += page.keys
        self.assertEqual([key.name for key in listed], [one.key.name for one in reversed(made)])
        self.assertEqual([key for key in listed if key.state == callers.CallerKey.STATE_ACTIVE], [made[-1].key])
        self.assertTrue(all(one.secret[24:] not in str(listed) for one in made))

    def test_fields_that_do_not_fit(self):
        for _ in range(2):
            self.new_key()
        with self.refused_field("parent", "page_size"):
            self.keys("nobody", page_size=-1)
        with self.refused("NOT_FOUND", "CALLER_NOT_FOUND"):
            self.keys("callers/nobody")
        page_token = self.keys(page_size=1).next_page_token
        other = self.new_caller(callers.ROLE_AUDITOR)
        for parent, altered in [(other, page_token), (self.parent, page_token[1:])]:
            with self.refused_field("page_token"):
                self.keys(parent, page_token=altered)

    def test_roles(self):
        self.new_key()
        self.assertEqual(len(self.keys(client=self.caller(callers.ROLE_AUDITOR)).keys), 1)
        self.refused_roles(lambda client: self.keys(client=client), *OTHERS)
