"""Compaction of the store's history: one API server at a time, five minutes behind the present.

`compact_rev_key` holds the revision of the last round; its version is the turn. Each server
compares the version that it last saw: the one that wins the transaction compacts to the revision
noted a round ago, the others take note and wait. So every revision stays readable for a round.
"""

from __future__ import annotations

import asyncio
import logging

from raftkv.client import Client, ClientError, CompactedError
from raftkv.pb.etcd import rpc_pb2

log = logging.getLogger(__name__)

KEY = b"compact_rev_key"


class Compactor:
    """Runs rounds until cancelled."""

    def __init__(self, client: Client, interval_s: float) -> None:
        self._client = client
        self._interval_s = interval_s
        self._version = 0
        self._revision = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.round()
            except ClientError as error:
                log.warning("compaction failed, trying again next time: %s", error)

    async def round(self) -> int:
        """Take one turn; return the revision compacted to, 0 when it was not our turn."""
        noted = self._revision
        won = await self._take_turn(noted)
        if not won or not noted:
            return 0
        try:
            await self._client.compact(noted)
        except CompactedError:
            return 0
        return noted

    async def _take_turn(self, revision: int) -> bool:
        """Advance the turn if it is ours, and note the present revision for the next round."""
        compare = rpc_pb2.Compare(
            result=rpc_pb2.Compare.EQUAL,
            target=rpc_pb2.Compare.VERSION,
            key=KEY,
            version=self._version,
        )
        put = rpc_pb2.PutRequest(key=KEY, value=str(revision).encode())
        read = rpc_pb2.RangeRequest(key=KEY)
        request = rpc_pb2.TxnRequest(
            compare=[compare],
            success=[rpc_pb2.RequestOp(request_put=put)],
            failure=[rpc_pb2.RequestOp(request_range=read)],
        )
        answer = await self._client.txn(request)
        self._revision = answer.header.revision
        if answer.succeeded:
            self._version += 1
            return True
        pairs = answer.responses[0].response_range.kvs
        self._version = pairs[0].version if pairs else 0
        return False
