"""A picture of a node, for whoever decides or reports by it."""

from __future__ import annotations

from dataclasses import dataclass

from raftkv.raft.configuration import Configuration
from raftkv.raft.progress import ProgressState
from raftkv.raft.roles import Role
from raftkv.raft.state import RaftState


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """One follower as the leader sees it."""

    match_index: int
    next_index: int
    state: ProgressState
    recent_active: bool
    inflight_appends: int
    inflight_bytes: int
    pending_snapshot: int
    """In SNAPSHOT: the log behind this index will be needed; the snapshot may be of a later one."""
    is_learner: bool


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A picture of the node at one moment."""

    id: int
    term: int
    vote: int
    role: Role
    leader_id: int
    commit_index: int
    applied_index: int
    stable_index: int
    last_index: int
    configuration: Configuration
    """As of the last change that was applied here."""
    transferee: int
    """Who the leader hands over to, 0: nobody."""
    uncommitted_bytes: int
    damaged_appends: int
    """APPENDs ignored since the start because an entry did not match its checksum."""
    followers: dict[int, FollowerStatus]
    """Empty unless leading."""


def status_of(state: RaftState) -> NodeStatus:
    """Return a picture of a node's state; costs a few objects per follower."""
    return NodeStatus(
        id=state.id,
        term=state.term,
        vote=state.vote,
        role=state.role,
        leader_id=state.leader_id,
        commit_index=state.log.commit_index,
        applied_index=state.applied_index,
        stable_index=state.log.stable_index,
        last_index=state.log.last_index,
        configuration=state.configuration,
        transferee=state.transferee,
        uncommitted_bytes=state.uncommitted_bytes,
        damaged_appends=state.damaged_appends,
        followers={
            member: FollowerStatus(
                match_index=progress.match_index,
                next_index=progress.next_index,
                state=progress.state,
                recent_active=progress.recent_active,
                inflight_appends=len(progress.inflight),
                inflight_bytes=progress.inflight_bytes,
                pending_snapshot=progress.pending_snapshot,
                is_learner=member in state.configuration.learners,
            )
            for member, progress in state.peers.items()
        },
    )
