"""What really happened: the committed log applied once more, in order, command by command.

It tells for each command which request it was, at which place, with which answer; what each
revision's events were; and what the state is in the end. Clients and watchers are compared with it.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raftkv._native.command_batch import read_commands
from raftkv._native.mvcc_store import MvccStore
from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange, MemberChange, apply_change
from raftkv.raft.errors import InvalidConfigurationChange
from raftkv.raft.messages import Entry, EntryKind
from raftkv.server.command import CommandKind
from raftkv.testing.history import Operation
from raftkv.testing.sim.clients import lease_id_of, number_of

__all__ = ["Command", "Expiry", "Truth", "replay"]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the committed log."""

    place: int
    """Its place among all commands, from 1."""
    index: int
    """Of its log entry."""
    result: Any
    """The encoded response, or an ErrorCode."""
    revision: int
    """The store's revision after it."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """A lease that the cluster itself revoked."""

    lease_id: int
    index: int


@dataclass(slots=True)
class Truth:
    """All that a run's log says."""

    commands: dict[int, Command] = field(default_factory=dict)
    """By the request's number."""
    repeated: list[int] = field(default_factory=list)
    """Requests that are in the log twice."""
    expiries: list[Expiry] = field(default_factory=list)
    events: list[kv_pb2.Event] = field(default_factory=list)
    """Of all revisions in order, with prev_kv."""
    read_answers: dict[int, bytes | int] = field(default_factory=dict)
    """What each successful read should have been told, by its number."""
    revision: int = 1
    hash: tuple[int, int, int] = (0, 0, 0)
    leases: dict[int, int] = field(default_factory=dict)
    index_of_revision: dict[int, int] = field(default_factory=dict)
    """Which log entry made a revision."""
    compactions: int = 0
    configuration: Configuration = field(default_factory=Configuration)
    """The membership in the end."""
    changes: list[tuple[MemberChange, ...]] = field(default_factory=list)
    """Every change of membership in the log, those that end a joint one not counted."""


def replay(
    entries: list[Entry], reads: list[Operation], first: Configuration, directory: Path
) -> Truth:
    """Apply entries 1, 2, ... to an empty store, and answer each read at its own revision.

    `first` is the membership before the first entry.
    """
    store = MvccStore(
        str(directory), cluster_id=1, member_id=1, map_size=1 << 26, table_bytes_max=1 << 28
    )
    try:
        replaying = _Replay(store, reads)
        truth = replaying.run(entries)
        _follow_changes(truth, entries, first)
        return truth
    finally:
        store.close()


def _follow_changes(truth: Truth, entries: list[Entry], configuration: Configuration) -> None:
    for entry in entries:
        if entry.kind is EntryKind.CONF_CHANGE:
            change = ConfigurationChange.decode(entry.data)
            if not change.leaves_joint:
                truth.changes.append(change.changes)
            with suppress(InvalidConfigurationChange):
                configuration = apply_change(configuration, change)
    truth.configuration = configuration


class _Replay:
    def __init__(self, store: MvccStore, reads: list[Operation]) -> None:
        self._store = store
        self._truth = Truth()
        self._place = 0
        self._reads: dict[int, list[Operation]] = {}
        for read in reads:
            output: Any = read.output
            self._reads.setdefault(output.header.revision, []).append(read)

    def run(self, entries: list[Entry]) -> Truth:
        truth, store = self._truth, self._store
        self._serve_reads(1)
        for entry in entries:
            if entry.kind is not EntryKind.NORMAL:
                continue
            for kind, payload in read_commands(entry.data):
                if kind < CommandKind.MEMBER_RECORD:
                    self._apply(entry, kind, payload)
        truth.revision = store.revision
        truth.hash = store.hash_kv(0)
        truth.leases = {lease: store.lease_ttl(lease) for lease in store.lease_ids()}
        return truth

    def _apply(self, entry: Entry, kind: int, payload: bytes) -> None:
        truth, store = self._truth, self._store
        self._place += 1
        before = store.revision
        alone = struct.pack("<QQIBI", 1, 1, 1, kind, len(payload)) + payload
        results = store.apply(self._place, entry.term, alone, True)
        assert results is not None
        command = Command(self._place, entry.index, results[0], store.revision)
        number = number_of(payload)
        if kind == CommandKind.COMPACTION:
            truth.compactions += not isinstance(command.result, int)
        if kind == CommandKind.LEASE_GRANT:
            number = rpc_pb2.LeaseGrantRequest.FromString(payload).ID - lease_id_of(0)
        elif kind == CommandKind.LEASE_REVOKE and not number:
            lease_id = rpc_pb2.LeaseRevokeRequest.FromString(payload).ID
            if not isinstance(command.result, int):
                truth.expiries.append(Expiry(lease_id, entry.index))
        if number:
            if number in truth.commands:
                truth.repeated.append(number)
            truth.commands.setdefault(number, command)
        if store.revision > before:
            truth.index_of_revision[store.revision] = entry.index
            self._note_events(store.revision)
            self._serve_reads(store.revision)

    def _note_events(self, revision: int) -> None:
        for _, key, data in self._store.events(revision, revision, 1 << 40):
            event = kv_pb2.Event.FromString(data)
            previous = self._store.previous_kv(key, revision)
            if previous is not None:
                event.prev_kv.ParseFromString(previous)
            self._truth.events.append(event)

    def _serve_reads(self, revision: int) -> None:
        """Answer the reads that were served at a revision, now that it is the current one."""
        for read in self._reads.pop(revision, ()):
            request = read.input.SerializeToString()
            if read.kind == "range":
                answer = self._store.range(request, 0)
            else:
                answer = self._store.txn_read(request, 0)
            self._truth.read_answers[read.number] = answer
