"""Stores without a check of their own: the least that a service pays that keeps its tokens there."""

import socket
import time

from failure import Failure
from load import pgbench, redis_benchmark
from postgres import Postgres
from processes import Server, free_port, program

from .peer import Peer

# Bytes of a value, about what a token's row has.
_VALUE = 200
# Calls of the first window, whose rate decides about the others.
_FIRST = 20_000


class Redis(Peer):
    """Redis with its defaults: GET of a value of 200 bytes."""

    name = "redis"
    title = "Redis, GET of 200 bytes"

    def start(self):
        """Starts the server with a value for each token."""
        self.port = free_port()
        self._rate = None
        command = [program("redis-server", "redis-server"), "--port", self.port, "--bind", "127.0.0.1"]
        command += ["--dir", self.run.directory]
        server = self.serve(Server(command, directory=self.run.directory, name=self.name))
        server.wait_until(lambda: self._ask("PING") == "+PONG")
        for number in range(self.run.tokens):
            self._ask("SET", f"key:{number:012}", "v" * _VALUE)

    def _ask(self, *words):
        """Sends a command. Returns the first line of the answer, or the whole value."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as answers:
                head = answers.readline().decode().rstrip()
                if head.startswith("-"):
                    raise Failure(f"Redis answers {head} to {words[0]}")
                size = int(head[1:]) if head.startswith("$") else -1
                return answers.read(size).decode() if size >= 0 else head

    def _found(self):
        """Returns how many keys were found, and how many were not, since the server started."""
        statistics = dict(line.split(":") for line in self._ask("INFO", "stats").splitlines() if ":" in line)
        return int(statistics["keyspace_hits"]), int(statistics["keyspace_misses"])

    def refuse_revoked(self):
        """Deletes a value. GET then finds nothing, which is all that Redis can say about it."""
        # `check` chooses keys at random, so the value that is deleted is not one of them.
        key = f"key:{self.run.tokens:012}"
        self._ask("SET", key, "v" * _VALUE)
        self.must(len(self._ask("GET", key)) == _VALUE, "a value is not found")
        self._ask("DEL", key)
        self.must(self._ask("GET", key) == "$-1", "a deleted value is found")

    def check(self, seconds):
        """Reads values for about this long."""
        calls = _FIRST if self._rate is None else max(int(self._rate * seconds), 1)
        (hits, misses), start = self._found(), time.monotonic()
        load = redis_benchmark(self.port, calls, connections=self.run.connections, keys=self.run.tokens)
        self._rate = calls / (time.monotonic() - start)
        found = self._found()
        self.must(found == (hits + calls, misses), f"not every value was found: {found}")
        return load


class PointSelect(Peer):
    """PostgreSQL with its defaults: a token's row by its primary key, if the token works."""

    name = "pgbench"
    title = "PostgreSQL, select by primary key (pgbench)"
    _QUERY = (
        "SELECT workspace, resource, scopes FROM token WHERE id = {} AND revoke_time IS NULL AND expire_time > now()"
    )

    def start(self):
        """Starts the server with a table of tokens."""
        self.postgres = self.serve(Postgres(self.name))
        create_tokens(self.postgres, [f"token-{number}" for number in range(self.run.tokens)])

    def refuse_revoked(self):
        """Revokes the last token, which then has no row for the query."""
        last = self.run.tokens
        self.must(self.postgres.execute(self._QUERY.format(last)), "a token is not found")
        self.postgres.execute(f"UPDATE token SET revoke_time = now() WHERE id = {last}")
        self.must(not self.postgres.execute(self._QUERY.format(last)), "a revoked token is found")

    def check(self, seconds):
        """Reads random rows of tokens that work."""
        return pgbench(
            self.postgres.url,
            seconds,
            connections=self.run.connections,
            script=f"\\set id random(1, {self.run.tokens - 1})\n{self._QUERY.format(':id')} \\gset\n",
            directory=self.run.directory,
        )


def create_tokens(postgres, secrets):
    """Creates a table as services have that keep tokens themselves, with a row for each secret."""
    rows = ", ".join(f"(sha256('{secret}'))" for secret in secrets)
    postgres.execute(f"""
        CREATE TABLE token (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            digest bytea NOT NULL UNIQUE,
            workspace text NOT NULL DEFAULT 'bench',
            resource text NOT NULL DEFAULT 'workspaces/bench',
            scopes text[] NOT NULL DEFAULT '{{repository,repository:write}}',
            create_time timestamptz NOT NULL DEFAULT now(),
            expire_time timestamptz NOT NULL DEFAULT now() + interval '30 days',
            revoke_time timestamptz
        );
        INSERT INTO token (digest) VALUES {rows};
        ANALYZE token;
    """)
