"""Services in Python that keep their tokens in PostgreSQL, each with a PostgreSQL server of its own."""

import json
import os
import pathlib
import secrets

from postgres import Postgres
from processes import Server, free_port, run

from .data_stores import create_tokens
from .peer import HttpPeer

_SERVERS = pathlib.Path(__file__).parent.parent / "servers"


class _PythonService(HttpPeer):
    """A server of the directory `servers`."""

    def environment(self):
        """Returns the variables for the service's programs."""
        return {
            "DATABASE_URL": self.postgres.url,
            "CONNECTIONS": str(self.pool),
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPYCACHEPREFIX": str(self.run.directory / "pycache"),
            "PATH": os.environ["PATH"],
        }

    def serve_module(self, *arguments, directory):
        """Starts the service, a Python module with arguments, and waits until it refuses a token."""
        options = {"cwd": directory, "env": self.environment()}
        command = [self.run.python, "-m", *arguments]
        server = self.serve(Server(command, directory=self.run.directory, name=self.name, **options))
        server.wait_until(lambda: self.status("no-token") == 401)


class FastApi(_PythonService):
    """FastAPI on uvicorn with uvloop and httptools, and asyncpg."""

    name = "fastapi"
    title = "FastAPI and asyncpg"
    path = "/check?resource=workspaces/bench/repositories/app&scope=repository:write"
    # Connections of each worker's pool: together at least as many as there are calls in flight.
    pool = 8

    def start(self):
        """Starts a worker for each core."""
        self.postgres = self.serve(Postgres(self.name))
        self.tokens = [secrets.token_urlsafe(32) for _ in range(self.run.tokens)]
        create_tokens(self.postgres, self.tokens)
        self.port = free_port()
        workers = ["--workers", self.run.cores, "--loop", "uvloop", "--http", "httptools"]
        quiet = ["--no-access-log", "--log-level", "warning"]
        where = ["--host", "127.0.0.1", "--port", self.port]
        self.serve_module("uvicorn", "fastapi_app:app", *where, *workers, *quiet, directory=_SERVERS)

    def refuse_revoked(self):
        """Revokes a token in the database. Also checks that a scope that a token lacks is refused."""
        token = self.tokens[0]
        self.must(self.status(token) == 200, "a token is refused")
        self.must(self.status(token, self.path.replace("write", "admin")) == 403, "a scope is not checked")
        self.postgres.execute(f"UPDATE token SET revoke_time = now() WHERE digest = sha256('{token}')")
        self.must(self.status(token) == 401, "a revoked token is accepted")


class DjangoRest(_PythonService):
    """Django REST framework with TokenAuthentication on gunicorn, and psycopg's pool."""

    name = "django"
    title = "Django REST framework, TokenAuthentication"
    path = "/check"
    threads = pool = 4

    def headers(self, token):
        """Returns the header of TokenAuthentication."""
        return {"authorization": f"Token {token}"}

    def start(self):
        """Starts as many workers as gunicorn recommends, with threads, without which it keeps no connection open."""
        self.postgres = self.serve(Postgres(self.name))
        project = _SERVERS / "drf"
        prepare = [self.run.python, "prepare.py", self.run.tokens]
        self.tokens = json.loads(run(prepare, timeout=120, cwd=project, env=self.environment()))
        self.postgres.execute("ANALYZE")
        self.port = free_port()
        workers = ["--workers", 2 * self.run.cores + 1, "--worker-class", "gthread", "--threads", self.threads]
        where = ["--bind", self.address, "--log-level", "warning"]
        self.serve_module("gunicorn", "application:application", *where, *workers, directory=project)

    def refuse_revoked(self):
        """Deletes a token, which is all that the framework knows about revoking."""
        token = self.tokens[0]
        self.must(self.status(token) == 200, "a token is refused")
        self.postgres.execute(f"DELETE FROM authtoken_token WHERE key = '{token}'")
        self.must(self.status(token) == 401, "a deleted token is accepted")
