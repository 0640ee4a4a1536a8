"""Software transactional memory: read and write keys as if nobody else were there.

async def transfer(stm: Stm) -> None:
    balance = int(await stm.get(b"alice") or b"0")
    stm.put(b"alice", b"%d" % (balance - 10))

await transact(client, transfer)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from raftkv.client.client import Client
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["Stm", "StmConflictError", "transact"]

ATTEMPTS_MAX = 100
BACK_OFF_S = 0.001
"""Wait after the first conflict; it doubles up to BACK_OFF_S_MAX."""
BACK_OFF_S_MAX = 0.1

Result = TypeVar("Result")


class StmConflictError(Exception):
    """Other writers were faster each time that the transaction was tried."""


class Stm:
    """What one attempt reads and would write.

    All reads are of one revision, that of the first; a key that was written here reads as written.
    Isolation is serializable snapshot: nothing that was read or written may have changed since.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._revision = 0
        self._read: dict[bytes, kv_pb2.KeyValue | None] = {}
        self._written: dict[bytes, pb.PutRequest | None] = {}

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, or None where the key is missing."""
        if key in self._written:
            put = self._written[key]
            return put.value if put is not None else None
        if key not in self._read:
            found = await self._client.get(key, revision=self._revision)
            self._revision = self._revision or found.header.revision
            self._read[key] = found.kvs[0] if found.kvs else None
        row = self._read[key]
        return row.value if row is not None else None

    def put(self, key: bytes, value: bytes, *, lease: int = 0) -> None:
        """Write a key when the transaction ends."""
        self._written[key] = pb.PutRequest(key=key, value=value, lease=lease)

    def delete(self, key: bytes) -> None:
        """Delete a key when the transaction ends."""
        self._written[key] = None

    async def commit(self) -> pb.TxnResponse | None:
        """Write if nothing changed; None where something did."""
        answer = await self._client.txn(
            pb.TxnRequest(compare=self._compares(), success=self._writes())
        )
        return answer if answer.succeeded else None

    def _compares(self) -> list[pb.Compare]:
        compares = [
            pb.Compare(
                key=key,
                target=pb.Compare.MOD,
                result=pb.Compare.EQUAL,
                mod_revision=row.mod_revision if row is not None else 0,
            )
            for key, row in self._read.items()
        ]
        if self._revision:
            compares += [
                pb.Compare(
                    key=key,
                    target=pb.Compare.MOD,
                    result=pb.Compare.LESS,
                    mod_revision=self._revision + 1,
                )
                for key in self._written
                if key not in self._read
            ]
        return compares

    def _writes(self) -> list[pb.RequestOp]:
        return [
            pb.RequestOp(request_put=put)
            if put is not None
            else pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
            for key, put in self._written.items()
        ]


async def transact(
    client: Client,
    apply: Callable[[Stm], Awaitable[Result]],
    attempts_max: int = ATTEMPTS_MAX,
) -> Result:
    """Run `apply` until what it did could be committed as one; return what it returned.

    `apply` runs once an attempt, so it should do nothing else that lasts. What it raises ends the
    transaction unwritten. Raises StmConflictError after `attempts_max` attempts, and ClientError.
    """
    wait_s = BACK_OFF_S
    for _ in range(attempts_max):
        stm = Stm(client)
        result = await apply(stm)
        if await stm.commit() is not None:
            return result
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, BACK_OFF_S_MAX)
    raise StmConflictError(f"{attempts_max} attempts met other writers")
