"""Passwords are hashed and compared off the loop; what was right is remembered, within bounds."""

import asyncio
import base64
from collections.abc import Iterator

import pytest

from raftkv.errors import ErrorCode, StoreError
from raftkv.rpc import passwords as module
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.passwords import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    one = Passwords(cost=4)
    yield one
    one.close()


async def hashed(passwords: Passwords, password: str) -> bytes:
    return base64.b64decode(await passwords.hash(password))


async def test_right_and_wrong(passwords: Passwords) -> None:
    one = await hashed(passwords, "secret")
    assert one.startswith(b"$2a$04$"), "as Go's bcrypt writes it"
    assert await passwords.is_right("secret", one)
    assert await passwords.is_right("secret", one), "remembered"
    for wrong in ("", "Secret", "secret ", "secret\0"):
        assert not await passwords.is_right(wrong, one)
    assert not await passwords.is_right("secret", await hashed(passwords, "other"))


@pytest.mark.parametrize("stored", [b"", b"rubbish", b"$2a$04$short"])
async def test_no_password_fits_no_hash(passwords: Passwords, stored: bytes) -> None:
    for given in ("", "secret"):
        assert not await passwords.is_right(given, stored)


async def test_a_password_has_at_most_72_bytes(passwords: Passwords) -> None:
    """bcrypt looks at no more; etcd refuses what is longer in the same words."""
    assert await passwords.is_right("x" * 72, await hashed(passwords, "x" * 72))
    with pytest.raises(RpcError, match="bcrypt: password length exceeds 72 bytes"):
        await passwords.hash("ü" * 37)


async def test_what_waits_is_bounded(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    one = await hashed(passwords, "secret")
    tries = [passwords.is_right("wrong", one) for _ in range(8)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, StoreError)]
    assert [one.code for one in refused] == [ErrorCode.REQUEST_TOO_MANY_REQUESTS] * 5
    assert not await passwords.is_right("wrong", one), "and there is room again"


async def test_what_is_remembered_is_bounded(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 2)
    for name in "abcd":
        assert await passwords.is_right(name, await hashed(passwords, name))
    assert len(passwords._remembered) == 2
