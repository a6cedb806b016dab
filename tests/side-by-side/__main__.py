"""Side by side: what a check of a token costs with tokend, and with what people use today.

    cargo build --release --workspace --bin tokend
    python3 tests/side-by-side                          # about 7 minutes
    python3 tests/side-by-side --short                  # about a minute: too short for figures
    python3 tests/side-by-side --only tokend-sqlite openbao

docs/side-by-side.md says what is measured and how to read it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import measure
import peers
import report
import versions
from failure import Failure
from machine import description
from peers.peer import Run
from peers.tokend import TokendOnPostgres
from processes import run

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
# Calls in flight, each on a connection of its own.
_CONNECTIONS = 8
# The most seconds of a window of creations or revocations: every one of them leaves a row behind.
_CHANGES_SECONDS = 2


def main():
    """Runs everything. Returns the exit code."""
    if sys.version_info < (3, 11):
        print("error: this needs Python 3.11 or newer", file=sys.stderr)
        return 1
    arguments = parse(sys.argv[1:])
    for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(stop, lambda number, _: sys.exit(128 + number))
    try:
        with contextlib.ExitStack() as ends:
            directory = pathlib.Path(tempfile.mkdtemp(prefix="side-by-side-"))
            ends.callback(shutil.rmtree, directory, ignore_errors=True)
            environment = pathlib.Path(arguments.environment or directory / "environment")
            install(environment)
            # Installing is not in it: how long that takes depends on others.
            with time_limit(arguments.limit):
                result = side_by_side(arguments, directory, environment / "bin", ends)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parse(arguments):
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="tests/side-by-side", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokend", type=pathlib.Path, default=_REPOSITORY / "target/release/tokend", metavar="PATH")
    parser.add_argument("--only", nargs="+", choices=[peer.name for peer in peers.ALL], help="leave out all others")
    parser.add_argument("--short", action="store_true", help="shows that everything works, and is no measurement")
    parser.add_argument("--rounds", type=int, default=5, help="each has two windows of each row [default: 5]")
    parser.add_argument("--seconds", type=int, default=3, help="of a window of checks [default: 3]")
    parser.add_argument("--tokens", type=int, default=1000, help="in each server [default: 1000]")
    parser.add_argument("--limit", type=int, help="seconds after which the run fails [default: 600; with --short 60]")
    parser.add_argument("--environment", metavar="DIR", help="keep the installed packages here, for the next run")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every window to this file")
    parsed = parser.parse_args(arguments)
    if not parsed.tokend.is_file():
        parser.error(f"there is no {parsed.tokend}: run `cargo build --release --workspace --bin tokend`, or --tokend")
    if min(parsed.rounds, parsed.seconds) < 1 or parsed.tokens < 10:
        parser.error("--rounds and --seconds must be at least 1, --tokens at least 10")
    parsed.limit = parsed.limit or (60 if parsed.short else 600)
    # Passes over all rows, of checks and of creations and revocations.
    parsed.passes = 2 * parsed.rounds, 2 * ((parsed.rounds + 1) // 2)
    parsed.changes_seconds = min(parsed.seconds, _CHANGES_SECONDS)
    if parsed.short:
        parsed.passes, parsed.seconds, parsed.changes_seconds, parsed.tokens = (1, 1), 1, 0.3, 100
    return parsed


def install(environment):
    """Installs requirements.txt into a virtual environment, unless an earlier run has done so."""
    requirements = pathlib.Path(__file__).with_name("requirements.txt")
    complete = environment / "complete"
    if complete.is_file() and complete.read_text() == requirements.read_text():
        return
    print(f"installing {requirements.name}", file=sys.stderr)
    run([sys.executable, "-m", "venv", "--clear", environment], timeout=120)
    pip = [environment / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run([*pip, "--requirement", requirements], timeout=600)
    complete.write_text(requirements.read_text())


@contextlib.contextmanager
def time_limit(seconds):
    """Ends what is inside with an error after this time. What ends the servers is outside, and has its own limits."""

    def over(*_):
        raise Failure(f"the run takes more than {seconds} s (--limit); a machine this busy shows nothing about servers")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def side_by_side(arguments, directory, programs, ends):
    """Starts all servers, measures them, and prints the tables. Returns every window."""
    stubs = directory / "stubs"
    stubs.mkdir()
    contract = [f"--proto_path={_REPOSITORY}/proto", *sorted(_REPOSITORY.glob("proto/tokend/v1/*.proto"))]
    output = [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    run([programs / "python", "-m", "grpc_tools.protoc", *output, *contract])

    shared = Run(
        directory=directory,
        python=programs / "python",
        stubs=stubs,
        tokend=arguments.tokend.resolve(),
        tokens=arguments.tokens,
        connections=_CONNECTIONS,
        cores=os.cpu_count(),
    )
    chosen = [kind(shared) for kind in peers.ALL if not arguments.only or kind.name in arguments.only]
    for peer in chosen:
        print(f"starting {peer.name}", file=sys.stderr)
        ends.enter_context(peer.ends)
        peer.start()
        peer.refuse_revoked()

    print(f"{description()}\n{versions.text(shared.tokend, programs.parent)}\n")
    windows, start, before = measure.Run(chosen), time.monotonic(), os.getloadavg()
    print("measuring checks", file=sys.stderr)
    windows.checks(arguments.passes[0], arguments.seconds)
    print("measuring creations and revocations", file=sys.stderr)
    windows.changes(arguments.passes[1], arguments.changes_seconds)
    took, after = time.monotonic() - start, os.getloadavg()

    print(report.tables(windows.tables, TokendOnPostgres.bases))
    print(f"\nLoad averages: {before} before and {after} after the windows, which took {took:.0f} s.")
    print(f"During the windows, the machine was:\n\n{report.idleness(windows.tables)}")
    return {
        table: {title: [dataclasses.asdict(window) for window in row] for title, row in rows.items()}
        for table, rows in windows.tables.items()
    }


sys.exit(main())
