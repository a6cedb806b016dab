"""AuditLog: what was done, listed and followed."""

import threading

from client import Test, audit, callers, tokens


class ListAuditEvents(Test):
    def list(self, parent, client=None, **fields):
        request = audit.ListAuditEventsRequest(parent=parent, **fields)
        return (client or self.admin).audit.ListAuditEvents(request)

    def test_changes_are_on_record(self):
        made = self.new_token()
        self.revoke(made.token.name)
        newest, before, *_ = self.list(self.workspace).events
        self.assertEqual((newest.type, before.type), ("token.revoked", "token.created"))
        self.assertEqual({newest.resource, before.resource}, {made.token.name})
        self.assertEqual(newest.outcome, audit.AuditEvent.OUTCOME_DONE)
        self.assertEqual((newest.previous_hash, len(newest.hash)), (before.hash, 32))

    def test_refused_calls_are_on_the_installations_record(self):
        name = f"{self.workspace}/tokens/00000000000000000"
        with self.refused("NOT_FOUND", "TOKEN_NOT_FOUND"):
            self.admin.tokens.GetToken(tokens.GetTokenRequest(name=name))
        told = [event for event in self.list("-", page_size=1000).events if event.resource == name]
        self.assertEqual([(event.type, event.reason) for event in told], [("call.refused", "TOKEN_NOT_FOUND")])

    def test_an_actor_is_recorded(self):
        request = tokens.ListScopesRequest()
        with self.refused("INVALID_ARGUMENT", "INVALID_ACTOR"):
            self.admin.tokens.ListScopes(request, metadata=[("x-tokend-actor", "x" * 129)])
        self.admin.tokens.ListScopes(request, metadata=[("x-tokend-actor", "ada")])

    def test_pages(self):
        for _ in range(3):
            self.new_token()
        page = self.list(self.workspace, page_size=3)
        rest = self.list(self.workspace, page_size=3, page_token=page.next_page_token)
        self.assertEqual([event.sequence for event in [*page.events, *rest.events]], [4, 3, 2, 1])
        self.assertEqual(rest.next_page_token, "")

    def test_filters(self):
        first, second = self.new_token().token.name, self.new_token().token.name
        self.revoke(first)
        for filter, wanted in [
            ("type = token.revoked", [first]),
            ("type:token AND resource != " + first, [second]),
            (f'resource = {first} AND outcome:DONE AND caller != ""', [first, first]),
            ("type:token AND time < 2001-01-01T00:00:00Z", []),
        ]:
            with self.subTest(filter):
                self.assertEqual([event.resource for event in self.list(self.workspace, filter=filter).events], wanted)

    def test_what_is_not_there_and_what_does_not_fit(self):
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.list("workspaces/nowhere")
        for parent in ["", "nowhere", "--", "callers/admin"]:
            with self.subTest(parent), self.refused_field("parent"):
                self.list(parent)
        with self.refused_field("filter", "page_size"):
            self.list("-", filter="x", page_size=-1)

    def test_roles(self):
        mine = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])
        self.assertEqual(len(self.list(self.workspace, mine).events), 1)
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.list(self.new_workspace(), mine)
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.list("-", mine)
        revoker = self.caller(callers.ROLE_REVOKER)
        self.new_token()
        self.assertEqual([event.type for event in self.list(self.workspace, revoker).events], ["token.created"])
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.list("-", revoker)
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.list(self.workspace, self.caller(callers.ROLE_VERIFIER))


class WatchAuditEvents(Test):
    def watch(self, after=0, client=None):
        request = audit.WatchAuditEventsRequest(parent=self.workspace, after_sequence=after)
        return (client or self.admin).audit.WatchAuditEvents(request)

    def test_what_was_and_what_comes(self):
        first = self.new_token()
        watch = self.watch(after=1)
        self.assertEqual(next(watch).event.resource, first.token.name)
        made = []
        thread = threading.Thread(target=lambda: made.append(self.new_token()))
        thread.start()
        event = next(watch).event
        thread.join()
        self.assertEqual((event.sequence, event.resource), (3, made[0].token.name))
        watch.cancel()

    def test_an_event_that_has_not_happened(self):
        with self.refused("OUT_OF_RANGE", "AUDIT_POSITION_GONE"):
            next(self.watch(after=100))

    def test_roles(self):
        for role in [callers.ROLE_VERIFIER, callers.ROLE_REVOKER]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                next(self.watch(client=self.caller(role)))
