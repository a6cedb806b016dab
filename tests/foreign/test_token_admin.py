"""TokenAdmin: issuing, showing, listing, rotating, ending and identifying tokens."""

import concurrent.futures
import time

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from client import ADMIN_KEY, Test, callers, token, tokens, workspaces

YEAR_10000 = 253_402_300_800


class CreateToken(Test):
    def test_a_token_is_what_was_asked_for(self):
        made = self.new_token(
            display_name="ä" * 120,
            description="two\nlines",
            scopes=["webhook", "pullrequest:write"],
            resource=f"{self.workspace}/projects/web",
            allowed_cidrs=["192.0.2.0/24", "2001:db8::/32"],
            labels={"team": "web", "empty": ""},
        )
        told = made.token
        self.assertRegex(made.secret, r"\Atkdw_[0-9A-Za-z]{18}_[0-9A-Za-z]{50}\Z")
        self.assertEqual(
            told.name, f"{self.workspace}/tokens/{made.secret[6:23]}", "a found secret can be revoked by name"
        )
        self.assertTrue(made.secret.startswith(told.hint.removesuffix("...")) and told.hint.endswith("..."), told.hint)
        self.assertEqual((told.workspace, told.resource), (self.workspace, f"{self.workspace}/projects/web"))
        self.assertEqual((told.display_name, told.description), ("ä" * 120, "two\nlines"))
        self.assertEqual(told.state, token.Token.STATE_ACTIVE)
        self.assertEqual(sorted(told.scopes), ["pullrequest:write", "webhook"])
        self.assertEqual(
            sorted(told.effective_scopes),
            ["pullrequest", "pullrequest:write", "repository", "repository:write", "webhook"],
        )
        self.assertEqual(list(told.allowed_cidrs), ["192.0.2.0/24", "2001:db8::/32"])
        self.assertEqual(dict(told.labels), {"team": "web", "empty": ""})
        self.assertRegex(told.creator, r"\Acallers/[a-z][a-z0-9-]+\Z")
        self.assertEqual(told.expire_time, told.requested_expire_time)
        self.assertEqual((told.expire_time.ToNanoseconds() - told.create_time.ToNanoseconds()), 3600 * 10**9)
        self.assertLess(abs(told.create_time.seconds - time.time()), 60)
        self.assertFalse(told.HasField("revoke_time") or told.revoker or told.revoke_reason)
        self.assertEqual(self.get_token(told.name), told, "what was told is what was kept")

    def test_every_way_to_choose_its_end(self):
        for last in [Timestamp(seconds=YEAR_10000 - 1, nanos=999_999_000), Timestamp(seconds=4_102_444_800)]:
            self.assertEqual(self.new_token(expire_time=last).token.expire_time, last)
        self.assertFalse(self.new_token(no_expiry=True).token.HasField("expire_time"))
        with self.refused_field("expiry"):
            self.new_token(ttl=None)
        with self.refused_field("no_expiry"):
            self.new_token(no_expiry=False)
        for ttl in [(0, 0), (-1, 0), (0, -1), (1, -1), (0, 999), (0, 10**9), (2**63 - 1, 0), (300_000_000_000, 0)]:
            with self.subTest(ttl), self.refused_field("ttl"):
                self.new_token(ttl=Duration(seconds=ttl[0], nanos=ttl[1]))
        for seconds in [0, 1_600_000_000, YEAR_10000, 2**63 - 1, -(2**63)]:
            with self.subTest(seconds), self.refused_field("expire_time"):
                self.new_token(expire_time=Timestamp(seconds=seconds))

    def test_fields_that_do_not_fit(self):
        cases = [
            (dict(parent=""), ["parent"]),
            (dict(parent=f"{self.workspace}/tokens/x"), ["parent"]),
            (dict(display_name=""), ["display_name"]),
            (dict(display_name=" \u3000"), ["display_name"]),
            (dict(display_name="ä" * 121), ["display_name"]),
            (dict(display_name="a\nb"), ["display_name"]),
            (dict(description="a" * 1001), ["description"]),
            (dict(description="\x1b[31m"), ["description"]),
            (dict(scopes=[]), ["scopes"]),
            (dict(scopes=["repository", "nothing"]), ["scopes[1]"]),
            (dict(scopes=["repository", "repository"]), ["scopes[1]"]),
            (dict(resource="workspaces/nowhere"), ["resource"]),
            (dict(resource=f"{self.workspace}x"), ["resource"]),
            (dict(resource=f"{self.workspace}/../x"), ["resource"]),
            (
                dict(allowed_cidrs=["192.0.2.0/24", "192.0.2.1", "192.0.2.1/24"]),
                ["allowed_cidrs[1]", "allowed_cidrs[2]"],
            ),
            (dict(allowed_cidrs=["10.0.0.0/8", "10.0.0.0/8"]), ["allowed_cidrs[1]"]),
            (dict(allowed_cidrs=[f"192.0.2.{n}/32" for n in range(65)]), ["allowed_cidrs"]),
            (dict(labels={f"k{n}": "" for n in range(17)}), ["labels"]),
            (dict(labels={"A": ""}), ["labels"]),
            (dict(labels={"a" * 64: ""}), ["labels"]),
            (dict(labels={"a": "b" * 129}), ["labels"]),
            (dict(request_id="r" * 37), ["request_id"]),
            (dict(request_id="ä"), ["request_id"]),
            (dict(request_id="a\n"), ["request_id"]),
        ]
        for fields, expected in cases:
            for validate_only in [False, True]:
                with self.subTest(f"{fields} {validate_only}"), self.refused_field(*expected):
                    self.new_token(validate_only=validate_only, **fields)
        with self.refused("INVALID_ARGUMENT", "INVALID_FIELD", ["parent", "display_name", "scopes", "expiry"]):
            self.admin.tokens.CreateToken(tokens.CreateTokenRequest())
        listed = self.admin.tokens.ListTokens(tokens.ListTokensRequest(parent=self.workspace))
        self.assertEqual((list(listed.tokens), listed.total_size), ([], 0), "nothing was made")

    def test_limits_are_inclusive(self):
        made = self.new_token(
            display_name="d" * 120,
            description="ä" * 1000,
            resource=f"{self.workspace}/" + "/".join(["~%+@:-._a"] * 14),
            allowed_cidrs=[f"2001:db8::{n:x}/128" for n in range(64)],
            labels={f"k{n:062}": "ä" * 128 for n in range(16)},
            request_id="~" * 36,
        )
        self.assertEqual(self.get_token(made.token.name), made.token)

    def test_a_replay_returns_the_same_token_without_its_secret(self):
        request = self.token_request(request_id=self.new_id(), labels={"b": "1", "a": "2"})
        first = self.admin.tokens.CreateToken(request)
        again = self.admin.tokens.CreateToken(request)
        self.assertEqual((again.token, again.secret), (first.token, ""))
        self.assert_allowed(self.verdict(first.secret))
        for change in [
            dict(display_name="other"),
            dict(scopes=["webhook"]),
            dict(labels={"a": "1"}),
            dict(no_expiry=True),
        ]:
            other = tokens.CreateTokenRequest()
            other.CopyFrom(request)
            other.MergeFrom(tokens.CreateTokenRequest(**change))
            with self.subTest(change), self.refused("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ["request_id"]):
                self.admin.tokens.CreateToken(other)
        # Unique for caller and parent only.
        elsewhere = tokens.CreateTokenRequest()
        elsewhere.CopyFrom(request)
        elsewhere.parent = self.new_workspace()
        self.assertNotEqual(self.admin.tokens.CreateToken(elsewhere).secret, "")
        somebody = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])
        self.assertNotEqual(somebody.tokens.CreateToken(request).token.name, first.token.name)
        # A replay tells the token as it is now.
        self.revoke(first.token.name)
        self.assertEqual(self.admin.tokens.CreateToken(request).token.state, token.Token.STATE_REVOKED)

    def test_20_at_once_with_one_request_id_make_one_token(self):
        request = self.token_request(request_id=self.new_id())
        clients = [self.client(ADMIN_KEY) for _ in range(20)]
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            answers = list(pool.map(lambda client: client.tokens.CreateToken(request), clients))
        self.assertEqual(len({answer.token.name for answer in answers}), 1)
        secrets = [answer.secret for answer in answers if answer.secret]
        self.assertEqual(len(secrets), 1, "told once")
        self.assert_allowed(self.verdict(secrets[0]))
        listed = self.admin.tokens.ListTokens(tokens.ListTokensRequest(parent=self.workspace))
        self.assertEqual((len(listed.tokens), listed.total_size), (1, 1))

    def test_a_rehearsal_makes_nothing(self):
        request = self.token_request(validate_only=True, request_id=self.new_id(), labels={"a": "b"})
        told = self.admin.tokens.CreateToken(request)
        self.assertEqual((told.secret, told.token.name, told.token.hint), ("", "", ""))
        self.assertEqual((told.token.workspace, dict(told.token.labels)), (self.workspace, {"a": "b"}))
        self.assertTrue(told.token.HasField("expire_time"))
        self.assertEqual(self.admin.tokens.ListTokens(tokens.ListTokensRequest(parent=self.workspace)).total_size, 0)
        request.validate_only = False
        self.assertNotEqual(self.admin.tokens.CreateToken(request).secret, "", "the rehearsal has not used the id up")

    def test_roles(self):
        mine = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])
        made = mine.tokens.CreateToken(self.token_request())
        self.assert_allowed(self.verdict(made.secret))
        for parent in [self.new_workspace(), "workspaces/nowhere"]:
            with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND") as told:
                # Before anything else is validated.
                mine.tokens.CreateToken(self.token_request(parent=parent, scopes=[]))
            self.assertEqual(told[0].message, f"there is no workspace {parent}", "as if it were not there")
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.new_token(parent="workspaces/nowhere")
        for role in [callers.ROLE_VERIFIER, callers.ROLE_REVOKER, callers.ROLE_AUDITOR]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.caller(role).tokens.CreateToken(tokens.CreateTokenRequest())


class GetToken(Test):
    def test_alive_expired_and_revoked(self):
        short, revoked = self.new_token(ttl=Duration(seconds=1)), self.new_token()
        self.assertEqual(self.get_token(revoked.token.name).state, token.Token.STATE_ACTIVE)
        self.revoke(revoked.token.name)
        self.assertEqual(self.get_token(revoked.token.name).state, token.Token.STATE_REVOKED)
        self.eventually("it expires", lambda: self.get_token(short.token.name).state == token.Token.STATE_EXPIRED)

    def test_what_is_not_there_and_what_is_no_name(self):
        made = self.new_token()
        elsewhere = made.token.name.replace(self.workspace, self.new_workspace())
        for name in [made.token.name[:-1] + ("a" if made.token.name[-1] != "a" else "b"), elsewhere]:
            with self.subTest(name), self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
                self.get_token(name)
        for name in [
            "",
            "x",
            self.workspace,
            f"{self.workspace}/tokens/",
            f"{made.token.name}/x",
            f"{self.workspace}/tokens/-",
            made.secret,
        ]:
            with self.subTest(name), self.refused_field("name") as told:
                self.get_token(name)
            self.assertNotIn(
                made.secret[24:], f"{told[0]} {told[0].descriptions}", "a secret in the wrong field is not repeated"
            )

    def test_roles(self):
        made = self.new_token()
        request = tokens.GetTokenRequest(name=made.token.name)
        others = [self.caller(callers.ROLE_AUDITOR), self.caller(callers.ROLE_REVOKER)]
        for client in [*others, self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])]:
            told = client.tokens.GetToken(request).token
            self.assertEqual((told.name, told.unused_scopes), (made.token.name, made.token.scopes))
        stranger = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.new_workspace()])
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            stranger.tokens.GetToken(request)
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.caller(callers.ROLE_VERIFIER).tokens.GetToken(request)


class ListTokens(Test):
    def page(self, page_token="", page_size=3, parent=None, client=None, **fields):
        request = tokens.ListTokensRequest(
            parent=parent or self.workspace, page_size=page_size, page_token=page_token, **fields
        )
        return (client or self.admin).tokens.ListTokens(request)

    def pages(self, between=lambda: None, **fields):
        page = self.page(**fields)
        yield page
        while page.next_page_token:
            between()
            page = self.page(page.next_page_token, **fields)
            yield page

    def test_pages_the_newest_first(self):
        names = [self.new_token(display_name=f"t{n}").token.name for n in range(7)]
        self.revoke(names[2])
        pages = list(self.pages())
        self.assertEqual([len(page.tokens) for page in pages], [3, 3, 1])
        self.assertEqual([page.total_size for page in pages], [7, 7, 7], "ended ones included")
        listed = [one for page in pages for one in page.tokens]
        self.assertEqual([one.name for one in listed], names[::-1])
        self.assertEqual(
            [one.state == token.Token.STATE_REVOKED for one in listed], [name == names[2] for name in names[::-1]]
        )
        self.assertEqual(listed, [self.get_token(name) for name in names[::-1]])
        for page_size in [0, 7, 1000, 2**31 - 1]:
            page = self.page(page_size=page_size)
            self.assertEqual((len(page.tokens), page.next_page_token), (7, ""))

    def test_stable_while_tokens_are_made(self):
        names = [self.new_token().token.name for _ in range(6)]
        listed = [one.name for page in self.pages(between=self.new_token, page_size=2) for one in page.tokens]
        self.assertEqual(listed, names[::-1], "none skipped, none told twice")

    def test_a_filter_tells_which_of_them(self):
        web = [self.new_token(labels={"team": "web"}).token.name for _ in range(4)]
        mobile = self.new_token(labels={"team": "mobile"}, resource=f"{self.workspace}/projects/app").token.name
        self.revoke(web[1])
        names = lambda **fields: [one.name for page in self.pages(**fields) for one in page.tokens]
        self.assertEqual(names(filter="labels.team = web AND state = ACTIVE", page_size=2), [web[3], web[2], web[0]])
        self.assertEqual(names(filter='state=STATE_REVOKED OR labels.team="mobile"'), [mobile, web[1]])
        self.assertEqual(names(filter=f"resource:{self.workspace}/projects"), [mobile])
        self.assertEqual(self.page(filter="labels.team = web", page_size=1).total_size, 4)
        page_token = self.page(filter="labels.team = web", page_size=1).next_page_token
        for other in ["", "labels.team = mobile"]:
            with self.refused_field("page_token"):
                self.page(page_token, filter=other)

    def test_a_page_token_is_good_for_one_question(self):
        for _ in range(3):
            self.new_token()
        page_token = self.page(page_size=1).next_page_token
        self.assertEqual(len(self.page(page_token).tokens), 2, "the size may change")
        other = self.new_workspace()
        for _ in range(2):
            self.new_token(parent=other)
        foreign = {
            "of another parent": self.page(page_size=1, parent=other).next_page_token,
            "of another caller": self.page(page_size=1, client=self.caller(callers.ROLE_AUDITOR)).next_page_token,
            "of another list": self.admin.callers.ListCallers(callers.ListCallersRequest(page_size=1)).next_page_token,
            "made up": "AAAA",
            "no base64": "!",
            "not ASCII": "ä",
            "longer": page_token + "A",
            "long": "A" * 10_000,
        }
        for at in range(len(page_token)):
            foreign[f"altered at {at}"] = (
                page_token[:at] + ("A" if page_token[at] != "A" else "B") + page_token[at + 1 :]
            )
            if at:
                foreign[f"cut to {at}"] = page_token[:at]
        for what, altered in foreign.items():
            with self.subTest(what), self.refused_field("page_token"):
                self.assertNotEqual(altered, "")
                self.page(altered)

    def test_fields_that_do_not_fit(self):
        with self.refused_field("page_size"):
            self.page(page_size=-1)
        with self.refused_field("filter") as told:
            self.page(filter="state=ALIVE")
        self.assertIn("at character 7", f"{told[0].descriptions}", "the place")
        with self.refused_field("parent", "filter", "page_size"):
            self.page(parent="workspaces/-", filter="x", page_size=-(2**31))
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.page(parent="workspaces/nowhere")

    def test_roles(self):
        self.new_token()
        others = [self.caller(callers.ROLE_AUDITOR), self.caller(callers.ROLE_REVOKER)]
        for client in [*others, self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])]:
            self.assertEqual(self.page(client=client).total_size, 1)
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.page(client=self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.new_workspace()]))
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.page(client=self.caller(callers.ROLE_VERIFIER))


class RotateToken(Test):
    def rotate(self, name, client=None, **fields):
        return (client or self.admin).tokens.RotateToken(tokens.RotateTokenRequest(name=name, **fields))

    def test_a_new_secret_for_the_same_grants(self):
        old = self.new_token(labels={"team": "web"}, description="deploys")
        answer = self.rotate(old.token.name)
        self.assertEqual(
            (answer.token.rotated_from, answer.predecessor.rotated_to), (old.token.name, answer.token.name)
        )
        for field in ["resource", "scopes", "labels", "display_name", "description", "allowed_cidrs"]:
            self.assertEqual(getattr(answer.token, field), getattr(old.token, field), field)
        overlap = answer.predecessor.expire_time.ToNanoseconds() - answer.token.create_time.ToNanoseconds()
        self.assertEqual(overlap, 1800 * 10**9)
        self.assertEqual(answer.predecessor.requested_expire_time, old.token.expire_time)
        self.assertEqual(
            [self.get_token(old.token.name), self.get_token(answer.token.name)], [answer.predecessor, answer.token]
        )
        for secret in [old.secret, answer.secret]:
            self.assert_allowed(self.verdict(secret))
        with self.refused("FAILED_PRECONDITION", "TOKEN_ALREADY_ROTATED") as told:
            self.rotate(old.token.name)
        self.assertIn(answer.token.name, told[0].message)

    def test_at_once_and_for_as_long_as_asked(self):
        old = self.new_token()
        answer = self.rotate(old.token.name, overlap=Duration(), ttl=Duration(seconds=60))
        self.assert_denied(self.verdict(old.secret), "EXPIRED")
        self.assert_allowed(self.verdict(answer.secret))
        self.assertEqual(
            answer.token.expire_time.ToNanoseconds() - answer.token.create_time.ToNanoseconds(), 60 * 10**9
        )

    def test_a_replay_rotates_nothing(self):
        old, request_id = self.new_token(), self.new_id()
        first = self.rotate(old.token.name, request_id=request_id)
        again = self.rotate(old.token.name, request_id=request_id)
        self.assertEqual((again.token, again.predecessor, again.secret), (first.token, first.predecessor, ""))
        self.assert_allowed(self.verdict(first.secret))
        with self.refused("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ["request_id"]):
            self.rotate(first.token.name, request_id=request_id)

    def test_what_is_not_rotated(self):
        revoked = self.new_token().token.name
        self.revoke(revoked)
        with self.refused("FAILED_PRECONDITION", "TOKEN_REVOKED"):
            self.rotate(revoked)
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            self.rotate(revoked.replace(self.workspace, "workspaces/nowhere"))
        with self.refused_field("name", "overlap", "no_expiry"):
            self.rotate("", overlap=Duration(seconds=-1), no_expiry=False)

    def test_roles(self):
        mine = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])
        name = self.rotate(self.new_token().token.name, client=mine).token.name
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            self.rotate(name, client=self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.new_workspace()]))
        for role in [callers.ROLE_VERIFIER, callers.ROLE_REVOKER, callers.ROLE_AUDITOR]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.rotate(name, client=self.caller(role))


class RevokeToken(Test):
    def test_it_is_dead_at_once_and_says_by_whom_and_why(self):
        made = self.new_token()
        told = self.revoke(made.token.name, "é" * 500)
        self.assertEqual(told.token.state, token.Token.STATE_REVOKED)
        self.assertEqual((told.token.revoker, told.token.revoke_reason), (made.token.creator, "é" * 500))
        self.assertGreaterEqual(told.token.revoke_time.ToNanoseconds(), made.token.create_time.ToNanoseconds())
        self.assert_denied(self.verdict(made.secret), "REVOKED")
        self.assertEqual(self.get_token(made.token.name), told.token)
        workspace = self.admin.workspaces.GetWorkspace(workspaces.GetWorkspaceRequest(name=self.workspace)).workspace
        self.assertEqual(workspace.active_token_count, 0)

    def test_twice_is_fine_and_changes_nothing(self):
        made = self.new_token()
        first = self.revoke(made.token.name)
        again = self.admin.tokens.RevokeToken(
            tokens.RevokeTokenRequest(name=made.token.name, reason="other", no_wait=True)
        )
        self.assertEqual(again.token, first.token)
        self.assertEqual(again.revision.epoch, first.revision.epoch)
        self.assertGreaterEqual(again.revision.number, first.revision.number)

    def test_fields_that_do_not_fit(self):
        made = self.new_token()
        for reason in ["a" * 501, "\0"]:
            with self.refused_field("reason"):
                self.revoke(made.token.name, reason)
        with self.refused_field("name", "reason"):
            self.revoke(self.workspace, "a" * 501)
        self.assert_allowed(self.verdict(made.secret))
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            self.revoke(made.token.name.replace(self.workspace, "workspaces/nowhere"))

    def test_roles(self):
        for client in [
            self.caller(callers.ROLE_REVOKER),
            self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace]),
        ]:
            made = self.new_token()
            told = client.tokens.RevokeToken(tokens.RevokeTokenRequest(name=made.token.name))
            self.assertEqual(told.token.state, token.Token.STATE_REVOKED)
        alive = self.new_token()
        request = tokens.RevokeTokenRequest(name=alive.token.name)
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.new_workspace()]).tokens.RevokeToken(request)
        for role in [callers.ROLE_VERIFIER, callers.ROLE_AUDITOR]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.caller(role).tokens.RevokeToken(request)
        self.assert_allowed(self.verdict(alive.secret))


class BatchRevokeTokens(Test):
    def end(self, client=None, **fields):
        request = tokens.BatchRevokeTokensRequest(
            **{"parent": self.workspace, "reason": "the project is gone", **fields}
        )
        return (client or self.admin).tokens.BatchRevokeTokens(request)

    def test_by_name_after_a_preview(self):
        made, dead = [self.new_token() for _ in range(2)], self.new_token()
        self.revoke(dead.token.name)
        names = [each.token.name for each in [*made, dead]]
        preview = self.end(names=names, validate_only=True)
        self.assertEqual((preview.revoked_count, preview.HasField("revision")), (2, False))
        self.assert_allowed(self.verdict(made[0].secret))
        told = self.end(names=names)
        self.assertEqual((told.revoked_count, told.remaining_count), (2, 0))
        self.assertEqual({each.name for each in told.tokens}, {each.token.name for each in made})
        self.assertEqual({each.revoke_reason for each in told.tokens}, {"the project is gone"})
        for each in made:
            self.assert_denied(self.verdict(each.secret), "REVOKED")
        again = self.end(names=names)
        self.assertEqual((again.revoked_count, again.remaining_count), (0, 0))
        self.assertGreater(again.revision.number, told.revision.number, "it is dead as of a revision of its own")

    def test_by_filter(self):
        gone = self.new_token(resource=f"{self.workspace}/projects/gone/repositories/site")
        kept = self.new_token(resource=f"{self.workspace}/projects/kept")
        told = self.end(filter=f'resource:"{self.workspace}/projects/gone"')
        self.assertEqual([each.name for each in told.tokens], [gone.token.name])
        self.assert_denied(self.verdict(gone.secret, resource=gone.token.resource), "REVOKED")
        self.assert_allowed(self.verdict(kept.secret, resource=kept.token.resource))

    def test_fields_that_do_not_fit(self):
        made = self.new_token()
        name, foreign = made.token.name, made.token.name.replace(self.workspace, "workspaces/nowhere")
        with self.refused_field("names"):
            self.end(names=[name] * 1_001)
        with self.refused_field("names[1]"):
            self.end(names=[name, foreign])
        with self.refused_field("filter"):
            self.end(filter="state = ALIVE")
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            self.end(names=[name, name[:-1] + ("0" if name[-1] != "0" else "1")])
        self.assert_allowed(self.verdict(made.secret))

    def test_roles(self):
        revoker = self.caller(callers.ROLE_REVOKER)
        self.assertEqual(self.end(revoker, names=[self.new_token().token.name]).revoked_count, 1)
        alive = self.new_token()
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.end(revoker, filter="state = ACTIVE")
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.end(self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.new_workspace()]), names=[alive.token.name])
        for role in [callers.ROLE_VERIFIER, callers.ROLE_AUDITOR]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.end(self.caller(role), names=[alive.token.name])
        self.assert_allowed(self.verdict(alive.secret))


class RevokeLeakedTokens(Test):
    Label, Kind = tokens.RevokeLeakedTokensResponse.Label, tokens.RevokeLeakedTokensResponse.Kind

    def report(self, *secrets, client=None, url="https://example.com/gist", source="gist"):
        leaks = [tokens.RevokeLeakedTokensRequest.Leak(secret=secret, url=url, source=source) for secret in secrets]
        return (client or self.admin).tokens.RevokeLeakedTokens(tokens.RevokeLeakedTokensRequest(leaks=leaks))

    def test_each_string_is_told_and_tokens_are_dead(self):
        made, dead = self.new_token(), self.new_token()
        self.revoke(dead.token.name)
        told = self.report("junk", f" {made.secret}\r\n", dead.secret, made.secret[:-1], ADMIN_KEY)
        self.assertEqual(
            [self.Label.Name(result.label) for result in told.results],
            [f"LABEL_{label}_POSITIVE" for label in ["FALSE", "TRUE", "TRUE", "FALSE", "TRUE"]],
        )
        self.assertEqual([result.token for result in told.results], ["", made.token.name, dead.token.name, "", ""])
        self.assertEqual(told.results[4].kind, self.Kind.Value("KIND_CALLER_KEY"))
        self.assertGreater(told.revision.number, 0)
        self.assert_denied(self.verdict(made.secret), "REVOKED")
        self.assertEqual(
            self.get_token(made.token.name).revoke_reason, "leaked: source gist, at https://example.com/gist"
        )

    def test_fields_that_do_not_fit(self):
        made = self.new_token()
        for secrets in [[], ["junk"] * 1_001]:
            with self.refused_field("leaks"):
                self.report(*secrets)
        with self.refused_field("leaks[0].url"):
            self.report(made.secret, url="a" * 2_049)
        with self.refused_field("leaks[0].source"):
            self.report(made.secret, source="\0")
        self.assert_allowed(self.verdict(made.secret))

    def test_roles(self):
        made = self.new_token()
        for role in [callers.ROLE_VERIFIER, callers.ROLE_AUDITOR, callers.ROLE_WORKSPACE_ADMIN]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.report(made.secret, client=self.caller(role))
        self.assert_allowed(self.verdict(made.secret))
        self.assertEqual(
            self.report(made.secret, client=self.caller(callers.ROLE_REVOKER)).results[0].token, made.token.name
        )


class IdentifyToken(Test):
    def identify(self, secret, client=None):
        return (client or self.admin).tokens.IdentifyToken(tokens.IdentifyTokenRequest(secret=secret)).token

    def test_alive_or_not(self):
        made = self.new_token()
        self.assertEqual(self.identify(made.secret), made.token)
        self.assertEqual(self.identify(f"\t{made.secret} \r\n"), made.token, "white space around it is ignored")
        revoked = self.revoke(made.token.name).token
        self.assertEqual(self.identify(made.secret), revoked)

    def test_what_is_none_of_ours(self):
        secret = self.new_token().secret
        for other in ["", "garbage", secret[:-1], secret + "0", secret[:30] + secret[:42], "x" * 60_000]:
            with self.subTest(other[:80]), self.refused("NOT_FOUND", "TOKEN_NOT_FOUND") as told:
                self.identify(other)
            self.assertNotIn(secret[24:40], told[0].message)
        with self.refused("INVALID_ARGUMENT", "SECRET_IS_A_CALLER_KEY", ["secret"]):
            self.identify(ADMIN_KEY)

    def test_roles(self):
        made = self.new_token()
        for client in [
            self.caller(callers.ROLE_REVOKER),
            self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace]),
        ]:
            self.assertEqual(self.identify(made.secret, client), made.token)
        stranger, answers = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.new_workspace()]), []
        for secret in [made.secret, "garbage"]:
            with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND") as told:
                self.identify(secret, stranger)
            answers.append(repr(told[0]))
        self.assertEqual(*answers, "a foreign token is answered as none")
        for role in [callers.ROLE_VERIFIER, callers.ROLE_AUDITOR]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.identify(made.secret, self.caller(role))


class ListScopes(Test):
    def test_the_catalogue_for_any_caller(self):
        catalog = self.admin.tokens.ListScopes(tokens.ListScopesRequest())
        implies = {scope.name: list(scope.implies) for scope in catalog.scopes}
        self.assertGreater(catalog.catalog_version, 0)
        self.assertEqual(len(implies), len(catalog.scopes), "each once")
        self.assertEqual(implies["pullrequest:write"], ["pullrequest", "repository:write"])
        self.assertEqual(implies["repository:admin"], [], "neither read nor write")
        self.assertTrue(all(scope.description for scope in catalog.scopes))
        for role in [callers.ROLE_VERIFIER, callers.ROLE_REVOKER, callers.ROLE_AUDITOR, callers.ROLE_WORKSPACE_ADMIN]:
            self.assertEqual(self.caller(role).tokens.ListScopes(tokens.ListScopesRequest()), catalog)
        every = self.new_token(scopes=list(implies))
        self.assert_allowed(self.verdict(every.secret, scopes=list(implies)))

    def test_a_stranger_is_told_nothing(self):
        with self.refused("UNAUTHENTICATED", "MISSING_CREDENTIAL"):
            self.client().tokens.ListScopes(tokens.ListScopesRequest())
