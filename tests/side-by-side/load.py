"""Load for one window: programs that cost little and measure every call. Whatever was not answered well is an error."""

import csv
import dataclasses
import io
import math
import pathlib
import re

import machine
from failure import Failure
from postgres import find
from processes import program, run

# Seconds that a program may take longer than its window.
_GRACE = 20


@dataclasses.dataclass
class Load:
    """What the clients of one window saw."""

    calls: int
    p50: float  # Microseconds.
    p99: float
    driver: float  # CPU seconds of the driver.


def percentile(ordered, share):
    """Returns the smallest value that this share of the values does not exceed."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def summary(microseconds, driver):
    """Returns the load whose calls took this long."""
    ordered = sorted(microseconds)
    if not ordered:
        raise Failure("no call of a window was answered: the machine is too busy, or the window too short (--seconds)")
    return Load(len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.99), driver)


def _drive(command, timeout):
    """Runs a driver. Returns its output and its CPU time in seconds."""
    before = machine.finished_drivers()
    output = run(command, timeout=timeout)
    return output, machine.finished_drivers() - before


def h2load(url, seconds, *, connections, streams, headers, directory, body=None, http1=False):
    """Calls an URL in a closed loop. Every answer must have the status 200."""
    log = pathlib.Path(directory, "h2load.log")
    # It appends to a log.
    log.unlink(missing_ok=True)
    command = [program("h2load", "nghttp2-client"), "--threads=1", f"--clients={connections}"]
    command += [f"--max-concurrent-streams={streams}", f"--duration={int(seconds * 1000)}ms", f"--log-file={log}"]
    command += ["--h1"] if http1 else []
    command += [f"--data={body}"] if body else []
    command += [f"--header={name}: {value}" for name, value in headers.items()]
    output, driver = _drive([*command, url], seconds + _GRACE)
    done = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    wrong = [status for _, status, _ in rows if status != "200"]
    if not done or [int(count) for count in done.groups()] != [len(rows), len(rows), 0, 0, 0] or wrong:
        raise Failure(f"{url} did not answer every call with the status 200 (others: {wrong[:5]}):\n{output[-2000:]}")
    return summary([int(took) for _, _, took in rows], driver)


def redis_benchmark(port, calls, *, connections, keys):
    """Reads random ones of the keys `key:000000000000` and so on. The caller checks that they were found."""
    command = [program("redis-benchmark", "redis-tools"), "-h", "127.0.0.1", "-p", port, "-c", connections]
    output, driver = _drive([*command, "-n", calls, "-r", keys, "-t", "get", "--csv"], 60 + _GRACE)
    row = next(csv.DictReader(io.StringIO(output)))
    times = [float(row[f"p{share}_latency_ms"]) * 1000 for share in (50, 99)]
    return Load(calls, *times, driver)


def pgbench(url, seconds, *, connections, script, directory):
    """Runs a script of SQL as prepared statements. A script that ends in `\\gset` fails unless it gets one row."""
    for log in pathlib.Path(directory).glob("pgbench.*"):
        log.unlink()
    path = pathlib.Path(directory, "script.sql")
    path.write_text(script)
    command = [find("pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={connections}", "--jobs=1"]
    command += [f"--time={max(round(seconds), 1)}", f"--file={path}", "--log", f"--log-prefix={directory}/pgbench"]
    output, driver = _drive([*command, url], seconds + _GRACE)
    rows = [line.split() for log in pathlib.Path(directory).glob("pgbench.*") for line in log.read_text().splitlines()]
    if "number of failed transactions: 0 " not in output or not all(row[2].isdigit() for row in rows):
        raise Failure(f"pgbench did not get a row for every question:\n{output[-2000:]}")
    return summary([int(row[2]) for row in rows], driver)
