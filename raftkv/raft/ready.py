"""What the node owes to the outside after a step: see `Ready`.

All of these are values, not frozen only because frozen dataclasses are slow to make.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftkv.raft.messages import Entry, HardState, Message, SnapshotMetadata
from raftkv.raft.roles import Role


@dataclass(slots=True)
class PersistWork:
    """One synced write to the log."""

    hard_state: HardState | None
    """Replace the stored one, in the same transaction as `entries`. None if unchanged."""
    entries: tuple[Entry, ...]
    """Append in order; entries already stored at or above `entries[0].index` are replaced.
    May be empty when only the hard state changed."""


@dataclass(slots=True)
class ReadState:
    """A confirmed read: it may be served AFTER everything up to `index` is applied."""

    context: int
    index: int


@dataclass(slots=True)
class SoftState:
    """Who leads and what we are; needs no disk."""

    leader_id: int
    """0 when nobody is known to lead."""
    role: Role
    term: int


@dataclass(slots=True)
class Ready:
    """Work that the caller owes the node. Every field is handed out exactly once."""

    persist: PersistWork | None
    """Sync this, in another thread if you like, then call `node.persisted()`. At most one is
    under way: until that call `ready()` returns None here and gathers."""
    messages: tuple[Message, ...]
    """Send at once, BEFORE or during the sync; may be lost, delayed, repeated, reordered.
    Messages that must wait for the sync are returned by `persisted()` instead."""
    committed_entries: tuple[Entry, ...]
    """Apply in index order, then call `node.applied(last index)`. Contiguous, never repeated, and
    already synced here. EMPTY and CONF_CHANGE entries are among them; pass each of the latter to
    `node.apply_configuration` in its turn, before `node.applied`."""
    read_states: tuple[ReadState, ...]
    """Reads of this member that the leader confirmed. Serve each AFTER applying its index."""
    soft_state: SoftState | None
    """Set when any part of it changed. Reads that were asked for before a change of leader or
    term may have been dropped: ask again."""
    snapshot: SnapshotMetadata | None = None
    """Install this BEFORE anything else of this Ready: swap the received state in, THEN reset the
    log to (index, term) together with `persist.hard_state`, which is set, THEN call
    `node.persisted()`, which also notes the snapshot as applied. `persist.entries` and
    `committed_entries` are empty. After a crash between the two steps the state is ahead of the
    log: `log.must_reset` says so, and the reset is done again before the node is made."""
