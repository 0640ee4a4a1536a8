"""Keep the connections to other members as the membership says."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from raftkv.peer.outgoing import Address
from raftkv.peer.transport import PeerTransport
from raftkv.server.membership import MemberRecord

__all__ = ["REMOVAL_WAIT_S", "PeerLinks", "address_of"]

STRANGERS_MAX = 16
"""Members that are let in before they are known here."""

REMOVAL_GRACE_S = 1.0
"""How long a removed member is still talked to: it is to learn of its removal."""

REMOVAL_WAIT_S = 15.0
"""How long a member that knows of its own removal waits to be told of it by another one. Until one
tells, it may be the only one who knows that the change is committed, and whoever is left needs its
vote: of two members, the second could never lead."""


class PeerLinks:
    """Who is dialled. Used from the loop only."""

    def __init__(
        self,
        member_id: int,
        transport: PeerTransport,
        known: Iterable[MemberRecord],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`known`: whom the transport dials already."""
        self._member_id = member_id
        self._transport = transport
        self._loop = loop
        self._urls = {one.id: one.peer_urls for one in known if one.id != member_id}
        self._strangers: dict[int, tuple[str, ...]] = {}
        """Members of this cluster that dialled us, of which we have not yet heard in the log."""
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, peer_id: int, url: str) -> None:
        """Let one in who says that it is of this cluster, and dial it where it says.

        Who was away while all that it knew were replaced could hear of the new members by nothing
        else. Raft's own rules guard the log: a stranger's word counts for no more than a term.
        """
        known = peer_id in self._urls or peer_id in self._strangers
        if known or peer_id == self._member_id or len(self._strangers) >= STRANGERS_MAX:
            return
        try:
            address = address_of(url)
        except ValueError:
            return
        self._strangers[peer_id] = (url,)
        self._transport.add_peer(peer_id, address)

    def follow(self, records: Iterable[MemberRecord]) -> None:
        """Dial exactly these from now on."""
        wanted = {one.id: one.peer_urls for one in records if one.id != self._member_id}
        for peer_id in [one for one in self._urls if one not in wanted]:
            del self._urls[peer_id]
            self._later(self._remove(peer_id))
        for peer_id, urls in wanted.items():
            known = self._urls.get(peer_id) or self._strangers.pop(peer_id, None)
            self._urls[peer_id] = urls
            if known is None:
                self._transport.add_peer(peer_id, address_of(urls[0]))
            elif known != urls:
                self._later(self._replace(peer_id))

    def close(self) -> None:
        """Leave what is under way."""
        for task in self._tasks:
            task.cancel()

    async def _remove(self, peer_id: int) -> None:
        await asyncio.sleep(REMOVAL_GRACE_S)
        await self._transport.remove_peer(peer_id)

    async def _replace(self, peer_id: int) -> None:
        await self._transport.remove_peer(peer_id)
        if peer_id in self._urls:
            self._transport.add_peer(peer_id, address_of(self._urls[peer_id][0]))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def address_of(url: str) -> Address:
    """Return where a peer URL, checked before, leads."""
    scheme, rest = url.split("://", 1)
    host, _, port = rest.rstrip("/").rpartition(":")
    return Address(host.strip("[]"), int(port), scheme == "https")
