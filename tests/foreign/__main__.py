"""A client of tokend that is not Rust: Python's grpcio, grpcurl and `buf curl` drive the whole served surface.

`.ci/foreign` runs everything on a server of its own: it builds tokend, generates the stubs from proto/ and passes the
server's address.

    .ci/foreign                                        # everything, on SQLite and PostgreSQL
    .ci/foreign test_token_verify.Verify.test_expired  # one test

It uses only what any other client has: the stubs that protoc generates from the contract, and grpcio-status for the
details of errors. There is one file for each service; `test_transport` has what holds for every call. Each test creates
its own workspace and callers, and needs nothing that another test left.

The environment says where the server is:

    TOKEND_FOREIGN_ADDRESS     host:port
    TOKEND_FOREIGN_ADMIN_KEY   the key of an ADMIN
    TOKEND_FOREIGN_GRPCURL     grpcurl, if it is to be tried
    TOKEND_FOREIGN_BUF         buf, likewise
    TOKEND_FOREIGN_PROGRAM     tokend, for the tests that need a server with settings of its own

At the end it prints what was answered. It fails unless every RPC of the contract has succeeded and has been refused,
every verdict was reached, and every reason of an error was met, except those below, which nobody can provoke from
outside.
"""

import pathlib
import sys
import unittest

import client

# Reasons that need an outage, a fault, a shutdown, a change of the key ring in progress, or so many failures that every
# later test would get the same answer.
OUT_OF_REACH = {"UNSPECIFIED", "INTERNAL_FAULT", "OVERLOADED", "DEADLINE_EXCEEDED", "CANCELLED", "KEY_NOT_AT_HAND"}
OUT_OF_REACH |= {"TOO_MANY_FAILED_AUTHENTICATIONS"}
# Calls whose streams never end.
ENDLESS = {"/tokend.v1.AuditLog/WatchAuditEvents"}


def names(enum, prefix):
    return {name.removeprefix(prefix) for name in enum.keys()}


def gaps():
    """What the tests together should have met and did not."""
    for path in client.CONTRACT_PATHS:
        codes = client.ANSWERS.codes[path]
        # What goes on for ever was served until the client had enough.
        if not codes["OK"] and not (path in ENDLESS and codes["CANCELLED"]):
            yield f"{path} was never served"
        if not set(codes) - {"OK"}:
            yield f"{path} was never refused"
    reasons = names(client.error_reason_pb2.ErrorReason, "ERROR_REASON_")
    for reason in sorted(reasons - OUT_OF_REACH - set(client.ANSWERS.reasons)):
        yield f"no refusal with {reason}"
    verdicts = names(client.verify.DenyReason, "DENY_REASON_") - {"UNSPECIFIED"} | {"ALLOW"}
    for verdict in sorted(verdicts - set(client.ANSWERS.verdicts)):
        yield f"no verdict {verdict}"


def told(counts):
    return ", ".join(
        f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: (item[0] != "OK", item[0]))
    )


def main():
    here = str(pathlib.Path(__file__).parent)
    loader = unittest.TestLoader()
    chosen = sys.argv[1:]
    suite = loader.loadTestsFromNames(chosen) if chosen else loader.discover(here, top_level_dir=here)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    if not result.testsRun:
        sys.exit("error: no test ran")
    if not result.wasSuccessful():
        sys.exit(1)
    if chosen:
        return

    shown = {*client.CONTRACT_PATHS, *(path for path in client.ANSWERS.codes if path.startswith("/grpc."))}
    for path in sorted(shown, key=lambda path: (not path.startswith("/tokend."), path)):
        print(f"{path[1:]:<62} {told(client.ANSWERS.codes[path])}")
    print(f"verdicts: {told(client.ANSWERS.verdicts)}")
    print(f"refusals: {told(client.ANSWERS.reasons)}")
    if missing := list(gaps()):
        sys.exit("error: " + "\nerror: ".join(missing))


main()
