"""Programs that a run starts: servers, which end with the run whatever happens, and commands that have a time limit."""

import contextlib
import ctypes
import http.client
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

from failure import Failure
from machine import descendants

# Below are the ports of the machine's services; above what the kernel says, it gives them to outgoing connections.
_FIRST_PORT = 10_000
_OUTGOING = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
# Seconds: for a server to start, and to end after it was asked to.
_START = 60
_END = 10
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def program(name, package):
    """Returns the path of a program, or says which package has it."""
    found = shutil.which(name)
    if found is None:
        raise Failure(f"found no {name}: install {package}, or leave its rows out with --only")
    return found


def free_port():
    """Returns a port of 127.0.0.1 that nobody listens on, and that no outgoing connection takes meanwhile."""
    last = int(_OUTGOING.read_text().split()[0]) - 1
    for _ in range(100):
        port = random.randint(_FIRST_PORT, last)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise Failure(f"found no free port from {_FIRST_PORT} to {last}")


def run(command, *, timeout=60, **options):
    """Runs a command to its end. Returns its output, or raises its error."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, timeout=timeout, capture_output=True, check=False, **options)
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} did not end within {timeout} s") from None
    if done.returncode != 0:
        output = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise Failure(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{output}")
    return done.stdout.decode()


def _end_with_parent():
    """Makes the kernel end this process when the run dies without ending it."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """A running server. `end` asks it to stop, and kills what is left of it."""

    def __init__(self, command, *, directory, name, stop=signal.SIGTERM, **options):
        self.log = pathlib.Path(directory, f"{name}.log")
        self._stop = stop
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches the run alone, which then ends its servers in order.
                process_group=0,
                # This program has no threads, with which that would not be safe.
                preexec_fn=_end_with_parent,
                **options,
            )
        self.pid = self._process.pid
        self._name = name

    def wait_until(self, is_ready):
        """Waits until the server is ready. Calls are repeated until they neither fail nor return something false."""
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                if answer := is_ready():
                    return answer
            time.sleep(0.05)
        log = self.log.read_text(errors="replace")[-3000:]
        raise Failure(f"{self._name} did not start within {_START} s. Its log ends with:\n{log}")

    def end(self):
        """Asks the server to stop and waits until it has, then kills whatever is left of it."""
        family = descendants(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(self._stop)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END)
        if self._process.poll() is None:
            family += [pid for pid in descendants(self.pid) if pid not in family]
            self._process.kill()
            self._process.wait()
        for pid in family:
            # An id is used again only after all others have been, so this meets nobody else.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
