"""`--force-new-cluster`: go on alone when the majority of a cluster is lost for good.

One member's log and state become a cluster of one. Everything that its log holds counts as
committed: what the lost majority had acknowledged is in it, as far as it reached this member at
all, and entries that nobody acknowledged had an unknown outcome anyway. Behind it goes a change of
membership that leaves this member alone; it is of a new term, so that no entry of the lost members
can be taken for it. The others count as removed, so that they are turned away if they come back.
"""

from __future__ import annotations

import logging

from raftkv._native.log_store import LogStore
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import (
    ChangeAction,
    ConfigurationChange,
    MemberChange,
    apply_change,
)
from raftkv.raft.errors import InvalidConfigurationChange
from raftkv.raft.messages import Entry, EntryKind, HardState

__all__ = ["leave_alone"]

log = logging.getLogger(__name__)

READ_BYTES_MAX = 4 << 20


def leave_alone(
    log_store: LogStore, member_id: int, applied_index: int, applied: Configuration
) -> None:
    """Make this member the only one, as of the end of its log; synced. Before a node is made.

    `applied` is the configuration as of `applied_index`. Does nothing where it is alone already,
    so that the flag may stay. Costs reading the log from `applied_index` on.
    """
    found = _configuration_at_end(log_store, applied_index, applied)
    changes = _changes(found, member_id)
    state = log_store.hard_state()
    first, term = log_store.last_index + 1, state.term + 1
    entries = [
        Entry(term, first + at, EntryKind.CONF_CHANGE, change.encode())
        for at, change in enumerate(changes)
    ]
    if not entries and state.commit == log_store.last_index:
        return
    commit = log_store.last_index + len(entries)
    log_store.append(entries, HardState(term, member_id, commit))
    log.warning(
        "forced a new cluster of this member alone",
        extra={
            "member": f"{member_id:x}",
            "dropped": [f"{one:x}" for one in sorted(found.members - {member_id})],
            "last_index": commit,
            "uncommitted_kept": log_store.last_index - len(entries) - state.commit,
        },
    )


def _configuration_at_end(
    log_store: LogStore, applied_index: int, configuration: Configuration
) -> Configuration:
    """Follow the log's changes of membership as they will be applied."""
    index = max(applied_index + 1, log_store.first_index)
    while index <= log_store.last_index:
        entries = log_store.entries(index, log_store.last_index + 1, READ_BYTES_MAX)
        for entry in entries:
            if entry.kind is EntryKind.CONF_CHANGE:
                configuration = _changed(configuration, ConfigurationChange.decode(entry.data))
        index = entries[-1].index + 1
    return configuration


def _changed(configuration: Configuration, change: ConfigurationChange) -> Configuration:
    try:
        return apply_change(configuration, change)
    except InvalidConfigurationChange:
        return configuration  # as when it is applied


def _changes(configuration: Configuration, member_id: int) -> list[ConfigurationChange]:
    """Return what leads from a configuration to the one of this member alone."""
    changes = []
    if configuration.is_joint:
        changes.append(ConfigurationChange.leave_joint())
        configuration = apply_change(configuration, changes[-1])
    if configuration == Configuration(frozenset({member_id})):
        return changes
    others = sorted(configuration.members - {member_id})
    changes.append(
        ConfigurationChange(
            (
                MemberChange(ChangeAction.ADD_VOTER, member_id),
                *(MemberChange(ChangeAction.REMOVE, other) for other in others),
            )
        )
    )
    configuration = apply_change(configuration, changes[-1])
    if configuration.is_joint:
        changes.append(ConfigurationChange.leave_joint())
    return changes
