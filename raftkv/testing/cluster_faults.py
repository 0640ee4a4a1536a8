"""How bad the world of a simulated cluster is: see `cluster`."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How bad the world is. Probabilities are of 1; times are in simulated milliseconds."""

    loss: float = 0.05
    duplicate: float = 0.05
    delay_ms_max: int = 150
    sync_ms_max: int = 60
    crash_every_ms: int = 4000
    """Mean time between crashes of some member; 0: never."""
    down_ms_max: int = 4000
    partition_every_ms: int = 3000
    """Mean time between partitions (of one link, one direction, or one side); 0: never."""
    partition_ms_max: int = 4000
    propose_every_ms: int = 40
    read_every_ms: int = 100
    transfer_every_ms: int = 5000
    flush_every_ms: int = 700
    """Mean time between flushes of a state machine; what is applied after one is applied again."""
    truncate_every_ms: int = 900
    """Mean time between truncations of some log, up to `log_tail_max` entries before its flush."""
    log_tail_max: int = 20
    reconfigure_every_ms: int = 0
    """Mean time between proposals to change the membership; 0: never."""
    strangers: int = 0
    """Members that exist beside the first ones and know nothing, for a change to add."""
    damage: float = 0
    """Probability that an APPEND's entry arrives with other data than was sent."""
    snapshot_loss: float = 0.2
    snapshot_ms_max: int = 600
    """Longest time until a snapshot is opened, and again until it has arrived."""
    install_ms_max: int = 150
    pre_vote: bool = True
    check_quorum: bool = True
    election_timeout_ticks: int = 10
    entries_per_append_max: int = 8


CALM = Faults(
    loss=0,
    duplicate=0,
    crash_every_ms=0,
    partition_every_ms=0,
    transfer_every_ms=0,
    truncate_every_ms=0,
    snapshot_loss=0,
)
"""A world without faults, but with delays."""

QUIET = replace(CALM, propose_every_ms=0, read_every_ms=0)
"""CALM, and nobody asks for anything."""

HARSH = Faults(
    loss=0.1,
    sync_ms_max=400,
    crash_every_ms=500,
    down_ms_max=300,
    partition_every_ms=1500,
    partition_ms_max=1500,
    pre_vote=False,
)
"""Leaders come and go too fast for much work, and syncs are slow."""

COLLIDING = replace(
    HARSH, sync_ms_max=60, election_timeout_ticks=3, crash_every_ms=300, down_ms_max=100
)
"""Members are back before an election ends, and elections collide."""

CHANGING = Faults(reconfigure_every_ms=400, strangers=2, damage=0.01)
"""Members come, go, listen and vote, while all else goes wrong as usual."""

FORGETFUL = replace(
    CHANGING, truncate_every_ms=150, log_tail_max=3, flush_every_ms=150, partition_every_ms=2000
)
"""Logs are so short that whoever was away needs a snapshot."""

CHANGING_HARSHLY = replace(
    HARSH,
    reconfigure_every_ms=150,
    strangers=3,
    truncate_every_ms=300,
    log_tail_max=5,
    flush_every_ms=300,
    damage=0.02,
)
"""HARSH, with members that change and logs that are cut short."""
