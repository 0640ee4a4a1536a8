"""The Python client of the etcd v3 API: raftkv's own, and any other etcd's.

async with Client(["127.0.0.1:2379"]) as client:
    await client.put(b"greeting", b"hello")
    async with client.watch(b"greeting", start_revision=1) as watch:
        async for response in watch:
            ...

`SyncClient` is the same for programs without an event loop.
"""

from raftkv.client.authentication import User
from raftkv.client.client import Client
from raftkv.client.concurrency import Election, ElectionError, Mutex, Session, SessionExpiredError
from raftkv.client.endpoints import Credentials, parse_endpoint
from raftkv.client.errors import (
    ClientError,
    CompactedError,
    FutureRevisionError,
    LeaseNotFoundError,
    UnavailableError,
)
from raftkv.client.lease import LeaseKeeper
from raftkv.client.prefix import prefix_range_end
from raftkv.client.stm import Stm, StmConflictError, transact
from raftkv.client.sync import SyncClient
from raftkv.client.watch import Watch, WatchCanceledError

__all__ = [
    "Client",
    "ClientError",
    "CompactedError",
    "Credentials",
    "Election",
    "ElectionError",
    "FutureRevisionError",
    "LeaseKeeper",
    "LeaseNotFoundError",
    "Mutex",
    "Session",
    "SessionExpiredError",
    "Stm",
    "StmConflictError",
    "SyncClient",
    "UnavailableError",
    "User",
    "Watch",
    "WatchCanceledError",
    "parse_endpoint",
    "prefix_range_end",
    "transact",
]
