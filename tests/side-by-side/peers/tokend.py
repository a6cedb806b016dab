"""tokend with its defaults: Verify, CreateToken and RevokeToken."""

import json
import os
import re
import subprocess

from load import h2load
from postgres import Postgres
from processes import Server, run

from .peer import Changes, Peer, call

WORKSPACE = "bench"
RESOURCE = f"workspaces/{WORKSPACE}/repositories/app"
SCOPE = "repository:write"
_VERIFY = "/tokend.v1.TokenVerify/Verify"
# Exit codes of `tokend verify`.
_ALLOW, _DENY = 0, 3


class _Tokend(Peer):
    """An installation as `tokend init` creates it, served by `tokend serve`. Checks are made by a VERIFIER."""

    database = ()

    def start(self):
        """Starts the server and creates tokens."""
        data = self.run.directory / self.name
        data.mkdir(mode=0o700)
        # Settings of whoever runs this are not meant for this server.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKEND_")}
        storage = ["--data-dir", data, *self.database]
        self._admin = self._tokend("init", *storage).strip()
        ready = data / "ready"
        listen = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--ready-file", ready]
        command = [self.run.tokend, "serve", *storage, *listen]
        options = {"directory": self.run.directory, "name": self.name, "env": self._environment}
        server = self.serve(Server(command, **options))
        addresses = server.wait_until(lambda: json.loads(ready.read_text()))
        self._address, self._ops = addresses["grpc_address"], addresses["ops_address"]
        self._environment |= {"TOKEND_ADDRESS": f"http://{self._address}", "TOKEND_CALLER_KEY": self._admin}
        self._tokend("workspace", "create", WORKSPACE, "--display-name", "Bench")
        self._tokend("caller", "create", "gateway", "--role", "verifier", "--workspace", WORKSPACE)
        self._verifier = self._tokend("caller", "key", "create", "gateway").strip()
        driver = Changes(self.run, self.changes())
        self.ends.callback(driver.end)
        self.tokens = driver.do("create", most=self.run.tokens, show=True)["secrets"]
        questions = driver.do("questions", secrets=self.tokens, resource=RESOURCE, scope=SCOPE)["questions"]
        self._questions = [bytes.fromhex(question) for question in questions]
        driver.end()

    def _tokend(self, *arguments):
        return run([self.run.tokend, *arguments], env=self._environment)

    def _verdict(self, secret):
        """Returns the exit code of `tokend verify`."""
        command = [self.run.tokend, "verify", "--resource", RESOURCE, "--scope", SCOPE]
        environment = self._environment | {"TOKEND_CALLER_KEY": self._verifier}
        options = {"timeout": 60, "check": False, "env": environment, "capture_output": True}
        return subprocess.run(command, input=secret.encode(), **options).returncode

    def refuse_revoked(self):
        """Revokes a token. The command returns when no server allows it any more."""
        token = self.tokens[0]
        self.must(self._verdict(token) == _ALLOW, "a token is refused")
        found = run([self.run.tokend, "token", "identify", "-o", "json"], input=token.encode(), env=self._environment)
        self._tokend("token", "revoke", re.search(r"workspaces/[^\"/]+/tokens/[^\"]+", found).group(0))
        self.must(self.is_refused(token), "a revoked token is allowed")

    def is_refused(self, secret):
        """Returns whether the verdict is DENY."""
        return self._verdict(secret) == _DENY

    def _answers(self):
        """Returns how many calls of Verify were answered with OK, with an error, and with DENY."""
        _, metrics = call(self._ops, "GET", "/metrics")
        good = errors = denied = 0
        for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\d+)$", metrics.decode(), re.MULTILINE):
            if name == "tokend_requests_total" and 'Verify"' in labels:
                good += int(value) if 'code="OK"' in labels else 0
                errors += 0 if 'code="OK"' in labels else int(value)
            elif name == "tokend_denied_verdicts_total":
                denied += int(value)
        return good, errors, denied

    def check(self, seconds, connections=None, streams=1):
        """Verifies one token for this long.

        The status of gRPC and the verdict are behind HTTP's status, which is all that h2load looks at. So the server's
        own counters have to agree: as many calls with OK as h2load has counted, no other code, and no DENY.
        """
        question = self.run.directory / "question"
        message = self.next_of(self._questions)
        question.write_bytes(b"\0" + len(message).to_bytes(4) + message)
        before = self._answers()
        connections = connections or self.run.connections
        load = h2load(
            f"http://{self._address}{_VERIFY}",
            seconds,
            connections=connections,
            streams=streams,
            headers={
                "content-type": "application/grpc",
                "te": "trailers",
                "authorization": f"Bearer {self._verifier}",
            },
            directory=self.run.directory,
            body=question,
        )
        good, errors, denied = (now - then for now, then in zip(self._answers(), before, strict=True))
        # When its time is over, h2load leaves the calls in flight uncounted.
        is_complete = load.calls <= good <= load.calls + connections * streams
        counts = f"{good} were answered with OK, {errors} with an error, {denied} with DENY"
        self.must(is_complete and not errors and not denied, f"of {load.calls} calls, {counts}")
        return load

    def changes(self):
        """Creates and revokes as an ADMIN."""
        return ["tokend", self._address, self._admin, self.run.connections]


class TokendOnPostgres(_Tokend):
    """tokend on a PostgreSQL server of its own."""

    name = "tokend-postgres"
    title = "tokend on PostgreSQL, Verify"
    creation = "tokend on PostgreSQL, CreateToken"
    revocations = {
        "tokend on PostgreSQL, RevokeToken with no_wait": {"no_wait": True},
        "tokend on PostgreSQL, RevokeToken": {},
    }
    # The rows that all others are compared with.
    bases = {"check": title, "create": creation, "revoke": next(iter(revocations))}

    def start(self):
        """Starts PostgreSQL first."""
        postgres = self.serve(Postgres(self.name))
        self.database = ("--database-url", postgres.url)
        super().start()

    def checks(self):
        """Adds a row with the same number of calls in flight on one connection, as a gRPC client has them."""

        def on_one(seconds):
            return self.check(seconds, connections=1, streams=self.run.connections)

        return [*super().checks(), ("the same, on one connection", on_one)]


class TokendOnSqlite(_Tokend):
    """tokend on SQLite."""

    name = "tokend-sqlite"
    title = "tokend on SQLite, Verify"
    creation = "tokend on SQLite, CreateToken"
    revocations = {
        "tokend on SQLite, RevokeToken with no_wait": {"no_wait": True},
        "tokend on SQLite, RevokeToken": {},
    }
