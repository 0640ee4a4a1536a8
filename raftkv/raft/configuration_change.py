"""Changes of membership, and what they make of a configuration: pure arithmetic.

A change that touches at most one voter may be *simple*: it takes effect in one step. Any other goes
through a *joint* configuration (Raft §6): old and new voters decide together until it is left.
The rules and error texts agree with those of etcd's raft library.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from raftkv.raft.configuration import Configuration
from raftkv.raft.errors import InvalidConfigurationChange

FORMAT = 1
"""First byte of an encoded change."""

CHANGES_MAX = 1024
"""Members that one change may name."""

_HEAD = struct.Struct("<BBI")
_CHANGE = struct.Struct("<BQ")


class ChangeAction(IntEnum):
    """What becomes of one member; the values are in the log and never change."""

    ADD_VOTER = 1
    """Make it a voter, whatever it was."""
    ADD_LEARNER = 2
    """Make it a learner; demotes a voter."""
    REMOVE = 3
    UPDATE = 4
    """Change nothing here: the change's context is what matters, to the caller."""
    PROMOTE = 5
    """ADD_VOTER that is refused for anyone but a learner."""


class Transition(IntEnum):
    """How a change takes effect; the values are in the log and never change."""

    AUTO = 0
    """Simple if at most one voter changes, else joint and left by itself."""
    JOINT = 1
    """Joint, left by itself."""
    JOINT_EXPLICIT = 2
    """Joint until somebody proposes to leave it."""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """What becomes of one member. Changes of member 0 are skipped."""

    action: ChangeAction
    member_id: int


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """The content of a CONF_CHANGE entry. No changes at all means: leave the joint one."""

    changes: tuple[MemberChange, ...] = ()
    transition: Transition = Transition.AUTO
    context: bytes = b""
    """Opaque to Raft: what the caller wants to know when the change is applied."""

    @classmethod
    def add_voter(cls, member_id: int, context: bytes = b"") -> ConfigurationChange:
        """Make somebody a voter in one step."""
        return cls((MemberChange(ChangeAction.ADD_VOTER, member_id),), context=context)

    @classmethod
    def add_learner(cls, member_id: int, context: bytes = b"") -> ConfigurationChange:
        """Let somebody receive the log without counting."""
        return cls((MemberChange(ChangeAction.ADD_LEARNER, member_id),), context=context)

    @classmethod
    def promote(cls, member_id: int, context: bytes = b"") -> ConfigurationChange:
        """Make a learner a voter; whether it is level enough is for the caller to judge."""
        return cls((MemberChange(ChangeAction.PROMOTE, member_id),), context=context)

    @classmethod
    def remove(cls, member_id: int, context: bytes = b"") -> ConfigurationChange:
        """Remove a member of any kind."""
        return cls((MemberChange(ChangeAction.REMOVE, member_id),), context=context)

    @classmethod
    def update(cls, member_id: int, context: bytes) -> ConfigurationChange:
        """Put a context into the log in the order of membership changes."""
        return cls((MemberChange(ChangeAction.UPDATE, member_id),), context=context)

    @classmethod
    def leave_joint(cls, context: bytes = b"") -> ConfigurationChange:
        """End a joint configuration: the outgoing voters go."""
        return cls(context=context)

    @property
    def leaves_joint(self) -> bool:
        """Whether this ends a joint configuration instead of changing members."""
        return not self.changes

    def encode(self) -> bytes:
        """Return the data of the entry.

        u8 format | u8 transition | u32 count | count x (u8 action, u64 id) | context, little-endian
        """
        head = _HEAD.pack(FORMAT, self.transition, len(self.changes))
        changes = [_CHANGE.pack(change.action, change.member_id) for change in self.changes]
        return b"".join((head, *changes, self.context))

    @classmethod
    def decode(cls, data: bytes) -> ConfigurationChange:
        """Read what `encode` made. Raises ValueError for anything else."""
        if len(data) < _HEAD.size:
            raise ValueError("a configuration change is cut short")
        version, transition, count = _HEAD.unpack_from(data)
        end = _HEAD.size + count * _CHANGE.size
        if version != FORMAT:
            raise ValueError(f"a configuration change of unknown format {version}")
        if count > CHANGES_MAX or len(data) < end:
            raise ValueError("a configuration change is cut short or names too many members")
        changes = tuple(
            MemberChange(ChangeAction(action), member_id)
            for action, member_id in _CHANGE.iter_unpack(data[_HEAD.size : end])
        )
        return cls(changes, Transition(transition), data[end:])


def apply_change(configuration: Configuration, change: ConfigurationChange) -> Configuration:
    """Return what a change makes of a configuration.

    Raises InvalidConfigurationChange when it does not fit; the reason names the rule.
    """
    if change.leaves_joint:
        return leave_joint(configuration)
    if change.transition is not Transition.AUTO:
        auto_leave = change.transition is Transition.JOINT
        return enter_joint(configuration, change.changes, auto_leave=auto_leave)
    if not configuration.is_joint:
        changed = _change_members(configuration, change.changes)
        if len(changed.voters ^ configuration.voters) <= 1:
            return changed
    return enter_joint(configuration, change.changes, auto_leave=True)


def change_simply(configuration: Configuration, changes: Sequence[MemberChange]) -> Configuration:
    """Change at most one voter, and any number of learners, in one step."""
    if configuration.is_joint:
        raise InvalidConfigurationChange("can't apply simple config change in joint config")
    changed = _change_members(configuration, changes)
    if len(changed.voters ^ configuration.voters) > 1:
        raise InvalidConfigurationChange(
            "more than one voter changed without entering joint config"
        )
    return changed


def enter_joint(
    configuration: Configuration, changes: Sequence[MemberChange], *, auto_leave: bool
) -> Configuration:
    """Let the old and the changed voters decide together."""
    if configuration.is_joint:
        raise InvalidConfigurationChange("config is already joint")
    if not configuration.voters:
        raise InvalidConfigurationChange("can't make a zero-voter config joint")
    joint = replace(configuration, voters_outgoing=configuration.voters)
    return replace(_change_members(joint, changes), auto_leave=auto_leave)


def leave_joint(configuration: Configuration) -> Configuration:
    """Let the new voters decide alone; those who were demoted become learners."""
    if not configuration.is_joint:
        raise InvalidConfigurationChange("can't leave a non-joint config")
    return Configuration(
        configuration.voters, learners=configuration.learners | configuration.learners_next
    )


def _change_members(configuration: Configuration, changes: Sequence[MemberChange]) -> Configuration:
    """Apply changes in order; what is so already stays so."""
    voters = set(configuration.voters)
    learners = set(configuration.learners)
    learners_next = set(configuration.learners_next)
    for change in changes:
        member = change.member_id
        if member == 0 or change.action is ChangeAction.UPDATE:
            continue
        if change.action is ChangeAction.PROMOTE and member not in learners:
            raise InvalidConfigurationChange(f"member {member:x} is not a learner")
        if change.action is ChangeAction.ADD_LEARNER and member in learners:
            continue
        for kind in (voters, learners, learners_next):
            kind.discard(member)
        if change.action in (ChangeAction.ADD_VOTER, ChangeAction.PROMOTE):
            voters.add(member)
        elif change.action is ChangeAction.ADD_LEARNER:
            # An outgoing voter still counts, and nobody is voter and learner at once.
            outgoing = member in configuration.voters_outgoing
            (learners_next if outgoing else learners).add(member)
    if not voters:
        raise InvalidConfigurationChange("removed all voters")
    return replace(
        configuration,
        voters=frozenset(voters),
        learners=frozenset(learners),
        learners_next=frozenset(learners_next),
    )
