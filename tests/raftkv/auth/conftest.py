"""A real etcd and a raftkv with the same users, for all tests of a file."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from tests.raftkv.auth.calls import Users, furnish
from tests.raftkv.compat.pair import Side, both_answer, opened, running_pair

CHEAP = "--bcrypt-cost=4"
"""Passwords are no part of what most tests are about."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Endpoints of etcd and raftkv, with the users of `calls` and authentication on."""
    with running_pair(tmp_path_factory.mktemp("furnished"), [CHEAP]) as endpoints:
        asyncio.run(_furnish(endpoints))
        yield endpoints


async def _furnish(endpoints: tuple[str, str]) -> None:
    async with opened(endpoints[0]) as etcd, opened(endpoints[1]) as raftkv:
        await both_answer([Side(etcd), Side(raftkv)], furnish())


@pytest.fixture
async def users(furnished: tuple[str, str]) -> AsyncIterator[list[Users]]:
    """Callers of etcd and of raftkv."""
    async with (
        grpc.aio.insecure_channel(furnished[0]) as etcd,
        grpc.aio.insecure_channel(furnished[1]) as raftkv,
    ):
        yield [Users(Side(etcd)), Users(Side(raftkv))]
