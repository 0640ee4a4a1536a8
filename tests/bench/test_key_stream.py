"""The numbers of keys follow their distribution, inside the space, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.native.key_stream import KeyStream

ORDERS = ["uniform", "zipfian", "sequential"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("space", [1, 2, 3, 1000])
def test_numbers_are_in_the_space_and_reproducible(order: str, space: int) -> None:
    numbers = KeyStream(order, space, seed=7).take(5000)
    assert set(numbers) <= set(range(space))
    assert numbers == KeyStream(order, space, seed=7).take(5000)


def test_seeds_differ() -> None:
    assert KeyStream("uniform", 1000, seed=1).take(20) != KeyStream("uniform", 1000, seed=2).take(
        20
    )


def test_sequential_goes_round_by_its_stride() -> None:
    assert KeyStream("sequential", 10, stride=4).take(6) == [0, 4, 8, 2, 6, 0]


def test_uniform_treats_all_keys_alike() -> None:
    counts = Counter(KeyStream("uniform", 100).take(100_000))
    assert len(counts) == 100
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_zipfian_is_as_hot_as_its_law() -> None:
    """The hottest of 1,000 keys has 1 / zeta(1000, 0.99) of all, the second 1 / 2^0.99 of that."""
    counts = [n for _, n in Counter(KeyStream("zipfian", 1000).take(200_000)).most_common(2)]
    zeta = sum(1 / i**0.99 for i in range(1, 1001))
    assert counts[0] == pytest.approx(200_000 / zeta, rel=0.05)
    assert counts[1] == pytest.approx(200_000 / zeta / 2**0.99, rel=0.05)


@pytest.mark.parametrize("arguments", [("random", 10, 1), ("uniform", 0, 1), ("sequential", 5, 0)])
def test_nonsense_is_refused(arguments: tuple[str, int, int]) -> None:
    order, space, stride = arguments
    with pytest.raises(ValueError, match=r"one of|at least 1"):
        KeyStream(order, space, stride=stride)
