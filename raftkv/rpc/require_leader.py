"""Calls whose client would rather be refused at once than wait for a leader: `hasleader: true`."""

from raftkv._native.http2 import Stream
from raftkv.server.member import Member

__all__ = ["REQUIRE_LEADER", "lacks_leader"]

REQUIRE_LEADER = (b"hasleader", b"true")
"""The metadata by which a client asks for it."""


def lacks_leader(member: Member, stream: Stream) -> bool:
    """Tell whether this call is to be refused with `no leader` now."""
    return not member.node.leader_id and REQUIRE_LEADER in stream.metadata
