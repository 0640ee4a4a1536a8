"""Users and prefixes are held to their rates; nobody is while nothing is limited."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from raftkv._native.http2 import Stream
from raftkv.config import build_config
from raftkv.flags import FlagError, read_flags
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rate_limit import RateLimit, RateLimitConfig, TokenBucket, parse_rate_limit
from raftkv.rpc.rate_limits import USERS_MAX, RateLimits, meets

PUT, TXN, GRANT = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn", "/etcdserverpb.Lease/LeaseGrant"


@dataclass
class Caller:
    """A stream as the limits see it."""

    name: str = ""
    peer: tuple[str, int] = ("10.0.0.1", 1)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def fail(self, code: int, text: str) -> bool:
        self.failures.append((code, text))
        return True


class Limited:
    """Limits on a clock that stands still until it is told."""

    def __init__(self, config: RateLimitConfig) -> None:
        self.now = 0.0
        self.limits = RateLimits(config, lambda s: cast(Any, s).name, lambda: self.now)

    def passes(self, caller: Caller, path: str = PUT, message: bytes = b"") -> bool:
        handler = self.limits.unary(path, lambda _stream, _message: "passed")
        return handler(cast(Stream, caller), message) == "passed"


def put(key: bytes) -> bytes:
    return pb.PutRequest(key=key).SerializeToString()


def test_a_bucket_refills_to_its_burst_and_no_further() -> None:
    bucket = TokenBucket(RateLimit(2.0, 3), 0.0)
    assert [bucket.take(1, 0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(1, 0.5)
    assert not bucket.take(1, 0.5)
    assert [bucket.take(1, 100.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_more_than_a_burst_passes_a_full_bucket_and_leaves_a_debt() -> None:
    bucket = TokenBucket(RateLimit(1.0, 2), 0.0)
    assert bucket.take(5, 0.0)
    assert not bucket.take(1, 3.0)
    assert bucket.take(1, 4.0)


def test_each_user_has_a_rate_of_his_own() -> None:
    limited = Limited(RateLimitConfig(per_user=RateLimit(1.0, 2)))
    alice, bob = Caller("alice"), Caller("bob")
    assert [limited.passes(alice) for _ in range(3)] == [True, True, False]
    assert alice.failures == [(2, "etcdserver: too many requests")]  # as etcd sends it
    assert limited.passes(bob, GRANT)
    limited.now = 1.0
    assert limited.passes(alice)


def test_without_a_name_the_address_counts() -> None:
    limited = Limited(RateLimitConfig(per_user=RateLimit(1.0, 1)))
    assert limited.passes(Caller(peer=("10.0.0.1", 5)))
    assert not limited.passes(Caller(peer=("10.0.0.1", 6)))
    assert limited.passes(Caller(peer=("10.0.0.2", 5)))


def test_users_that_are_counted_are_bounded() -> None:
    limited = Limited(RateLimitConfig(per_user=RateLimit(1.0, 1)))
    for number in range(USERS_MAX + 5):
        assert limited.passes(Caller(str(number)))
    assert len(limited.limits._users) == USERS_MAX


def test_a_prefix_is_limited_for_all_users_together() -> None:
    limited = Limited(RateLimitConfig(per_prefix={b"hot/": RateLimit(1.0, 2)}))
    for name, passed in (("a", True), ("b", True), ("c", False)):
        assert limited.passes(Caller(name), PUT, put(b"hot/x")) is passed
    assert limited.passes(Caller("c"), PUT, put(b"cold/x"))
    assert limited.passes(Caller("c"), GRANT, b"")
    assert limited.passes(Caller("c"), PUT, b"\xff")


def test_a_transaction_counts_for_each_of_its_keys_or_not_at_all() -> None:
    limits = {b"a/": RateLimit(1.0, 3), b"b/": RateLimit(1.0, 1)}
    limited = Limited(RateLimitConfig(per_prefix=limits))
    keys = (b"a/1", b"a/2", b"b/1")
    ops = [pb.RequestOp(request_put=pb.PutRequest(key=key)) for key in keys]
    nested = pb.RequestOp(request_txn=pb.TxnRequest(failure=ops))
    message = pb.TxnRequest(success=[nested]).SerializeToString()
    assert limited.passes(Caller(), TXN, message)
    limited.now = 1.0
    assert limited.passes(Caller(), PUT, put(b"b/x"))  # b/ is empty now, a/ has two
    assert not limited.passes(Caller(), TXN, message)
    assert limited.passes(Caller(), PUT, put(b"a/x"))
    assert limited.passes(Caller(), PUT, put(b"a/x"))
    assert not limited.passes(Caller(), PUT, put(b"a/x"))


@pytest.mark.parametrize(
    ("key", "range_end", "met"),
    [
        (b"p/1", b"", True),
        (b"p", b"", False),
        (b"p", b"q", True),
        (b"a", b"\0", True),
        (b"\0", b"\0", True),
        (b"a", b"p/", False),
        (b"p/x", b"p/y", True),
        (b"q", b"\0", False),
    ],
)
def test_a_range_meets_a_prefix_where_they_share_a_key(
    key: bytes, range_end: bytes, met: bool
) -> None:
    assert meets((key, range_end), b"p/") is met


def test_without_limits_handlers_are_left_alone() -> None:
    limits = RateLimits(RateLimitConfig(), lambda _: "")

    def handler(_stream: Stream, _message: bytes) -> None: ...

    assert limits.unary(PUT, handler) is handler
    limited = RateLimits(RateLimitConfig(RateLimit(1.0, 1)), lambda _: "")
    assert limited.unary("/etcdserverpb.Maintenance/Alarm", handler) is handler


def test_flags_describe_limits() -> None:
    given = ["--rate-limit-per-user=2.5:10", "--rate-limit-per-prefix=/a=b/=5,/c/=1:2"]
    config = build_config(read_flags(given, {})).rate_limits
    assert config.per_user == RateLimit(2.5, 10)
    assert config.per_prefix == {b"/a=b/": RateLimit(5.0, 5), b"/c/": RateLimit(1.0, 2)}
    assert build_config(read_flags([], {})).rate_limits == RateLimitConfig()
    assert parse_rate_limit("0.2") == RateLimit(0.2, 1)
    for wrong in ("--rate-limit-per-user=0", "--rate-limit-per-prefix=5"):
        with pytest.raises(FlagError, match="rate"):
            build_config(read_flags([wrong], {}))
