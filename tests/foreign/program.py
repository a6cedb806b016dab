"""tokend with a data directory of its own, for tests that need settings which the common server does not have."""

import contextlib
import json
import os
import signal
import subprocess
import time

from client import PATIENCE

PROGRAM = os.environ["TOKEND_FOREIGN_PROGRAM"]


def init(home):
    """Makes an installation in the directory, and returns the key of its first caller."""
    done = subprocess.run(
        [PROGRAM, "init", "--data-dir", home / "data"], check=True, capture_output=True, text=True, timeout=2 * PATIENCE
    )
    return done.stdout.strip()


@contextlib.contextmanager
def serving(home, *arguments):
    """Serves it with these arguments; the address."""
    ready, log = home / "ready", home / "log"
    ready.unlink(missing_ok=True)
    command = [PROGRAM, "serve", "--data-dir", home / "data", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
    with open(log, "ab") as out:
        server = subprocess.Popen([*command, "--ready-file", ready, *arguments], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE
        while not ready.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(log.read_text())
            time.sleep(0.05)
        yield json.loads(ready.read_text())["grpc_address"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)
