"""What all servers have in common for the run."""

import contextlib
import dataclasses
import http.client
import itertools
import json
import pathlib
import subprocess

from failure import Failure
from load import h2load

# Seconds for a single call of the run's own, outside of windows.
_TIMEOUT = 60


@dataclasses.dataclass(frozen=True)
class Run:
    """What the servers of a run are given."""

    directory: pathlib.Path
    # Python with the packages of requirements.txt, and the directory of the programs of these packages.
    python: pathlib.Path
    stubs: pathlib.Path
    tokend: pathlib.Path
    tokens: int
    # Calls in flight, each on a connection of its own.
    connections: int
    cores: int


class Peer:
    """A server, or several that answer together. Subclasses start it in `start`, and register its end with `ends`."""

    # The name on the command line, and the row of its checks.
    name: str
    title: str
    # The rows of its creations and revocations, if it has them: of the latter with arguments for `changes.py`.
    creation = ""
    revocations = {}

    def __init__(self, run):
        self.run = run
        self.ends = contextlib.ExitStack()
        # The processes whose CPU time counts, with all that they start.
        self.pids = []
        self._next = itertools.count(1)

    def serve(self, server):
        """Counts a server's CPU time, and ends it when the peer ends."""
        self.ends.callback(server.end)
        self.pids.append(server.pid)
        return server

    def next_of(self, tokens):
        """Returns another token in each window. The first one is the one that `refuse_revoked` revokes."""
        return tokens[1 + next(self._next) % (len(tokens) - 1)]

    def start(self):
        """Starts the server with tokens, and returns once it answers."""
        raise NotImplementedError

    def refuse_revoked(self):
        """Checks that a token is accepted, revokes it, and checks that it is refused."""
        raise NotImplementedError

    def check(self, seconds):
        """Checks tokens for this long."""
        raise NotImplementedError

    def checks(self):
        """Returns the rows of its checks: a title, and a function that checks for some seconds."""
        return [(self.title, self.check)]

    def changes(self):
        """Returns the arguments of `changes.py`. Empty for a server that does not create and revoke tokens itself."""
        return []

    def must(self, is_true, what):
        """Fails the run with the peer's name."""
        if not is_true:
            raise Failure(f"{self.name}: {what}; the run would measure something else than checks of tokens")


class HttpPeer(Peer):
    """A server with HTTP/1.1 whose status says whether a token is accepted."""

    path: str
    port: int

    def headers(self, token):
        """Returns the headers that present a token."""
        return {"authorization": f"Bearer {token}"}

    @property
    def address(self):
        """Returns the host and the port."""
        return f"127.0.0.1:{self.port}"

    def status(self, token, path=None):
        """Returns the status of a single check."""
        status, _ = call(self.address, "GET", path or self.path, self.headers(token))
        return status

    def check(self, seconds):
        """Checks one token for this long."""
        return h2load(
            f"http://{self.address}{self.path}",
            seconds,
            connections=self.run.connections,
            streams=1,
            headers=self.headers(self.next_of(self.tokens)),
            directory=self.run.directory,
            http1=True,
        )


def call(address, method, path, headers=(), body=None):
    """Makes a single HTTP call. Returns its status, and its body if that is JSON."""
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT)
    with contextlib.closing(connection):
        connection.request(method, path, body and json.dumps(body), dict(headers))
        response = connection.getresponse()
        text = response.read()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(text) if text and is_json else text


class Changes:
    """The driver of creations and revocations, a process of its own that keeps its connections."""

    def __init__(self, run, arguments):
        self._process = subprocess.Popen(
            [run.python, pathlib.Path(__file__).parent.parent / "changes.py", *map(str, arguments)],
            env={"PYTHONPATH": str(run.stubs), "PYTHONPYCACHEPREFIX": str(run.directory / "pycache")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def do(self, command, **arguments):
        """Makes the driver do something, and returns its answer. The whole run's time limit bounds this, too."""
        answer = None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise Failure("the driver of creations and revocations failed; its error is above")
        return json.loads(answer)

    def end(self):
        """Closes the connections."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TIMEOUT)
        self._process.kill()
        self._process.wait()
