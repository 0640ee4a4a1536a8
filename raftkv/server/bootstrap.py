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
from raftkv.peer.outgoing import Address
from raftkv.peer.transport import PeerTransport
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.errors import RaftError
from raftkv.raft.log import must_reset
from raftkv.raft.node import RaftNode
from raftkv.server.force_new_cluster import leave_alone
from raftkv.server.initial_check import find_difference
from raftkv.server.join import decode_records, describe, discover, encode_records
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.member import Member, MemberParts
from raftkv.server.membership import Membership, stored_configuration
from raftkv.server.peer_links import address_of
from raftkv.server.peer_tls import PeerContexts, peer_contexts
from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.errors import DataDirectoryError
from raftkv.storage.flush_pool import FlushPool
from raftkv.storage.log_writer import LogWriter

__all__ = ["OpenMember", "open_member"]

log = logging.getLogger(__name__)

HAND_OVER_S = 1.0
"""How long a leader that stops tries to make another member lead."""

CLUSTER_ID, MEMBER_ID = "cluster_id", "member_id"
"""Names in the log's metadata, each 8 bytes big-endian."""

MEMBERS, NAME, JOINED = "members", "name", "joined"
"""The members when this one was made (JSON), its own name (UTF-8), and whether it joined a running
cluster (0 or 1)."""


@dataclass(slots=True)
class OpenMember:
    """A member with everything that it holds open."""

    member: Member
    directory: DataDirectory
    log_store: LogStore
    writer: LogWriter
    flush_pool: FlushPool

    async def start(self) -> None:
        """Begin to listen to other members and to take part, unless the state is not theirs."""
        await self.member.transport.start()
        if self.member.config.initial_corrupt_check:
            difference = await find_difference(self.member)
            if difference is not None:
                self.member.fail(difference)
                return
        self.member.start()

    async def hand_over(self) -> None:
        """If this member leads, let a follower lead before it goes, where one is level enough."""
        member = self.member
        followers = member.node.status().followers
        level = [
            one
            for one, status in followers.items()
            if status.recent_active and not status.is_learner
        ]
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


async def open_member(config: Config, on_fatal: Callable[[Exception], None]) -> OpenMember:
    """Open or create a member. Must run on its event loop.

    Raises StorageError when the directory cannot be used, JoinError when the cluster cannot be
    joined.
    """
    directory = DataDirectory.open(config.data_dir)
    try:
        log_store = LogStore(str(directory.log_path))
        membership, member_id = await _identity(config, log_store)
        store = MvccStore(
            str(directory.state_path),
            cluster_id=membership.cluster_id,
            member_id=member_id,
            txn_ops_max=config.txn_ops_max,
            flush_pool=(flush_pool := FlushPool()),
        )
        if must_reset(log_store, store.applied_index, store.applied_term):
            log_store.reset(store.applied_index, store.applied_term)
        contexts = peer_contexts(config)
        membership.load(store.member_records())
        _check_owner(config, membership, member_id, log_store.get_metadata(NAME))
    except BaseException:
        directory.close()
        raise
    writer = LogWriter(log_store, asyncio.get_running_loop(), lambda error: member.fail(error))
    member = _assemble(config, membership, member_id, log_store, store, writer, on_fatal, contexts)
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
    return OpenMember(member, directory, log_store, writer, flush_pool)


async def _identity(config: Config, log_store: LogStore) -> tuple[Membership, int]:
    """Return who we are among whom: as written down, else as the flags or the cluster say.

    Raises JoinError.
    """
    cluster, member = log_store.get_metadata(CLUSTER_ID), log_store.get_metadata(MEMBER_ID)
    founding = Membership(config.cluster)
    if cluster is not None and member is not None:
        cluster_id, member_id = int.from_bytes(cluster, "big"), int.from_bytes(member, "big")
        written = log_store.get_metadata(MEMBERS)
        records = decode_records(written) if written is not None else founding.list()
        return Membership.of(cluster_id, records), member_id
    membership, member_id = founding, founding.id_of_name[config.name]
    if config.cluster.existing:
        membership, member_id = await discover(config)
    log_store.put_metadata(
        {
            CLUSTER_ID: membership.cluster_id.to_bytes(8, "big"),
            MEMBER_ID: member_id.to_bytes(8, "big"),
            MEMBERS: encode_records(membership.list()),
            NAME: config.name.encode(),
            JOINED: b"1" if config.cluster.existing else b"0",
        }
    )
    return membership, member_id


def _first_configuration(log_store: LogStore, membership: Membership) -> Configuration:
    """Return the membership before the first entry: none yet for one who joined."""
    if log_store.get_metadata(JOINED) == b"1":
        return Configuration()
    return Configuration(membership.ids)


def _check_owner(
    config: Config, membership: Membership, member_id: int, first_name: bytes | None
) -> None:
    """Raise DataDirectoryError where the directory is that of another member than the flags'.

    A member may change its name, or its peer URLs, but hardly both at once; `first_name` is the one
    that it was made with. One that was removed cannot go on alone either.
    """
    if config.force_new_cluster and membership.was_removed(member_id):
        raise DataDirectoryError(
            f"{config.data_dir}: member {member_id:x} was removed from its cluster; force a new one"
            " with the data of a member that was not"
        )
    record = membership.get(member_id)
    own = config.cluster.members[config.name]
    name = first_name.decode() if first_name is not None else ""
    if record is None or config.name in (record.name, name) or set(record.peer_urls) & set(own):
        return
    raise DataDirectoryError(
        f"{config.data_dir} belongs to member {member_id:x} ({record.name or name or 'unnamed'},"
        f" {','.join(record.peer_urls)}), but the flags describe {config.name},"
        f" {','.join(own)}; give the flags that it was made with, or another directory"
    )


def _assemble(
    config: Config,
    membership: Membership,
    member_id: int,
    log_store: LogStore,
    store: MvccStore,
    writer: LogWriter,
    on_fatal: Callable[[Exception], None],
    contexts: PeerContexts,
) -> Member:
    rows = store.member_records()
    configuration = stored_configuration(rows) or _first_configuration(log_store, membership)
    if config.force_new_cluster:
        leave_alone(log_store, member_id, store.applied_index, configuration)
    node = RaftNode(
        RaftConfig(
            id=member_id,
            election_timeout_ticks=config.election_ticks,
            pre_vote=config.pre_vote,
            # To apply an entry costs a follower more than to take a row of a snapshot.
            catch_up_bytes_per_tick=max(
                1, int(config.snapshot_bytes_per_s / 2 * config.heartbeat_interval_s)
            ),
        ),
        configuration,
        log_store,
        log_store.hard_state(),
        store.applied_index,
        random.Random(),
    )
    transport = PeerTransport(
        member_id,
        membership.cluster_id,
        Address(config.listen_peer.host, config.listen_peer.port, config.listen_peer.is_tls),
        {
            record.id: address_of(record.peer_urls[0])
            for record in membership.list()
            if record.id != member_id
        },
        on_messages=lambda messages: member.take_messages(messages),
        on_read_end=lambda: member.end_read(),
        on_lone_frame=lambda messages: member.take_alone(messages),
        on_forward=lambda sender, data: member.take_forwarded(sender, data),
        on_request=lambda sender, kind, payload: member.answer_peer(sender, kind, payload),
        on_unreachable=lambda peer_id: member.report_unreachable(peer_id),
        on_removed=lambda: member.learn_of_removal(),
        was_removed=membership.was_removed,
        describe=lambda: describe(membership),
        own_url=lambda: membership.peer_url(member_id),
        on_stranger=lambda peer_id, url: member.cluster.admit(peer_id, url),
        listen_too=[Address(one.host, one.port, one.is_tls) for one in config.listen_peer_too],
        server_ssl=contexts.listening,
        client_ssl=contexts.dialling,
        check_source=config.peer_tls.check_address,
    )
    trimmer = LogTrimmer(log_store.first_index, config.snapshot_catchup_entries)
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
