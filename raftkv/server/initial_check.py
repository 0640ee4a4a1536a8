"""Compare this member's state with the others' before it takes part: --initial-corrupt-check.

A member whose disk lost or changed something while it was down would answer clients wrongly at
once. So it hashes what it has, asks every other member for the hash at the same revision, and does
not start where more of them differ than agree. Members that do not answer in time, or that
compacted meanwhile, tell nothing: a cluster that starts as a whole must come up.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from raftkv.errors import StoreError, StoreIOError
from raftkv.peer.errors import PeerError
from raftkv.server.hash_check import HASH, decode_hash, encode_revision
from raftkv.storage.state_hash import hash_state

if TYPE_CHECKING:
    from raftkv.server.member import Member

__all__ = ["StateDiffers", "find_difference"]

log = logging.getLogger(__name__)

TIMEOUT_S = 7.0
"""How long the others are waited for."""
RETRY_S = 0.1


class StateDiffers(StoreIOError):
    """This member's state is not that of the cluster: it must not serve."""


async def find_difference(member: Member) -> StateDiffers | None:
    """Ask all other members; returns the error to stop with, None where nobody differs.

    To be called when the transport runs and the member does not yet.
    """
    others = sorted(member.node.configuration.members - {member.id})
    if not member.store.applied_index or not others:
        return None
    own = await hash_state(member.store, 0)
    answers = await asyncio.gather(*(_ask(member, one, own[2]) for one in others))
    comparable = {
        peer_id: answer[0]
        for peer_id, answer in zip(others, answers, strict=True)
        if answer is not None and answer[1:] == own[1:]
    }
    differing = {peer_id: value for peer_id, value in comparable.items() if value != own[0]}
    log.info(
        "compared with other members",
        extra={
            "revision": own[2],
            "members": len(comparable),
            "differing": [f"{one:x}" for one in differing],
        },
    )
    if 2 * len(differing) <= len(comparable):
        return None
    theirs = ", ".join(f"of member {one:x} to {value}" for one, value in differing.items())
    return StateDiffers(
        f"at revision {own[2]} the keys of this member hash to {own[0]}, those {theirs};"
        " find out which are right, then remove the wrong member and add it again with an"
        " empty data directory"
    )


async def _ask(member: Member, peer_id: int, revision: int) -> tuple[int, int, int] | None:
    """Return a member's hash, compact revision and revision; None where it does not answer."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    while (left_s := deadline - asyncio.get_running_loop().time()) > 0:
        try:
            answer = await member.transport.request(
                peer_id, HASH, encode_revision(revision), left_s
            )
            return decode_hash(answer)
        except (PeerError, StoreError, ValueError) as error:
            log.debug("no hash", extra={"peer": f"{peer_id:x}", "reason": str(error)})
        await asyncio.sleep(RETRY_S)
    return None
