"""Passwords as bcrypt hashes: made and compared in threads, as either takes a tenth of a second.

A password that was found right is remembered for a while by a keyed hash, so that clients that
authenticate often do not cost that each time; a changed password is another entry, because the
stored hash is part of it.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from raftkv.errors import ErrorCode, GrpcStatus, StoreError
from raftkv.rpc.grpc_status import RpcError

__all__ = ["Passwords"]

Result = TypeVar("Result")

THREADS = 2
WAITING_MAX = 256
"""Hashes that may be under way or wait; one more is refused with `too many requests`."""
REMEMBERED_MAX = 1024
"""Passwords found right; beyond, the one used longest ago is forgotten."""
PASSWORD_BYTES_MAX = 72
"""What bcrypt looks at."""
TOO_LONG = "bcrypt: password length exceeds 72 bytes"


class Passwords:
    """Hashes and compares passwords. Used from the loop only; close it at the end."""

    def __init__(self, cost: int) -> None:
        """`cost`: passwords are hashed with 2**cost rounds."""
        self._cost = cost
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="bcrypt")
        self._waiting = 0
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, None] = OrderedDict()
        self._decoy = bcrypt.gensalt(cost, b"2a") + b"." * 31
        """A hash of nothing: comparing with it takes as long as comparing with a user's."""

    async def hash(self, password: str) -> str:
        """Return a new hash of a password, in base64. Raises RpcError for one that is too long."""
        encoded = password.encode()
        if len(encoded) > PASSWORD_BYTES_MAX:
            raise RpcError(GrpcStatus.UNKNOWN, TOO_LONG)
        hashed = await self._run(lambda: bcrypt.hashpw(encoded, bcrypt.gensalt(self._cost, b"2a")))
        return base64.b64encode(hashed).decode()

    async def is_right(self, password: str, hashed: bytes) -> bool:
        """Compare a password with a stored hash; an empty one is never right, and takes as long."""
        encoded = password.encode()[:PASSWORD_BYTES_MAX]
        entry = hmac.digest(self._key, hashed + b"\0" + encoded, hashlib.sha256)
        if entry in self._remembered:
            self._remembered.move_to_end(entry)
            return True
        right = await self._run(lambda: _compare(encoded, hashed or self._decoy))
        if not right or not hashed:
            return False
        self._remembered[entry] = None
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return True

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= WAITING_MAX:
            raise StoreError(ErrorCode.REQUEST_TOO_MANY_REQUESTS)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Take no more work; what runs is let end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _compare(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # a stored hash that is none
        return False
