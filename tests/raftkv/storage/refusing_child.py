"""Runs under the shim: a log on a disk that takes no direct write when it is asked to.

With an argument: one that is asked to by an asynchronous write, or (`kernel`) has none of these.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile

from raftkv._native.log_store import LogStore
from raftkv.raft.messages import HardState
from tests.raftkv.storage.countdown_child import entries
from tests.raftkv.storage.faulty_disk import FAIL_ONCE, FaultyDisk


def say_how_it_writes(path: str) -> None:
    for name in os.listdir("/proc/self/fd"):
        link = f"/proc/self/fd/{name}"
        if os.path.exists(link) and os.path.realpath(link).startswith(path):
            with open(f"/proc/self/fdinfo/{name}") as info:
                flags = int(info.read().split("flags:")[1].split()[0], 8)
            print("direct" if flags & os.O_DIRECT else "not direct")


def write_some(log: LogStore) -> None:
    what = entries(31, 50, 1), HardState(1, 1, 31)
    if len(sys.argv) > 1:
        log.begin_append(*what)
        log.end_append()
    else:
        log.append(*what)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(os.path.realpath(folder), "log")
        disk = FaultyDisk(folder)
        if sys.argv[1:] == ["kernel"]:
            disk.refuse_asynchronous()
        log = LogStore(path)
        log.append(entries(1, 30, 1), HardState(1, 1, 1))
        say_how_it_writes(path)
        disk.arm(1, errno.EINVAL, FAIL_ONCE)
        write_some(log)
        print("refused once" if disk.disarm() == 1 else "never refused")
        say_how_it_writes(path)
        log.append(entries(51, 60, 1), HardState(1, 1, 51))
        del log
        log = LogStore(path)
        assert log.entries(1, 61, 1 << 30) == entries(1, 60, 1)
        print(f"{log.last_index} entries")
        log.close()


if __name__ == "__main__":
    main()
