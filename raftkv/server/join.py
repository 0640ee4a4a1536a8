"""Join a running cluster: ask its members what it is, and which of them we are to be.

`etcdctl member add` has given this member an id beforehand; its peer URLs say which one.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Iterable

from raftkv.config import Config
from raftkv.peer.errors import FrameError
from raftkv.peer.frame import FrameDecoder, FrameType, encode_frame
from raftkv.server.membership import MemberRecord, Membership
from raftkv.server.peer_links import address_of
from raftkv.server.peer_tls import peer_contexts

__all__ = [
    "JoinError",
    "decode_records",
    "describe",
    "discover",
    "encode_records",
    "read_description",
]

log = logging.getLogger(__name__)

DISCOVER_TIMEOUT_S = 20.0
"""How long the members are asked before this member gives up."""
ASK_TIMEOUT_S = 2.0
RETRY_S = 0.2
READ_BYTES = 64 << 10


class JoinError(Exception):
    """The cluster cannot be joined; the text says why and what to do."""


def encode_records(records: Iterable[MemberRecord]) -> bytes:
    """Return records as a JSON list."""
    return json.dumps([record.encode().decode() for record in records]).encode()


def decode_records(data: bytes) -> list[MemberRecord]:
    """Read what `encode_records` made. Raises ValueError."""
    return [MemberRecord.decode(text.encode()) for text in json.loads(data)]


def describe(membership: Membership) -> bytes:
    """Return what one who is to join must know."""
    fields = {
        "cluster_id": f"{membership.cluster_id:x}",
        "members": encode_records(membership.list()).decode(),
    }
    return json.dumps(fields).encode()


def read_description(body: bytes) -> Membership:
    """Read what `describe` made. Raises ValueError for anything else."""
    try:
        fields = json.loads(body)
        records = decode_records(fields["members"].encode())
        return Membership.of(int(fields["cluster_id"], 16), records)
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"no description of a cluster: {error}") from error


async def discover(config: Config) -> tuple[Membership, int]:
    """Ask the other members in --initial-cluster; returns the cluster, and our id in it.

    Raises JoinError when nobody answers in time, or when nobody knows us.
    """
    own = config.cluster.members[config.name]
    others = [url for urls in config.cluster.members.values() for url in urls if url not in own]
    if not others:
        raise JoinError(
            "--initial-cluster-state=existing needs another member's URL in --initial-cluster"
        )
    tls = peer_contexts(config).dialling
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DISCOVER_TIMEOUT_S
    problem = ""
    while loop.time() < deadline:
        for url in others:
            try:
                membership = await _ask(url, tls)
            except (OSError, ValueError, FrameError, TimeoutError) as error:
                problem = f"{url}: {error or type(error).__name__}"
                continue
            for record in membership.list():
                if set(record.peer_urls) & set(own):
                    log.info("joining", extra={"member": f"{record.id:x}", "by": url})
                    return membership, record.id
            problem = f"{url} knows no member with the peer URLs {','.join(own)}"
        await asyncio.sleep(RETRY_S)
    raise JoinError(f"cannot join the cluster: {problem}; add this member first (member add)")


async def _ask(url: str, tls: ssl.SSLContext | None) -> Membership:
    """Ask one member. Raises OSError, TimeoutError, FrameError, ValueError."""
    host, port, is_tls = address_of(url)
    async with asyncio.timeout(ASK_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls if is_tls else None)
        try:
            writer.write(encode_frame(FrameType.DISCOVER))
            decoder = FrameDecoder()
            while data := await reader.read(READ_BYTES):
                for type_, body in decoder.feed(data):
                    if type_ is not FrameType.DISCOVERED:
                        raise ValueError(f"{type_.name} instead of a description")
                    return read_description(body)
            raise ValueError("the connection was closed")
        finally:
            writer.close()
            await writer.wait_closed()
