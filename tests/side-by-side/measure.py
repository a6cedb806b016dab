"""The windows of a run: which server is measured when, and what one window measures."""

import contextlib
import dataclasses
import time

import machine
from load import Load, summary
from peers.peer import Changes


@dataclasses.dataclass
class Window:
    """What was measured in one window of one row."""

    load: Load
    seconds: float
    # CPU seconds of the server's processes.
    server: float
    # Shares of the machine's time, see `machine.Machine.until_now`.
    machine: dict

    @property
    def cpu(self):
        """Returns the server's CPU time for a call in microseconds, which is also that for 1,000 in milliseconds."""
        return self.server / self.load.calls * 1e6


class Run:
    """The windows of a run, for each row of each table."""

    def __init__(self, peers):
        self._peers = peers
        self._servers = [pid for peer in peers for pid in peer.pids]
        self.tables = {"check": {}, "create": {}, "revoke": {}}

    def checks(self, passes, seconds):
        """Measures the checks of all servers."""
        rows = [(peer, *row) for peer in self._peers for row in peer.checks()]
        # Fills pools and caches, and finds the rate of a driver that counts calls instead of seconds. A single pass is no
        # measurement, so it does without.
        for _, _, check in rows if passes > 1 else ():
            check(1)
        for one_pass in mirrored(rows, passes):
            for peer, title, check in one_pass:
                self._measure(peer, "check", title, lambda check=check: check(seconds))

    def changes(self, passes, seconds):
        """Measures the creations and revocations of the servers that have them."""
        for one_pass in mirrored([peer for peer in self._peers if peer.changes()], passes):
            for peer in one_pass:
                self._changes_of(peer, seconds)

    def _changes_of(self, peer, seconds):
        """Creates tokens, and revokes some of them in each way that the server has."""
        driver = Changes(peer.run, peer.changes())
        with contextlib.ExitStack() as ends:
            ends.callback(driver.end)
            # From here on, the driver is connected.
            driver.do("create", most=peer.run.connections)

            def measure(table, title, **command):
                answer = {}

                def action():
                    answer.update(driver.do(table, seconds=seconds, **command))
                    return summary(answer["took"], answer["driver"])

                self._measure(peer, table, title, action, driver.pid)
                return answer

            measure("create", peer.creation)
            for title, arguments in peer.revocations.items():
                answer = measure("revoke", title, share=0.5, **arguments)
                if not arguments.get("no_wait"):
                    peer.must(peer.is_refused(answer["one"]), "a token is accepted after its revocation has returned")

    def _measure(self, peer, table, title, action, *drivers):
        """Adds a window, during which `action` puts load on the peer. `drivers` are processes that run on after it."""
        around = machine.Machine([*self._servers, *drivers])
        before, start = machine.cpu_seconds(peer.pids), time.monotonic()
        load = action()
        seconds, server = time.monotonic() - start, machine.cpu_seconds(peer.pids) - before
        self.tables[table].setdefault(title, []).append(Window(load, seconds, server, around.until_now()))


def mirrored(things, passes):
    """Returns everything once for each pass, forwards and backwards in turn: A B C C B A."""
    for number in range(passes):
        yield things[:: -1 if number % 2 else 1]
