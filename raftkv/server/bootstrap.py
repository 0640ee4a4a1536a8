"""Open what a member is made of, from its data directory, and put it together."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from raftkv._native.log_store import LogStore
from raftkv._native.mvcc_store import MvccStore
from raftkv.config import Config
from raftkv.errors import StoreError
from raftkv.peer.transport import PeerTransport
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.errors import RaftError
from raftkv.raft.node import RaftNode
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.member import Member, MemberParts
from raftkv.server.membership import Membership
from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.errors import DataDirectoryError
from raftkv.storage.log_writer import LogWriter

__all__ = ["OpenMember", "open_member"]

log = logging.getLogger(__name__)

HAND_OVER_S = 1.0
"""How long a leader that stops tries to make another member lead."""

CLUSTER_ID, MEMBER_ID = "cluster_id", "member_id"
"""Names in the log's metadata, each 8 bytes big-endian."""


@dataclass(slots=True)
class OpenMember:
    """A member with everything that it holds open."""

    member: Member
    directory: DataDirectory
    log_store: LogStore
    writer: LogWriter

    async def start(self) -> None:
        """Begin to listen to other members and to take part."""
        await self.member.transport.start()
        self.member.start()

    async def hand_over(self) -> None:
        """If this member leads, let a follower lead before it goes, where one is level enough."""
        member = self.member
        followers = member.node.status().followers
        level = [one for one, status in followers.items() if status.recent_active]
        if not member.is_leader or not level:
            return
        heir = max(level, key=lambda one: followers[one].match_index)
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await member.transfer_leadership(heir)
        except (TimeoutError, RaftError, StoreError) as error:
            log.warning("leadership was not handed over", extra={"reason": str(error)})

    async def close(self) -> None:
        """Stop, and close everything in the order in which it depends on each other."""
        self.member.stop()
        await self.member.transport.close()
        self.writer.close()
        self.member.store.close()
        self.log_store.close()
        self.directory.close()


def open_member(config: Config, on_fatal: Callable[[Exception], None]) -> OpenMember:
    """Open or create a member. Must run on its event loop.

    Raises StorageError when the directory cannot be used, ValueError for a configuration that does
    not fit it.
    """
    membership = Membership(config.cluster)
    member_id = membership.id_of_name[config.name]
    directory = DataDirectory.open(config.data_dir)
    try:
        log_store = LogStore(str(directory.log_path))
        _check_identity(config, log_store, membership.cluster_id, member_id)
        store = MvccStore(
            str(directory.state_path),
            cluster_id=membership.cluster_id,
            member_id=member_id,
            txn_ops_max=config.txn_ops_max,
        )
    except BaseException:
        directory.close()
        raise
    writer = LogWriter(log_store, asyncio.get_running_loop(), lambda error: member.fail(error))
    member = _assemble(config, membership, member_id, log_store, store, writer, on_fatal)
    log.info(
        "opened member",
        extra={
            "member": f"{member_id:x}",
            "cluster": f"{membership.cluster_id:x}",
            "applied_index": store.applied_index,
            "last_index": log_store.last_index,
            "revision": store.revision,
        },
    )
    return OpenMember(member, directory, log_store, writer)


def _check_identity(config: Config, log_store: LogStore, cluster_id: int, member_id: int) -> None:
    """Write who we are into a new log; refuse a log of somebody else."""
    wanted = {
        CLUSTER_ID: cluster_id.to_bytes(8, "big"),
        MEMBER_ID: member_id.to_bytes(8, "big"),
    }
    found = {name: log_store.get_metadata(name) for name in wanted}
    if found == wanted:
        return
    if any(value is not None for value in found.values()):
        raise DataDirectoryError(
            f"{config.data_dir} belongs to member {_hex(found[MEMBER_ID])} of cluster"
            f" {_hex(found[CLUSTER_ID])}, but the flags describe member {member_id:x} of cluster"
            f" {cluster_id:x}; give the flags that it was made with, or another directory"
        )
    if config.cluster.existing:
        raise DataDirectoryError(
            f"{config.data_dir} is empty and --initial-cluster-state=existing: joining a running"
            " cluster is not supported yet"
        )
    log_store.put_metadata(wanted)


def _hex(value: bytes | None) -> str:
    return value.hex() if value else "unknown"


def _assemble(
    config: Config,
    membership: Membership,
    member_id: int,
    log_store: LogStore,
    store: MvccStore,
    writer: LogWriter,
    on_fatal: Callable[[Exception], None],
) -> Member:
    node = RaftNode(
        RaftConfig(
            id=member_id,
            election_timeout_ticks=config.election_ticks,
            pre_vote=config.pre_vote,
        ),
        Configuration(membership.ids),
        log_store,
        log_store.hard_state(),
        store.applied_index,
        random.Random(),
    )
    transport = PeerTransport(
        member_id,
        membership.cluster_id,
        (config.listen_peer.host, config.listen_peer.port),
        {
            record.id: _address(record.peer_urls[0])
            for record in membership.list()
            if record.id != member_id
        },
        on_messages=lambda messages: member.take_messages(messages),
        on_forward=lambda sender, data: member.take_forwarded(sender, data),
        on_request=lambda sender, kind, payload: member.answer_peer(sender, kind, payload),
        on_unreachable=lambda peer_id: member.report_unreachable(peer_id),
    )
    trimmer = LogTrimmer(log_store.first_index, config.snapshot_count)
    parts = MemberParts(
        node,
        store,
        writer,
        transport,
        trimmer,
        life=time.time_ns(),
        read_seed=secrets.randbits(62),
        on_fatal=on_fatal,
    )
    member = Member(config, membership, parts)
    return member


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.split("://", 1)[1].rstrip("/").rpartition(":")
    return host.strip("[]"), int(port)
