"""Settings of one Raft node."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Settings of one node; fixed for its life. `validate()` is called by `RaftNode`."""

    id: int
    """This member; not 0. Who else is a member says the `Configuration` of the node."""

    election_timeout_ticks: int = 10
    """A follower that heard nothing for [this, twice this) ticks campaigns."""
    heartbeat_ticks: int = 1
    """A leader sends heartbeats every so many ticks."""
    pre_vote: bool = True
    """Ask before raising the term, so that a member that was cut off does not depose a leader."""
    check_quorum: bool = True
    """A leader that hears no quorum for an election timeout steps down, and members that hear
    a leader refuse to vote."""

    entries_per_append_max: int = 4096
    """Entries in one APPEND."""
    append_bytes_max: int = MIB
    """Bytes of entries in one APPEND; one entry always goes, whatever its size."""
    inflight_appends_max: int = 512
    """APPENDs to one follower that await their answer."""
    inflight_bytes_max: int = 64 * MIB
    """Bytes of entries to one follower that await their answer."""
    uncommitted_bytes_max: int = 256 * MIB
    """Bytes of own entries that await commitment; beyond it proposals are dropped. One
    proposal is always accepted when none waits."""
    committed_bytes_max: int = 16 * MIB
    """Bytes of committed entries in one `Ready`; one entry always goes."""
    cache_bytes_max: int = 32 * MIB
    """Bytes of entries that are kept in memory although synced and handed out for applying,
    so that followers which are nearly level do not cost a disk read."""
    catch_up_bytes_per_tick: int = MIB
    """Bytes of entries that are read from disk and sent in a tick, to all followers together; one
    APPEND may pass it, and is then made up for. More where the leader itself appends more: twice
    that, or nobody would ever be level."""
    reads_waiting_max: int = 65536
    """Reads at the leader that await their confirmation."""

    def validate(self) -> None:
        """Raise ValueError that names every wrong setting at once."""
        problems = []
        if self.id == 0:
            problems.append("0 is no member id")
        if self.heartbeat_ticks < 1 or self.election_timeout_ticks <= self.heartbeat_ticks:
            problems.append("need 1 <= heartbeat_ticks < election_timeout_ticks")
        problems += [
            f"{name} must be at least 1"
            for name in (
                "entries_per_append_max",
                "append_bytes_max",
                "inflight_appends_max",
                "inflight_bytes_max",
                "uncommitted_bytes_max",
                "committed_bytes_max",
                "cache_bytes_max",
                "catch_up_bytes_per_tick",
                "reads_waiting_max",
            )
            if getattr(self, name) < 1
        ]
        if problems:
            raise ValueError("; ".join(problems))
