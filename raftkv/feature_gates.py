"""etcd's feature gates: `--feature-gates=InitialCorruptCheck=true,...`.

A gate is a switch that etcd tries out before it becomes a flag or a rule. All of its names are
known here; the ones that mean something here stand beside a flag of the same meaning, and either
turns it on.
"""

from collections.abc import Mapping

__all__ = ["GATES", "parse_feature_gates"]

GATES: Mapping[str, str] = {
    "InitialCorruptCheck": "compare with the other members before serving",
    "CompactHashCheck": "compare members' hashes",
    "FastLeaseKeepAlive": "always on: renewals wait for nothing that they need not",
    "LeaseCheckpoint": "always on: leases' remaining time is replicated",
    "LeaseCheckpointPersist": "always on: and kept",
    "PriorityRequest": "no effect: renewals and reads do not queue behind writes",
    "SetMemberLocalAddr": "no effect",
    "StopGRPCServiceOnDefrag": "no effect: defragmentation never stops a member",
    "TxnModeWriteWithSharedBuffer": "no effect: the state has no such buffer",
}
"""Every gate of etcd 3.5 to 3.7, and what it does here."""

ALL = ("AllAlpha", "AllBeta")
"""Names that stand for all gates of one maturity; they switch none here."""


def parse_feature_gates(text: str) -> dict[str, bool]:
    """Read `Name=true,Other=false`. Raises ValueError with what is wrong, unknown names too."""
    found: dict[str, bool] = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = pair.partition("=")
        if name not in GATES and name not in ALL:
            raise ValueError(f"unknown gate {name!r}; known are {', '.join(GATES)}")
        if not equals or value.lower() not in ("true", "false"):
            raise ValueError(f"{pair!r}: want {name}=true or {name}=false")
        found[name] = value.lower() == "true"
    return found
