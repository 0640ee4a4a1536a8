"""Random trees of transactions are allowed exactly where each of their operations is."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.auth.calls import USERS, Users, furnish
from tests.raftkv.compat.pair import Call, Side, delete, get, opened, put, txn

KEYS = (b"a", b"b", b"c", b"d", b"k", b"m", b"x/1", b"z")
ENDS = (b"", b"", b"", b"c", b"e", b"k\0", b"x0", b"\0")
TREES = 40

NEVER = pb.Compare(key=b"k", target=pb.Compare.VERSION, result=pb.Compare.LESS, version=0)
"""No version is below 0, so what follows is judged and never done."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ProcessCluster(1, tmp_path_factory.mktemp("trees"), ["--bcrypt-cost=4"]) as cluster:
        cluster.wait_ready()
        asyncio.run(_furnish(cluster.endpoints[0]))
        yield cluster.endpoints[0]


async def _furnish(endpoint: str) -> None:
    async with opened(endpoint) as channel:
        for call in furnish():
            await Side(channel).ask(*call)


@pytest.fixture
async def users(furnished: str) -> AsyncIterator[Users]:
    async with grpc.aio.insecure_channel(furnished) as channel:
        yield Users(Side(channel))


class Tree:
    """A random transaction, and its parts one by one."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.parts: list[Call] = []
        self.root = self.transaction(chance.randrange(1, 5))

    def transaction(self, depth: int) -> Call:
        chance = self.chance
        compares = [self.compare() for _ in range(chance.choice((0, 0, 0, 1)))]
        branches = [
            [self.operation(depth) for _ in range(chance.choice((0, 1, 1, 2)))] for _ in range(2)
        ]
        return txn(compares, *branches)

    def compare(self) -> pb.Compare:
        key, end = self.chance.choice(KEYS), self.chance.choice(ENDS)
        self.parts.append(get(key, end))
        return pb.Compare(key=key, range_end=end, target=pb.Compare.VERSION)

    def operation(self, depth: int) -> Call:
        chance = self.chance
        if depth > 1 and chance.random() < 0.4:
            return self.transaction(depth - 1)
        key, end = chance.choice(KEYS), chance.choice(ENDS)
        prev_kv = chance.random() < 0.3
        call = get(key, end)
        if chance.random() < 0.3:
            call = delete(key, end, prev_kv=prev_kv)
        elif chance.random() < 0.2:
            call = put(key, prev_kv=prev_kv)
        self.parts.append(call)
        return call


@pytest.mark.parametrize("name", USERS)
async def test_a_tree_is_as_allowed_as_its_parts(users: Users, name: str) -> None:
    chance = random.Random(name)
    verdicts = []
    for _ in range(TREES):
        tree = Tree(chance)
        alone = [isinstance(await users.answer(name, _undone(part)), tuple) for part in tree.parts]
        answer = await users.answer(name, tree.root)
        if isinstance(answer, tuple) and "duplicate key" in str(answer[1]):
            continue
        assert isinstance(answer, tuple) == any(alone), tree.root[1]
        verdicts.append(any(alone))
    assert True in verdicts or name in ("root", "everything")
    assert False in verdicts


def _undone(part: Call) -> Call:
    """Have a part judged but not done."""
    if isinstance(part[1], pb.RangeRequest):
        return part
    return txn([NEVER], [part])
