"""File descriptors: as many as the system allows, and some that clients cannot take."""

import resource

__all__ = ["connections_allowed", "raise_descriptor_limit"]

WANTED_MAX = 1 << 20
RESERVED = 256
"""For the log, the state, snapshots, peers and the resolver: without those a member cannot work."""


def raise_descriptor_limit() -> None:
    """Lift the soft limit to the hard one, as Go programs do: shells often begin at 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_MAX if hard == resource.RLIM_INFINITY else min(hard, WANTED_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed(wanted: int) -> int:
    """Return how many connections clients may have: what is wanted, or what descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - RESERVED))
