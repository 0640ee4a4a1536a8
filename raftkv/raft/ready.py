"""What the node owes to the outside after a step: see `Ready`. All of these are values."""

from __future__ import annotations

from raftkv.raft.messages import Entry, HardState, Message, SnapshotMetadata, Value
from raftkv.raft.roles import Role


class PersistWork(Value):
    """One synced write to the log."""

    __slots__ = ("entries", "hard_state")

    def __init__(self, hard_state: HardState | None, entries: tuple[Entry, ...]) -> None:
        self.hard_state = hard_state
        """Replace the stored one, in the same transaction as `entries`. None if unchanged."""
        self.entries = entries
        """Append in order; entries already stored at or above `entries[0].index` are replaced.
        May be empty when only the hard state changed."""


class ReadState(Value):
    """A confirmed read: it may be served AFTER everything up to `index` is applied."""

    __slots__ = ("context", "index")

    def __init__(self, context: int, index: int) -> None:
        self.context = context
        self.index = index


class SoftState(Value):
    """Who leads and what we are; needs no disk."""

    __slots__ = ("leader_id", "role", "term")

    def __init__(self, leader_id: int, role: Role, term: int) -> None:
        self.leader_id = leader_id
        """0 when nobody is known to lead."""
        self.role = role
        self.term = term


class Ready(Value):
    """Work that the caller owes the node. Every field is handed out exactly once."""

    __slots__ = (
        "committed_entries",
        "messages",
        "persist",
        "read_states",
        "snapshot",
        "soft_state",
    )

    def __init__(
        self,
        persist: PersistWork | None,
        messages: tuple[Message, ...],
        committed_entries: tuple[Entry, ...],
        read_states: tuple[ReadState, ...],
        soft_state: SoftState | None,
        snapshot: SnapshotMetadata | None = None,
    ) -> None:
        self.persist = persist
        """Sync this, in another thread if you like, then call `node.persisted()`. At most one is
        under way: until that call `ready()` returns None here and gathers."""
        self.messages = messages
        """Send at once, BEFORE or during the sync; may be lost, delayed, repeated, reordered.
        Messages that must wait for the sync are returned by `persisted()` instead."""
        self.committed_entries = committed_entries
        """Apply in index order, then call `node.applied(last index)`. Contiguous, never repeated,
        and already synced here. EMPTY and CONF_CHANGE entries are among them; pass each of the
        latter to `node.apply_configuration` in its turn, before `node.applied`."""
        self.read_states = read_states
        """Reads of this member that the leader confirmed. Serve each AFTER applying its index."""
        self.soft_state = soft_state
        """Set when any part of it changed. Reads that were asked for before a change of leader or
        term may have been dropped: ask again."""
        self.snapshot = snapshot
        """Install this BEFORE anything else of this Ready: swap the received state in, THEN reset
        the log to (index, term) together with `persist.hard_state`, which is set, THEN call
        `node.persisted()`, which also notes the snapshot as applied. `persist.entries` and
        `committed_entries` are empty. After a crash between the two steps the state is ahead of
        the log: `log.must_reset` says so, and the reset is done again before the node is made."""
