"""What the fault runner does to members, and how it is undone.

A fault is two functions: one that breaks a member and one that heals it, some seconds later. Which
exit of a member is right while it is broken is part of the fault.
"""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raftkv.cli import ExitCode
from raftkv.testing import member_faults
from raftkv.testing.history import Violation
from raftkv.testing.member_faults import Removal
from raftkv.testing.namespace_cluster import NamespaceCluster
from raftkv.testing.process_cluster import ProcessCluster

__all__ = ["FAULTS", "GROUPS", "Fault", "Injection"]

PEER_PORT = 2380
FREEZE_S = (0.02, 0.6)
LOSS_PERCENT = 25
CLOCK_RATES = (0.8, 0.9, 1.1, 1.25)
ENDING_S = 2.0
"""How long a member takes to stop that found its disk full just before it was freed."""


@dataclass(slots=True)
class Injection:
    """One fault under way."""

    cluster: ProcessCluster
    member: int
    others: list[int]
    dice: random.Random
    seconds: float
    """How long it will last."""
    flood: Callable[[], None]
    """Has clients write values of a size for which a file of old free pages has no room."""
    alone: bool = True
    """Nothing else was broken when it began."""
    is_skipped: bool = False
    """It turned out to be impossible; nothing was broken, and nothing is to be healed."""
    is_in_doubt: bool = False
    """Nobody could say whether it took place, as long as something else was broken."""
    helpers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def isolated(self) -> NamespaceCluster:
        """The cluster, of which members have a network and a disk of their own."""
        assert isinstance(self.cluster, NamespaceCluster)
        return self.cluster

    def host(self, member: int) -> str:
        """The address of a member."""
        return self.cluster.hosts[member]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a member."""

    name: str
    group: str
    """What `--faults` calls it and its like."""
    seconds: tuple[float, float]
    """It lasts between these."""
    begin: Callable[[Injection], None]
    end: Callable[[Injection], None]
    needs_namespaces: bool = False

    @property
    def heals_last(self) -> bool:
        """Whether it can be healed only where nothing else is broken."""
        return self.group == "member"


def _kill(one: Injection) -> None:
    one.cluster.kill(one.member)


def _start(one: Injection) -> None:
    one.cluster.start(one.member)


def _kill_all(one: Injection) -> None:
    for member in (one.member, *one.others):
        if one.cluster.runs(member):
            one.cluster.kill(member)


def _start_all(one: Injection) -> None:
    for member in (one.member, *one.others):
        if not one.cluster.runs(member):
            one.cluster.start(member)


def _terminate(one: Injection) -> None:
    code = one.cluster.terminate(one.member)
    if code not in (ExitCode.STOPPED, -signal.SIGTERM):  # the latter while it still starts
        raise Violation("a member stops when told to", f"member {one.member} exited with {code}")


def _pause(one: Injection) -> None:
    one.cluster.pause(one.member)


def _resume(one: Injection) -> None:
    one.cluster.resume(one.member)


def _cut_off(one: Injection) -> None:
    """Nothing comes in or goes out, clients' requests included."""
    one.isolated.filter(one.member, ["in drop", "out drop"])


def _cut_from_peers(one: Injection) -> None:
    """Clients reach it, members do not: it must not serve what it cannot know."""
    hosts = ", ".join(one.host(other) for other in one.others)
    rules = [f"in ip saddr {{ {hosts} }} drop", f"out ip daddr {{ {hosts} }} drop"]
    one.isolated.filter(one.member, rules)


def _deafen(one: Injection) -> None:
    """It can be heard by the others and hears nothing of them."""
    hosts = ", ".join(one.host(other) for other in one.others)
    one.isolated.filter(one.member, [f"in ip saddr {{ {hosts} }} drop"])


def _mute(one: Injection) -> None:
    """It hears the others and cannot be heard."""
    hosts = ", ".join(one.host(other) for other in one.others)
    one.isolated.filter(one.member, [f"out ip daddr {{ {hosts} }} drop"])


def _cut_link(one: Injection) -> None:
    """One pair of members lose each other; a third reaches both."""
    host = one.host(one.dice.choice(one.others))
    rules = [f"in ip saddr {host} drop", f"out ip daddr {host} drop"]
    one.isolated.filter(one.member, rules)


def _lose_packets(one: Injection) -> None:
    """A part of the packets is lost, and TCP makes of it delays of all lengths."""
    rule = f"numgen random mod 100 < {LOSS_PERCENT} drop"
    one.isolated.filter(one.member, [f"in {rule}", f"out {rule}"])


def _reset_connections(one: Injection) -> None:
    """Every connection between members ends at the first packet, and so does each new one."""
    rules = [f"in tcp dport {PEER_PORT} reject with tcp reset"]
    one.isolated.filter(one.member, rules)


def _heal_network(one: Injection) -> None:
    one.isolated.filter(one.member, [])


def _fill_disk(one: Injection) -> None:
    one.isolated.fill_disk(one.member)
    one.flood()


def _free_disk(one: Injection) -> None:
    """A member without room may serve, refuse, or stop with the exit code that says why."""
    one.isolated.free_disk(one.member)
    try:
        code = one.cluster.wait(one.member, ENDING_S)
    except subprocess.TimeoutExpired:
        return
    if code != ExitCode.STORAGE:
        raise Violation(
            "a full disk stops a member cleanly",
            f"member {one.member} exited with {code}:\n{one.cluster.log_tail(one.member)}",
        )
    one.cluster.start(one.member)


def _slow_disk(one: Injection) -> None:
    """Let the disk stop again and again; writes wait from some to some hundred milliseconds."""
    seconds = one.dice.uniform(*FREEZE_S)
    one.helpers.append(one.isolated.stutter_disk(one.member, one.seconds, seconds))


def _wait_for_disk(one: Injection) -> None:
    for helper in one.helpers:
        helper.wait()


def _skew(one: Injection) -> None:
    """Restart it with clocks that run at another rate."""
    _terminate(one)
    one.isolated.clock_rates[one.member] = one.dice.choice(CLOCK_RATES)
    one.cluster.start(one.member)


def _remove(one: Injection) -> None:
    """Remove it, unless the cluster cannot do without it because of what else is broken."""
    removal = member_faults.remove(one.cluster, one.member, alone=one.alone)
    one.is_skipped = removal is Removal.REFUSED
    one.is_in_doubt = removal is Removal.IN_DOUBT


def _add_back(one: Injection) -> None:
    if one.is_skipped:
        return
    if one.is_in_doubt:
        member_faults.remove(one.cluster, one.member, alone=True)
    member_faults.add_back(one.cluster, one.member)


def _stay(one: Injection) -> None:
    """Leave it as it is: the skew lasts until the next one."""


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("kill", "kill", (0.2, 4), _kill, _start),
        Fault("kill all", "kill", (0.2, 2), _kill_all, _start_all),
        Fault("restart", "kill", (0.1, 0.5), _terminate, _start),
        Fault("pause", "pause", (0.5, 6), _pause, _resume),
        Fault("cut off", "partition", (1, 6), _cut_off, _heal_network, True),
        Fault("cut from peers", "partition", (1, 6), _cut_from_peers, _heal_network, True),
        Fault("deaf", "partition", (1, 6), _deafen, _heal_network, True),
        Fault("mute", "partition", (1, 6), _mute, _heal_network, True),
        Fault("one link", "partition", (1, 6), _cut_link, _heal_network, True),
        Fault("packet loss", "partition", (1, 6), _lose_packets, _heal_network, True),
        Fault("reset", "partition", (0.5, 3), _reset_connections, _heal_network, True),
        Fault("disk full", "disk-full", (1, 5), _fill_disk, _free_disk, True),
        Fault("slow disk", "slow-disk", (1, 5), _slow_disk, _wait_for_disk, True),
        Fault("replace", "member", (0.2, 2), _remove, _add_back),
        Fault("skew", "skew", (1, 3), _skew, _stay, True),
    )
}
"""By name, in the order of the table."""

GROUPS = tuple(dict.fromkeys(fault.group for fault in FAULTS.values()))
