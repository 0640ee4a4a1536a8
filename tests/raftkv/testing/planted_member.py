"""`python planted_member.py BUG FLAGS...`: a member with a bug that a checker is to find."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from raftkv.cli import main
from raftkv.lease.lessor import Lessor
from raftkv.server.reads import ReadRounds


def stale_reads() -> None:
    """Reads are served at once, from whatever this member has applied."""

    def begin(self: ReadRounds, now: float, ask: Callable[[int], bool]) -> None:
        del now, ask
        for serve, waiter, request in self._take_waiting():
            serve(waiter, request)

    ReadRounds.begin = begin  # type: ignore[method-assign]


def amnesia() -> None:
    """A member forgets everything when it ends."""
    flag = "--data-dir="
    data = next(one.removeprefix(flag) for one in sys.argv if one.startswith(flag))
    shutil.rmtree(Path(data) / "member", ignore_errors=True)


def hollow_renewals() -> None:
    """Renewing a lease is answered and changes nothing."""

    def renew(self: Lessor, lease_id: int, now: float) -> int:
        return self.granted_ttl_s(lease_id)

    Lessor.renew = renew  # type: ignore[method-assign]


BUGS = {one.__name__: one for one in (stale_reads, amnesia, hollow_renewals)}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    sys.exit(main())
