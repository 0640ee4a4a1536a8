"""Descriptors that clients cannot take."""

import resource
from collections.abc import Iterator

import pytest

from raftkv.descriptors import RESERVED, connections_allowed, raise_descriptor_limit


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_lifted_to_the_hard_one(few_descriptors: int) -> None:
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(few_descriptors, 1 << 20)


def test_some_descriptors_are_kept_from_clients(few_descriptors: int) -> None:
    assert connections_allowed(10_000) == 1000 - RESERVED
    assert connections_allowed(100) == 100
