"""PostgreSQL servers of the run: one for each peer, so that its CPU time can be told from that of the others."""

import os
import pathlib
import shutil
import signal
import tempfile

from processes import Server, free_port, program, run

_DEBIAN = "/usr/lib/postgresql"


def find(name):
    """Returns the path of one of PostgreSQL's programs: Debian's newest, or the one in PATH.

    Debian's psql and pgbench in PATH are scripts that first look for servers of the system.
    """
    versions = sorted(pathlib.Path(_DEBIAN).glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(versions[-1]) if versions else program(name, "postgresql")


class Postgres:
    """A server with its defaults, on a free port of 127.0.0.1, in a directory of its own. Everybody is trusted."""

    def __init__(self, name):
        self.port = free_port()
        self._directory = tempfile.mkdtemp(prefix="side-by-side-postgres-")
        self._server = None
        try:
            self._start(name)
        except BaseException:
            self.end()
            raise

    def _start(self, name):
        account = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to be run by root.
            shutil.chown(self._directory, "postgres", "postgres")
            account = {"user": "postgres", "group": "postgres", "extra_groups": []}
        data = f"{self._directory}/data"
        options = {"cwd": self._directory, **account}
        initdb = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        run([find("initdb"), "--pgdata", data, *initdb], timeout=120, **options)
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", self.port]
        self._server = Server(
            [find("postgres"), "-D", data, *settings],
            # The account of the server can't write to the run's directory, and needs not: the run opens the log.
            directory=self._directory,
            name=f"{name}-postgres",
            # SIGINT is a fast shutdown: it ends connections and removes the shared memory.
            stop=signal.SIGINT,
            **options,
        )
        # The server writes its state to the eighth line of this file.
        status = pathlib.Path(data, "postmaster.pid")
        self._server.wait_until(lambda: status.read_text().splitlines()[7:8] == ["ready   "])

    @property
    def pid(self):
        """Returns the id of the process that starts all others."""
        return self._server.pid

    @property
    def url(self):
        """Returns the URL of the only database."""
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def execute(self, statements):
        """Runs statements. Returns their rows, one on each line."""
        command = [find("psql"), self.url, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        return run([*command, "--set=ON_ERROR_STOP=1"], input=statements.encode()).strip()

    def end(self):
        """Stops the server and removes its files."""
        if self._server:
            self._server.end()
        shutil.rmtree(self._directory, ignore_errors=True)
