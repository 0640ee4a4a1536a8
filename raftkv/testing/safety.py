"""The five safety properties of Raft (Figure 3), checked by name while a cluster runs.

The checker is told what each member's log, commit index and role are after every event, and keeps
what the properties speak of: who led which term, which entries exist, what is committed, what was
applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, SnapshotMetadata
from raftkv.raft.node import RaftNode
from raftkv.raft.roles import Role


class SafetyViolation(AssertionError):
    """A property does not hold. `name` is Raft's name for it."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name


@dataclass(slots=True)
class _Seen:
    """What a member looked like after its last event."""

    log: list[Entry] = field(default_factory=list)
    first_index: int = 1
    commit_index: int = 0
    term: int = 0
    role: Role = Role.FOLLOWER


def log_of(node: RaftNode) -> list[Entry]:
    """Return a member's whole log, synced or not."""
    log = node._state.log
    return _entries_between(node, log.first_index, log.last_index)


def _entries_between(node: RaftNode, lo: int, hi: int) -> list[Entry]:
    log = node._state.log
    found: list[Entry] = []
    while lo + len(found) <= hi:
        found += log.entries(lo + len(found), hi + 1, 1 << 40)
    return found


class SafetyChecker:
    """Raises SafetyViolation as soon as what it is told contradicts a property."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}
        """Term -> who led it."""
        self.committed: dict[int, tuple[Entry, int]] = {}
        """Index -> the committed entry, and the term in which it was first seen committed."""
        self.committed_max = 0
        self._existing: dict[tuple[int, int], tuple[bytes, int]] = {}
        """(index, term) -> the entry's data and the term of the entry before it."""
        self._applied: dict[int, Entry] = {}
        self.configurations: dict[int, Configuration] = {}
        """Index of a change -> the membership after it."""
        self._seen: dict[int, _Seen] = {}

    def observe(self, node: RaftNode) -> None:
        """Look at a member after an event."""
        seen = self._seen.setdefault(node.id, _Seen())
        if node.commit_index < seen.commit_index:
            raise SafetyViolation(
                "State Machine Safety",
                f"{node.id} forgets that {seen.commit_index} is committed",
            )
        log = log_of(node)
        first = node._state.log.first_index
        became_leader = node.role is Role.LEADER and (
            seen.role is not Role.LEADER or seen.term != node.term
        )
        if node.role is Role.LEADER and not became_leader:
            self._check_append_only(node, seen, log, first)
        self._check_log_matching(node, seen, log, first)
        if became_leader:
            self._check_election(node)
            self._check_completeness(node, log, first)
        self._note_commits(node, seen, log, first)
        seen.log, seen.first_index = log, first
        seen.commit_index, seen.term, seen.role = node.commit_index, node.term, node.role

    def restarted(self, node: RaftNode) -> None:
        """Forget how a member looked: its unsynced state is gone."""
        self._seen.pop(node.id, None)
        self.observe(node)

    def applied(self, member: int, entry: Entry, previous_index: int) -> None:
        """Note that a member applies an entry after `previous_index`."""
        if entry.index != previous_index + 1:
            raise SafetyViolation(
                "State Machine Safety",
                f"member {member} applied {entry.index} after {previous_index}",
            )
        first = self._applied.setdefault(entry.index, entry)
        if first != entry:
            raise SafetyViolation(
                "State Machine Safety", f"member {member} applied {entry}, another {first}"
            )

    def began_with(self, configuration: Configuration) -> None:
        """Note the membership before the first entry."""
        self.configurations[0] = configuration

    def configured(self, member: int, index: int, configuration: Configuration) -> None:
        """Note what a member made of a change of membership: it is part of the state."""
        first = self.configurations.setdefault(index, configuration)
        if first != configuration:
            raise SafetyViolation(
                "State Machine Safety",
                f"member {member} goes by {configuration} after {index}, another by {first}",
            )

    def installed(self, member: int, snapshot: SnapshotMetadata, state: list[Entry]) -> None:
        """Note that a member replaces its state by a snapshot of `state`, all that was applied."""
        if not state or (state[-1].index, state[-1].term) != (snapshot.index, snapshot.term):
            raise SafetyViolation(
                "State Machine Safety", f"member {member} takes a state for that of {snapshot}"
            )
        for previous, entry in enumerate(state):
            self.applied(member, entry, previous)
        self.joined(member, snapshot)

    def joined(self, member: int, snapshot: SnapshotMetadata) -> None:
        """Note that a member goes by the membership that came with a snapshot."""
        known = max(index for index in self.configurations if index <= snapshot.index)
        self.configured(member, known, snapshot.configuration)

    def read(self, member: int, index: int, asked_at: int) -> None:
        """Note a confirmed read whose asker could know of commits up to `asked_at`."""
        if index < asked_at:
            raise SafetyViolation(
                "Linearizable Read",
                f"member {member} may read at {index} though {asked_at} was"
                " committed before it asked",
            )

    def _check_election(self, node: RaftNode) -> None:
        other = self.leaders.setdefault(node.term, node.id)
        if other != node.id:
            raise SafetyViolation("Election Safety", f"{other} and {node.id} lead {node.term}")

    def _check_append_only(self, node: RaftNode, seen: _Seen, log: list[Entry], first: int) -> None:
        kept = seen.log[first - seen.first_index :]
        if any(a is not b and a != b for a, b in zip(kept, log, strict=False)) or len(log) < len(
            kept
        ):
            raise SafetyViolation("Leader Append-Only", f"leader {node.id} changed its log")

    def _check_log_matching(
        self, node: RaftNode, seen: _Seen, log: list[Entry], first: int
    ) -> None:
        """Same index and term: same data, and same term before; the rest is induction."""
        old = seen.log[first - seen.first_index :] if seen.log else []
        previous = node._state.log.term(first - 1)
        for position, entry in enumerate(log):
            if position < len(old) and old[position] is entry:
                previous = entry.term
                continue
            if entry.index != first + position:
                raise SafetyViolation("Log Matching", f"{node.id} holds {entry} at {position}")
            mark = (entry.data, previous)
            if self._existing.setdefault((entry.index, entry.term), mark) != mark:
                raise SafetyViolation(
                    "Log Matching", f"{node.id} holds another entry {entry.index} of {entry.term}"
                )
            previous = entry.term

    def _check_completeness(self, node: RaftNode, log: list[Entry], first: int) -> None:
        for index, (entry, term) in self.committed.items():
            if term >= node.term or index < first:
                continue
            held = log[index - first] if index - first < len(log) else None
            if held != entry:
                raise SafetyViolation(
                    "Leader Completeness",
                    f"leader {node.id} of term {node.term} lacks committed entry {index}",
                )

    def _note_commits(self, node: RaftNode, seen: _Seen, log: list[Entry], first: int) -> None:
        for index in range(max(seen.commit_index + 1, first), node.commit_index + 1):
            entry = log[index - first]
            known, _ = self.committed.setdefault(index, (entry, node.term))
            if known != entry:
                raise SafetyViolation(
                    "State Machine Safety", f"{node.id} commits {entry}, another {known}"
                )
        self.committed_max = max(self.committed_max, node.commit_index)
