"""What the kernel says about CPU time: that of processes, and how idle the machine was."""

import collections
import os
import resource
import time

from failure import Failure

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _processes():
    """Returns the children of each process, and the CPU time of each process's children that have ended, in seconds."""
    children, ended = collections.defaultdict(list), {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                # The name of the program is in parentheses, and may itself contain some.
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # It has just ended.
        children[int(fields[1])].append(pid)
        ended[pid] = (int(fields[13]) + int(fields[14])) / _TICKS_PER_SECOND
    return children, ended


def descendants(root):
    """Returns the ids of the processes that a process has started, and of those that they have started."""
    children, _ = _processes()
    found, waiting = [], [root]
    while waiting:
        below = children[waiting.pop()]
        found += below
        waiting += below
    return found


def cpu_seconds(roots):
    """Returns the CPU time that these processes and all their descendants have used since they started.

    A running process is read from its CPU clock, which counts in nanoseconds the same time as
    `/proc/PID/task/*/schedstat`, and keeps that of threads that have ended. Of a process that has ended, its parent
    knows the time, in ticks of 10 ms: that is how PostgreSQL's closed connections count.
    """
    children, ended = _processes()
    total, waiting = 0.0, list(roots)
    while waiting:
        pid = waiting.pop()
        try:
            total += time.clock_gettime_ns(_cpu_clock(pid)) / 1e9 + ended.get(pid, 0.0)
        except OSError:
            if pid in roots:
                raise Failure(f"the server with process id {pid} has ended during the run") from None
        waiting += children[pid]
    return total


def _cpu_clock(pid):
    """Returns the clock of clock_getcpuclockid(3), which Python does not offer: `MAKE_PROCESS_CPUCLOCK(pid, SCHED)`."""
    return (~pid << 3) | 2


def finished_drivers():
    """Returns the CPU time of all programs that this process has started and whose end it has seen."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Machine:
    """How busy the machine is from the creation of this value on."""

    def __init__(self, roots):
        self._roots = roots
        self._own, self._ticks = self._own_seconds(), _ticks()

    def _own_seconds(self):
        return cpu_seconds(self._roots) + finished_drivers() + time.process_time()

    def until_now(self):
        """Returns shares of the machine's time, from 0 to 1: idle, stolen by other guests, used by other programs."""
        ticks = [now - then for now, then in zip(_ticks(), self._ticks, strict=True)]
        own = (self._own_seconds() - self._own) * _TICKS_PER_SECOND
        every = max(sum(ticks), 1)
        user, nice, system, idle, waiting, interrupt, soft_interrupt, steal = ticks
        busy = user + nice + system + interrupt + soft_interrupt
        return {
            "idle": (idle + waiting) / every,
            "steal": steal / every,
            "others": max(busy - own, 0) / every,
        }


def _ticks():
    """Returns the first eight numbers of `/proc/stat`, see proc(5)."""
    with open("/proc/stat", encoding="ascii") as file:
        return [int(number) for number in file.readline().split()[1:9]]


def description():
    """Returns the processor, the number of cores, and the kernel."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{os.cpu_count()} cores ({models[0] if models else 'unknown'}), {os.uname().sysname} {os.uname().release}"
