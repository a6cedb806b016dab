"""WorkspaceAdmin: making, showing, suspending and deleting workspaces, and their organizations."""

import time

from google.protobuf.duration_pb2 import Duration

from client import Test, callers, token, tokens, workspaces


class CreateWorkspace(Test):
    def create(self, workspace_id, display_name="Foreign", client=None, **fields):
        request = workspaces.CreateWorkspaceRequest(workspace_id=workspace_id, display_name=display_name, **fields)
        return (client or self.admin).workspaces.CreateWorkspace(request).workspace

    def test_a_workspace_is_what_was_asked_for(self):
        workspace_id = self.new_id().ljust(63, "-")
        made = self.create(workspace_id, "ä" * 120)
        self.assertEqual(
            (made.name, made.display_name, made.organization), (f"workspaces/{workspace_id}", "ä" * 120, "")
        )
        self.assertEqual((made.state, made.active_token_count), (workspaces.Workspace.STATE_ACTIVE, 0))
        self.assertLess(abs(made.create_time.seconds - time.time()), 60)
        request = workspaces.GetWorkspaceRequest(name=made.name)
        self.assertEqual(self.admin.workspaces.GetWorkspace(request).workspace, made)

    def test_an_id_is_taken_once(self):
        with self.refused("ALREADY_EXISTS", "WORKSPACE_ALREADY_EXISTS"):
            self.create(self.workspace.removeprefix("workspaces/"))

    def test_fields_that_do_not_fit(self):
        for workspace_id in ["", "a", "A-b", "1ab", "-ab", "a_b", "ä-b", "a" * 64, self.workspace]:
            with self.subTest(workspace_id), self.refused_field("workspace_id"):
                self.create(workspace_id)
        for display_name in ["", "\t", "a" * 121]:
            with self.subTest(display_name), self.refused_field("display_name"):
                self.create(self.new_id(), display_name)
        with self.refused_field("workspace_id", "display_name", "organization"):
            self.create("", "", organization="acme")
        with self.refused("NOT_FOUND", "ORGANIZATION_NOT_FOUND"):
            self.create(self.new_id(), organization="organizations/acme")

    def test_roles(self):
        for role in [callers.ROLE_WORKSPACE_ADMIN, callers.ROLE_AUDITOR, callers.ROLE_REVOKER, callers.ROLE_VERIFIER]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.create("", client=self.caller(role))


class GetWorkspace(Test):
    def get(self, name, client=None):
        return (client or self.admin).workspaces.GetWorkspace(workspaces.GetWorkspaceRequest(name=name)).workspace

    def test_counts_the_tokens_that_work(self):
        made = [self.new_token() for _ in range(3)]
        self.assertEqual(self.get(self.workspace).active_token_count, 3)
        self.revoke(made[0].token.name)
        self.assertEqual(self.get(self.workspace).active_token_count, 2)

    def test_what_is_not_there_and_what_is_no_name(self):
        with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
            self.get("workspaces/nowhere")
        for name in ["", "nowhere", "workspaces/", f"{self.workspace}/", "workspaces/A", "organizations/acme"]:
            with self.subTest(name), self.refused_field("name"):
                self.get(name)

    def test_roles(self):
        mine = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])
        for client in [mine, self.caller(callers.ROLE_AUDITOR)]:
            self.assertEqual(self.get(self.workspace, client).name, self.workspace)
        for name in [self.new_workspace(), "workspaces/nowhere"]:
            with self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND") as told:
                self.get(name, mine)
            self.assertEqual(told[0].message, f"there is no workspace {name}")
        for role in [callers.ROLE_VERIFIER, callers.ROLE_REVOKER]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.get(self.workspace, self.caller(role))


class ListWorkspaces(Test):
    def names(self, page_size, client):
        """Every page's names, joined; and how many pages there were."""
        names, page_token, pages = [], "", 0
        while page_token or not pages:
            request = workspaces.ListWorkspacesRequest(page_size=page_size, page_token=page_token)
            page = client.workspaces.ListWorkspaces(request)
            self.assertLessEqual(len(page.workspaces), page_size)
            names += [workspace.name for workspace in page.workspaces]
            page_token, pages = page.next_page_token, pages + 1
        return names, pages

    def test_pages_ordered_by_id(self):
        mine = [self.workspace, *(self.new_workspace() for _ in range(4))]
        for client in [self.admin, self.caller(callers.ROLE_AUDITOR)]:
            names, _ = self.names(2, client)
            self.assertEqual(names, sorted(set(names)), "in order, none twice")
            self.assertLessEqual(set(mine), set(names))

    def test_a_caller_with_some_workspaces_sees_those(self):
        mine = sorted([self.workspace, *(self.new_workspace() for _ in range(4))])
        client = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[*mine, f"workspaces/{self.new_id()}"])
        self.assertEqual(self.names(1000, client), (mine, 1))
        self.assertEqual(self.names(2, client)[0], mine)

    def test_fields_that_do_not_fit(self):
        self.new_workspace()
        with self.refused_field("page_size"):
            self.admin.workspaces.ListWorkspaces(workspaces.ListWorkspacesRequest(page_size=-1))
        page_token = self.admin.workspaces.ListWorkspaces(workspaces.ListWorkspacesRequest(page_size=1)).next_page_token
        self.assertNotEqual(page_token, "")
        for client, altered in [(self.admin, page_token[:-1]), (self.caller(callers.ROLE_AUDITOR), page_token)]:
            with self.refused_field("page_token"):
                client.workspaces.ListWorkspaces(workspaces.ListWorkspacesRequest(page_token=altered))

    def test_roles(self):
        for role in [callers.ROLE_VERIFIER, callers.ROLE_REVOKER]:
            with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                self.caller(role).workspaces.ListWorkspaces(workspaces.ListWorkspacesRequest(page_size=-1))


class States(Test):
    """The three calls that change a workspace's state."""

    def change(self, verb, name=None, client=None, **fields):
        request = getattr(workspaces, f"{verb}WorkspaceRequest")(
            name=self.workspace if name is None else name, **fields
        )
        return getattr((client or self.admin).workspaces, f"{verb}Workspace")(request)

    def suspend(self, name=None, client=None, **fields):
        return self.change("Suspend", name, client, **fields)

    def resume(self, name=None, client=None):
        return self.change("Resume", name, client)

    def delete(self, name=None, client=None, **fields):
        return self.change("Delete", name, client, **fields)

    def get(self):
        return self.admin.workspaces.GetWorkspace(workspaces.GetWorkspaceRequest(name=self.workspace)).workspace

    def test_names_and_roles(self):
        mine = self.caller(callers.ROLE_WORKSPACE_ADMIN, only=[self.workspace])
        others = [self.caller(role) for role in [callers.ROLE_AUDITOR, callers.ROLE_REVOKER, callers.ROLE_VERIFIER]]
        for verb in ["Suspend", "Resume", "Delete"]:
            with self.subTest(verb), self.refused("NOT_FOUND", "WORKSPACE_NOT_FOUND"):
                self.change(verb, "workspaces/nowhere")
            for name in ["", "nowhere", "workspaces/", f"{self.workspace}/", "workspaces/A", "organizations/acme"]:
                with self.subTest([verb, name]), self.refused_field("name"):
                    self.change(verb, name)
            for client in [mine, *others]:
                with self.subTest(verb), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                    self.change(verb, client=client)
        self.assertEqual(self.get().state, workspaces.Workspace.STATE_ACTIVE)

    def test_suspended_its_tokens_are_denied(self):
        made = self.new_token()
        self.assert_allowed(self.verdict(made.secret))
        answer = self.suspend()
        self.assert_denied(self.verdict(made.secret), "WORKSPACE_SUSPENDED")
        self.assertEqual(
            (answer.workspace.state, answer.workspace.active_token_count), (workspaces.Workspace.STATE_SUSPENDED, 1)
        )
        self.assertEqual(self.get(), answer.workspace)
        self.assertEqual(self.get_token(made.token.name).state, token.Token.STATE_SUSPENDED)
        with self.refused("FAILED_PRECONDITION", "WORKSPACE_SUSPENDED"):
            self.new_token()
        again = self.suspend(no_wait=True)
        self.assertEqual(again.workspace, answer.workspace)
        self.assertEqual(again.revision.epoch, answer.revision.epoch)
        self.assertGreater(again.revision.number, answer.revision.number)
        self.revoke(made.token.name)
        self.assert_denied(self.verdict(made.secret), "REVOKED")

    def test_resumed_its_tokens_work_again(self):
        made = self.new_token()
        before = self.get()
        suspended = self.suspend().revision
        answer = self.resume()
        self.assert_allowed(self.verdict(made.secret))
        self.assertEqual(answer.workspace, before)
        self.assertGreater(answer.revision.number, suspended.number)
        self.assertEqual(self.resume().workspace, before)

    def test_deleted_every_token_ends_for_good(self):
        made = self.new_token()
        answer = self.delete()
        self.assert_denied(self.verdict(made.secret), "WORKSPACE_DELETED")
        self.assertEqual(
            (answer.workspace.state, answer.workspace.active_token_count), (workspaces.Workspace.STATE_DELETED, 0)
        )
        self.assertEqual(self.get(), answer.workspace)
        listed = self.admin.tokens.ListTokens(tokens.ListTokensRequest(parent=self.workspace)).tokens
        self.assertEqual([shown.state for shown in listed], [token.Token.STATE_REVOKED])
        self.assertEqual(self.revoke(made.token.name).token, listed[0])
        for refused in [self.new_token, self.suspend, self.resume]:
            with self.subTest(refused), self.refused("FAILED_PRECONDITION", "WORKSPACE_DELETED"):
                refused()
        again = self.delete(no_wait=True)
        self.assertEqual(again.workspace, answer.workspace)
        self.assertGreater(again.revision.number, answer.revision.number)
        request = workspaces.CreateWorkspaceRequest(
            workspace_id=self.workspace.removeprefix("workspaces/"), display_name="Again"
        )
        with self.refused("ALREADY_EXISTS", "WORKSPACE_ALREADY_EXISTS"):
            self.admin.workspaces.CreateWorkspace(request)


class Organizations(Test):
    def create(self, organization_id, display_name="Foreign", client=None):
        request = workspaces.CreateOrganizationRequest(organization_id=organization_id, display_name=display_name)
        return (client or self.admin).workspaces.CreateOrganization(request).organization

    def get(self, name, client=None):
        return (
            (client or self.admin).workspaces.GetOrganization(workspaces.GetOrganizationRequest(name=name)).organization
        )

    def list(self, client=None, **fields):
        return (client or self.admin).workspaces.ListOrganizations(workspaces.ListOrganizationsRequest(**fields))

    def test_an_organization_is_what_was_asked_for(self):
        organization_id = self.new_id().ljust(63, "-")
        made = self.create(organization_id, "ä" * 120)
        self.assertEqual((made.name, made.display_name), (f"organizations/{organization_id}", "ä" * 120))
        self.assertLess(abs(made.create_time.seconds - time.time()), 60)
        self.assertEqual(self.get(made.name), made)
        with self.refused("ALREADY_EXISTS", "ORGANIZATION_ALREADY_EXISTS"):
            self.create(organization_id)

    def test_workspaces_belong_to_it_for_good(self):
        made = self.create(self.new_id()).name
        request = workspaces.CreateWorkspaceRequest(
            workspace_id=self.new_id(), display_name="Foreign", organization=made
        )
        workspace = self.admin.workspaces.CreateWorkspace(request).workspace
        self.assertEqual(workspace.organization, made)
        request = workspaces.GetWorkspaceRequest(name=workspace.name)
        self.assertEqual(self.admin.workspaces.GetWorkspace(request).workspace, workspace)

    def test_pages_ordered_by_id(self):
        mine = {self.create(self.new_id()).name for _ in range(3)}
        names, page_token = [], ""
        while page_token or not names:
            page = self.list(page_size=2, page_token=page_token)
            self.assertLessEqual(len(page.organizations), 2)
            names += [organization.name for organization in page.organizations]
            page_token = page.next_page_token
        self.assertEqual(names, sorted(set(names)), "in order, none twice")
        self.assertLessEqual(mine, set(names))

    def test_fields_that_do_not_fit(self):
        with self.refused_field("organization_id", "display_name"):
            self.create("A", "")
        for name in ["", "nowhere", "organizations/", "organizations/A", self.workspace]:
            with self.subTest(name), self.refused_field("name"):
                self.get(name)
        with self.refused("NOT_FOUND", "ORGANIZATION_NOT_FOUND"):
            self.get("organizations/nowhere")
        with self.refused_field("page_size"):
            self.list(page_size=-1)
        with self.refused_field("page_token"):
            self.list(page_token="garbage")

    def test_roles(self):
        made = self.create(self.new_id())
        auditor = self.caller(callers.ROLE_AUDITOR)
        self.assertEqual(self.get(made.name, auditor), made)
        self.assertTrue(self.list(auditor).organizations)
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.create(self.new_id(), client=auditor)
        for role in [callers.ROLE_WORKSPACE_ADMIN, callers.ROLE_REVOKER, callers.ROLE_VERIFIER]:
            client = self.caller(role)
            for call in [
                lambda: self.create("", client=client),
                lambda: self.get(made.name, client),
                lambda: self.list(client),
            ]:
                with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                    call()


class TokenPolicies(Test):
    def get(self, owner, client=None):
        request = workspaces.GetTokenPolicyRequest(name=f"{owner}/tokenPolicy")
        return (client or self.admin).workspaces.GetTokenPolicy(request)

    def set(self, owner, client=None, validate_only=False, **rules):
        policy = workspaces.TokenPolicy(name=f"{owner}/tokenPolicy", **rules)
        request = workspaces.UpdateTokenPolicyRequest(policy=policy, validate_only=validate_only)
        return (client or self.admin).workspaces.UpdateTokenPolicy(request)

    def apply(self, owner, hours, **arguments):
        lifetime = Duration(seconds=hours * 3600)
        existing = workspaces.TokenPolicy.EXISTING_TOKENS_APPLY
        return self.set(owner, max_lifetime=lifetime, existing_tokens=existing, **arguments)

    def test_a_policy_is_what_was_asked_for(self):
        empty = self.get(self.workspace)
        self.assertEqual(empty.policy.existing_tokens, workspaces.TokenPolicy.EXISTING_TOKENS_KEEP)
        self.assertFalse(empty.policy.HasField("max_lifetime") or empty.policy.HasField("max_active_tokens"))
        scopes = token.Selection(only=["repository", "webhook"])
        answer = self.set(self.workspace, require_expiry=True, allowed_scopes=scopes, max_active_tokens=9)
        self.assertEqual((answer.policy.allowed_scopes, answer.policy.max_active_tokens), (scopes, 9))
        self.assertEqual(self.get(self.workspace).policy, answer.policy)
        self.assertEqual(answer.effective.max_active_tokens, 9)
        self.assertNotEqual(answer.policy.etag, empty.policy.etag)
        with self.refused("ABORTED", "ETAG_MISMATCH"):
            self.set(self.workspace, etag=empty.policy.etag)
        self.assertEqual(self.set(self.workspace, etag=answer.policy.etag).effective, empty.effective)

    def test_it_reaches_back_to_tokens_that_there_are(self):
        made = self.new_token(no_expiry=True).token
        would = self.apply(self.workspace, 2, validate_only=True)
        self.assertEqual(([one.token for one in would.affected], would.affected_count), ([made.name], 1))
        self.assertFalse(would.HasField("revision"))
        did = self.apply(self.workspace, 2)
        self.assertEqual(did.affected[0].expire_time.seconds, did.policy.update_time.seconds + 2 * 3600)
        self.assertEqual(self.get_token(made.name).expire_time, did.affected[0].expire_time)
        self.assertEqual(self.apply(self.workspace, 2).affected_count, 0, "it postpones nothing")
        self.set(self.workspace)
        self.assertEqual(self.get_token(made.name), made)

    def test_an_organizations_binds_its_workspaces(self):
        request = workspaces.CreateOrganizationRequest(organization_id=self.new_id(), display_name="Foreign")
        organization = self.admin.workspaces.CreateOrganization(request).organization.name
        request = workspaces.CreateWorkspaceRequest(
            workspace_id=self.new_id(), display_name="Foreign", organization=organization
        )
        workspace = self.admin.workspaces.CreateWorkspace(request).workspace.name
        self.assertFalse(self.apply(organization, 3).HasField("effective"))
        self.assertEqual(self.get(workspace).effective.max_lifetime.seconds, 3 * 3600)

    def test_fields_that_do_not_fit(self):
        day = Duration(seconds=86400)
        for field, rules in [
            ("policy.max_lifetime", {"max_lifetime": Duration()}),
            ("policy.default_lifetime", {"max_lifetime": Duration(seconds=1), "default_lifetime": day}),
            ("policy.allowed_scopes", {"allowed_scopes": token.Selection()}),
            ("policy.allowed_scopes.only[0]", {"allowed_scopes": token.Selection(only=["everything"])}),
            ("policy.allowed_cidrs.only[0]", {"allowed_cidrs": token.Selection(only=["192.0.2.1/24"])}),
            ("policy.max_active_tokens", {"max_active_tokens": 0}),
            ("policy.existing_tokens", {"existing_tokens": workspaces.TokenPolicy.EXISTING_TOKENS_APPLY}),
        ]:
            with self.subTest(field), self.refused_field(field):
                self.set(self.workspace, **rules)
        for owner in ["", "nowhere", f"{self.workspace}/", "workspaces/A", "callers/ci"]:
            with self.subTest(owner), self.refused_field("name"):
                self.get(owner)
            with self.subTest(owner), self.refused_field("policy.name"):
                self.set(owner)
        for owner, reason in [
            ("workspaces/nowhere", "WORKSPACE_NOT_FOUND"),
            ("organizations/nowhere", "ORGANIZATION_NOT_FOUND"),
        ]:
            for call in [self.get, self.set]:
                with self.subTest(owner), self.refused("NOT_FOUND", reason):
                    call(owner)

    def test_roles(self):
        team, auditor = self.caller(callers.ROLE_WORKSPACE_ADMIN), self.caller(callers.ROLE_AUDITOR)
        self.set(self.workspace, client=team)
        self.assertEqual(self.get(self.workspace, auditor), self.get(self.workspace, team))
        with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
            self.set(self.workspace, client=auditor)
        for call in [lambda: self.get("organizations/any", team), lambda: self.set("organizations/any", client=team)]:
            with self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                call()
        for role in [callers.ROLE_REVOKER, callers.ROLE_VERIFIER]:
            client = self.caller(role)
            for call in [lambda: self.get(self.workspace, client), lambda: self.set(self.workspace, client=client)]:
                with self.subTest(role), self.refused("PERMISSION_DENIED", "ROLE_NOT_ALLOWED"):
                    call()
