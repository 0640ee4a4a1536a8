"""Changes of membership in a running cluster (Raft §6, dissertation §4).

A change takes effect on a member when it applies the entry, not when it appends it. Three rules
make that as safe as the other way: one change at a time, from proposal to application at the
leader; a new leader proposes none before it has applied all that it found in its log; and a member
with a committed change that it has not applied does not campaign: it would count by the old rules.
"""

from __future__ import annotations

from raftkv.raft import replication
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange, apply_change
from raftkv.raft.errors import ConfigurationChangePending, InvalidConfigurationChange
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType
from raftkv.raft.roles import Role
from raftkv.raft.state import RaftState


def check_proposal(state: RaftState, change: ConfigurationChange) -> None:
    """Raise ConfigurationChangePending or InvalidConfigurationChange unless it may be proposed now.

    Nothing can come between this check and the application, so a change that passes does apply.
    """
    if state.pending_change_index > state.applied_index:
        raise ConfigurationChangePending(state.pending_change_index)
    apply_change(state.configuration, change)


def propose(state: RaftState, change: ConfigurationChange) -> int:
    """Append a change that passed `check_proposal`; return its index."""
    index = state.append_own(change.encode(), EntryKind.CONF_CHANGE)
    state.pending_change_index = index
    return index


def apply_entry(state: RaftState, entry: Entry) -> Configuration:
    """Let a committed change take effect; one that does not fit changes nothing."""
    assert entry.kind is EntryKind.CONF_CHANGE
    assert entry.index > state.configuration_index, "a change of membership is applied twice"
    state.configuration_index = entry.index
    try:
        changed = apply_change(state.configuration, ConfigurationChange.decode(entry.data))
    except InvalidConfigurationChange:
        return state.configuration
    adopt(state, changed)
    return changed


def adopt(state: RaftState, configuration: Configuration) -> None:
    """Go by another configuration from now on."""
    state.configuration = configuration
    if state.role is not Role.LEADER:
        return
    state.reconcile_peers()
    if state.transferee not in configuration.voters:
        state.transferee = 0
    if state.id not in configuration.all_voters:
        _leave_office(state)
        return
    replication.maybe_commit(state)  # a smaller quorum may hold more


def _leave_office(state: RaftState) -> None:
    """Step down as one who is no voter any more, and let the most level voter lead at once.

    It learns first that our removal is committed; otherwise it would wait for us to agree.
    """
    heirs = [member for member in state.peers if member in state.configuration.voters]
    if heirs:
        heir = max(heirs, key=lambda member: (state.peers[member].match_index, -member))
        replication.send_appends(state)
        state.outbox.append(Message(MessageType.TIMEOUT_NOW, heir, state.id, state.term))
    state.become_follower(state.term, 0)


def leave_joint_if_due(state: RaftState) -> None:
    """As the leader, propose the end of a joint configuration that is applied and asks for it."""
    if (
        state.role is Role.LEADER
        and state.configuration.auto_leave
        and state.pending_change_index <= state.applied_index
        and not state.transferee
    ):
        propose(state, ConfigurationChange.leave_joint())


SCAN_BYTES_MAX = 1 << 20
"""Bytes of entries that are looked through at once for changes of membership."""


def has_unapplied_change(state: RaftState) -> bool:
    """Say whether a committed change of membership waits to be applied.

    Costs nothing where all that is committed is applied, else reading what is not.
    """
    log = state.log
    index = state.applied_index + 1
    while index <= log.commit_index:
        found = log.entries(index, log.commit_index + 1, SCAN_BYTES_MAX)
        if any(entry.kind is EntryKind.CONF_CHANGE for entry in found):
            return True
        index = found[-1].index + 1
    return False
