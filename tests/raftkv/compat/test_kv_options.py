"""Every option of KV, one test each: a real etcd and raftkv answer the same."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import (
    Side,
    Step,
    both_answer,
    compact,
    delete,
    get,
    grant,
    operation,
    put,
    revoke,
    time_to_live,
    txn,
)

pytestmark = pytest.mark.slow

R = pb.RangeRequest
C = pb.Compare

THREE: list[Step] = [put(b"a/1", b"z"), put(b"a/2", b"y"), put(b"a/3", b"x"), put(b"a/2", b"w")]
ALL = (b"a/", b"a0")


def of_three(**options: Any) -> list[Step]:
    """Ask for three keys, of which one has two versions."""
    return [*THREE, get(*ALL, **options)]


def back(by: int, **options: Any) -> Step:
    """Ask for the three keys as they were `by` revisions ago."""
    return lambda revision: get(*ALL, revision=revision - by, **options)


RANGES: dict[str, Sequence[Step]] = {
    "one key": [*THREE, get(b"a/1")],
    "missing key": [get(b"missing")],
    "range": of_three(),
    "all keys from one": [*THREE, get(b"a/2", b"\0")],
    "all keys": [*THREE, get(b"\0", b"\0")],
    "empty range": [*THREE, get(b"b", b"a")],
    "limit": of_three(limit=2),
    "limit that is not reached": of_three(limit=4),
    "limit that is just reached": of_three(limit=3),
    "negative limit": of_three(limit=-1),
    "revision": [*THREE, back(1), back(2), back(3)],
    "revision of now": [*THREE, back(0)],
    "negative revision": of_three(revision=-5),
    "count_only": of_three(count_only=True),
    "count_only with limit": of_three(count_only=True, limit=1),
    "keys_only": of_three(keys_only=True),
    "serializable": of_three(serializable=True),
    "min_mod_revision": [*THREE, lambda now: get(*ALL, min_mod_revision=now)],
    "max_mod_revision": [*THREE, lambda now: get(*ALL, max_mod_revision=now - 1)],
    "min_create_revision": [*THREE, lambda now: get(*ALL, min_create_revision=now - 2)],
    "max_create_revision": [*THREE, lambda now: get(*ALL, max_create_revision=now - 2)],
    "filters with limit": [*THREE, lambda now: get(*ALL, max_mod_revision=now - 1, limit=1)],
    "order without target": of_three(sort_order=R.DESCEND),
    "target without order": of_three(sort_target=R.VALUE),
}
for order in (R.NONE, R.ASCEND, R.DESCEND):
    for target in (R.KEY, R.VERSION, R.CREATE, R.MOD, R.VALUE):
        name = f"sort {R.SortTarget.Name(target)} {R.SortOrder.Name(order)}"
        RANGES[name] = [
            *of_three(sort_order=order, sort_target=target),
            get(*ALL, sort_order=order, sort_target=target, limit=2),
            get(*ALL, sort_order=order, sort_target=target, keys_only=True),
        ]

PUTS: dict[str, Sequence[Step]] = {
    "create and update": [put(b"p"), put(b"p"), get(b"p")],
    "empty value": [put(b"p", b""), get(b"p")],
    "prev_kv": [put(b"p", b"1", prev_kv=True), put(b"p", b"2", prev_kv=True)],
    "lease": [grant(50), put(b"p", lease=50), get(b"p"), revoke(50), get(b"p")],
    "lease 0 detaches": [
        grant(51),
        put(b"p", lease=51),
        put(b"p"),
        revoke(51),
        get(b"p"),
    ],
    "a second lease replaces the first": [
        grant(52),
        grant(53),
        put(b"p", lease=52),
        put(b"p", lease=53),
        revoke(52),
        get(b"p"),
        revoke(53),
        get(b"p"),
    ],
    "ignore_value": [
        grant(54),
        put(b"p", b"kept"),
        put(b"p", b"", lease=54, ignore_value=True),
        get(b"p"),
    ],
    "ignore_lease": [
        grant(55),
        put(b"p", lease=55),
        put(b"p", b"new", ignore_lease=True),
        get(b"p"),
        revoke(55),
        get(b"p"),
    ],
    "version begins anew after a delete": [put(b"p"), delete(b"p"), put(b"p"), get(b"p")],
}

DELETES: dict[str, Sequence[Step]] = {
    "one key": [put(b"d"), delete(b"d"), get(b"d")],
    "nothing": [delete(b"nothing"), get(b"nothing")],
    "range": [*THREE, delete(*ALL), get(*ALL)],
    "all keys from one": [*THREE, delete(b"a/2", b"\0"), get(b"\0", b"\0")],
    "prev_kv": [*THREE, delete(*ALL, prev_kv=True)],
    "empty range": [*THREE, delete(b"b", b"a", prev_kv=True)],
}


def compare(target: "pb.Compare.CompareTarget", result: int, value: object) -> pb.Compare:
    """Compare key a/2 with a value."""
    field = ("version", "create_revision", "mod_revision", "value", "lease")[int(target)]
    return C(key=b"a/2", target=target, result=result, **{field: value})  # type: ignore[arg-type]


def comparisons() -> dict[str, Sequence[Step]]:
    """Each target with each result, below, at and above what the key has."""
    cases: dict[str, Sequence[Step]] = {}
    for result in (C.EQUAL, C.GREATER, C.LESS, C.NOT_EQUAL):
        for target in (C.VERSION, C.CREATE, C.MOD, C.VALUE, C.LEASE):
            steps: list[Step] = [delete(*ALL), *THREE]
            for offset in (-1, 0, 1):

                def step(
                    now: int, t: int = target, r: int = result, offset: int = offset
                ) -> tuple[str, pb.TxnRequest, type[pb.TxnResponse]]:
                    has = [2, now - 2, now, ord("w"), 0][t] + offset
                    value = bytes([has]) if t == C.VALUE else has
                    chosen = compare(t, r, value)  # type: ignore[arg-type]
                    return txn([chosen], [get(b"a/1")], [get(b"a/3")])  # type: ignore[return-value]

                steps.append(step)
            name = f"compare {C.CompareTarget.Name(target)} {C.CompareResult.Name(result)}"
            cases[name] = steps
    return cases


TXNS: dict[str, Sequence[Step]] = {
    "empty": [txn()],
    "success": [*THREE, txn([], [put(b"a/1", b"s")], [put(b"a/1", b"f")]), get(*ALL)],
    "failure": [
        *THREE,
        txn([C(key=b"a/1", target=C.VERSION, version=0)], [put(b"a/1")], [put(b"a/1", b"f")]),
        get(*ALL),
    ],
    "missing key compares as zero": [
        txn([C(key=b"none", target=target, result=C.EQUAL)], [put(b"a/1")], [get(b"a/1")])
        for target in (C.VERSION, C.CREATE, C.MOD, C.LEASE, C.VALUE)
    ],
    "compare range_end": [
        *THREE,
        txn([C(key=b"a/", range_end=b"a0", target=C.VERSION, result=C.GREATER, version=0)]),
        txn([C(key=b"a/", range_end=b"a0", target=C.VERSION, result=C.EQUAL, version=1)]),
        txn([C(key=b"x", range_end=b"y", target=C.VERSION, result=C.EQUAL, version=0)]),
    ],
    "only reads": [*THREE, txn([], [get(*ALL), get(b"a/1", keys_only=True)])],
    "only serializable reads": [*THREE, txn([], [get(*ALL, serializable=True)])],
    "a range sees earlier writes": [
        txn([], [put(b"t", b"1"), get(b"t"), delete(b"t"), get(b"t")]),
        get(b"t"),
    ],
    "reads do not change the revision": [*THREE, txn([], [get(b"a/1")]), get(b"a/1")],
    "delete of nothing does not change the revision": [txn([], [delete(b"none")]), get(b"a/1")],
    "put prev_kv": [*THREE, txn([], [put(b"a/1", b"2", prev_kv=True)])],
    "delete prev_kv": [*THREE, txn([], [delete(*ALL, prev_kv=True)])],
    "nested": [
        *THREE,
        txn([], [txn([C(key=b"a/1", target=C.VERSION, version=0)], [put(b"n")], [put(b"m")])]),
        get(b"m"),
    ],
    "compares of nested ones see the state before": [
        delete(b"n"),
        txn(
            [],
            [put(b"n"), txn([C(key=b"n", target=C.VERSION, version=0)], [get(b"n")], [put(b"m")])],
        ),
    ],
    "two deletes may overlap": [*THREE, txn([], [delete(*ALL), delete(b"a/2")]), get(*ALL)],
    "branches may overlap": [txn([], [put(b"o")], [put(b"o")])],
    "put in both of two branches of a nested one": [
        txn([], [txn([], [put(b"o")], [put(b"o")]), put(b"q")])
    ],
    "as many operations as are left for a nested one": [
        txn([], [*(get(b"%d" % n) for n in range(99)), txn([], [get(b"a")] * 28)])
    ],
    "lease": [grant(60), txn([], [put(b"t", lease=60)]), revoke(60), get(b"t")],
    "range with revision": [*THREE, lambda now: txn([], [get(*ALL, revision=now - 1)])],
    "sort and limit": [
        *THREE,
        txn([], [get(*ALL, sort_order=R.DESCEND, sort_target=R.VALUE, limit=2)]),
    ],
    **comparisons(),
}

COMPACTIONS: dict[str, Sequence[Step]] = {
    "physical": [*THREE, lambda now: compact(now - 1), back(0), back(1), back(2)],
    "not physical": [*THREE, lambda now: compact(now - 1, physical=False), back(1), back(2)],
    "twice": [*THREE, lambda now: compact(now - 1), lambda now: compact(now - 1)],
    "of nothing": [compact(0)],
    "negative": [compact(-1)],
    "to now": [*THREE, lambda now: compact(now), get(*ALL)],
    "beyond now": [lambda now: compact(now + 1)],
    "in a transaction's read": [
        *THREE,
        lambda now: compact(now),
        lambda now: txn([], [put(b"never"), get(*ALL, revision=now - 1)]),
        get(b"never"),
    ],
    "of a deleted key": [put(b"g"), delete(b"g"), lambda now: compact(now), get(b"g"), put(b"g")],
}


async def check(same: list[Side], steps: Sequence[Step]) -> None:
    await both_answer(same, [delete(b"\0", b"\0"), *steps])


@pytest.mark.parametrize("name", RANGES)
async def test_range(same: list[Side], name: str) -> None:
    await check(same, RANGES[name])


@pytest.mark.parametrize("name", PUTS)
async def test_put(same: list[Side], name: str) -> None:
    await check(same, PUTS[name])


@pytest.mark.parametrize("name", DELETES)
async def test_delete_range(same: list[Side], name: str) -> None:
    await check(same, DELETES[name])


@pytest.mark.parametrize("name", TXNS)
async def test_txn(same: list[Side], name: str) -> None:
    await check(same, TXNS[name])


@pytest.mark.parametrize("name", COMPACTIONS)
async def test_compact(same: list[Side], name: str) -> None:
    await check(same, COMPACTIONS[name])


async def test_the_limit_of_a_sorted_range_counts_from_its_first(same: list[Side]) -> None:
    """A target without an order sorts; etcd does so only after it has cut by keys."""
    told = []
    for side in same:
        for call in (put(b"l/1", b"z"), put(b"l/2", b"y"), put(b"l/3", b"x")):
            await side.ask(*call)
        answer = await side.ask(*get(b"l/", b"l0", sort_target=R.VALUE, limit=1))
        assert (answer.more, answer.count) == (True, 3)
        told.append(answer.kvs[0].value)
    assert told == [b"y", b"x"]


async def test_a_revision_below_0_is_none_in_transactions_too(same: list[Side]) -> None:
    read = get(b"l", revision=-1)
    await both_answer(same, [put(b"l"), lambda now: compact(now), read])
    etcd, raftkv = [await side.answer(*txn([], [read])) for side in same]
    assert "compacted" in etcd[1]
    assert "count: 1" in raftkv


async def test_requests_may_be_packed_with_gzip(same: list[Side]) -> None:
    request = pb.PutRequest(key=b"packed", value=b"v" * 10_000).SerializeToString()
    for side in same:
        call = side.channel.unary_unary("/etcdserverpb.KV/Put")
        await call(request, timeout=10, compression=grpc.Compression.Gzip)
    assert "v" * 10_000 in (await both_answer(same, [get(b"packed")]))[0]


async def test_a_difference_is_noticed(same: list[Side]) -> None:
    """The comparison itself: one side knows a key that the other does not."""
    await same[0].answer(*put(b"only etcd"))
    with pytest.raises(AssertionError, match="step 0"):
        await both_answer(same, [get(b"only etcd")])
    await same[1].answer(*put(b"only etcd"))
    assert operation(get(b"a")).HasField("request_range")
    await both_answer(same, [time_to_live(99)])
