"""Quorum arithmetic against published cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.raft.configuration import Configuration
from raftkv.raft.quorum import INDEX_MAX, VoteResult

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "raft-testdata" / "quorum"
RESULTS = {
    "VoteWon": VoteResult.WON,
    "VoteLost": VoteResult.LOST,
    "VotePending": VoteResult.PENDING,
}


def cases(name: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a file with the last line of its expected output."""
    text = "\n".join(
        line for line in (CASES / name).read_text().splitlines() if not line.startswith("#")
    )
    for block in re.split(r"\n\s*\n", text):
        if "----" in block:
            command, output = block.strip().split("\n----\n")
            yield command, output.splitlines()[-1].removeprefix("<empty majority quorum>").strip()


def numbers(command: str, key: str) -> list[str]:
    found = re.search(rf"\b{key}=\(([^)]*)\)", command)
    return [word.strip() for word in found[1].split(",") if word.strip()] if found else []


def check(command: str) -> str:
    """Run one command and say what it comes to, in the words of the file."""
    voters = [int(word) for word in numbers(command, "cfg")]
    outgoing = [int(word) for word in numbers(command, "cfgj")]
    configuration = Configuration(frozenset(voters), frozenset(outgoing))
    given = numbers(command, "idx" if command.startswith("committed") else "votes")
    order = list(dict.fromkeys(voters + outgoing))
    pairs = dict(zip(order, given, strict=True))
    if command.startswith("committed"):
        match = {voter: 0 if word == "_" else int(word) for voter, word in pairs.items()}
        index = configuration.committed(match.__getitem__)
        return "∞" if index == INDEX_MAX else str(index)
    votes = {voter: word == "y" for voter, word in pairs.items() if word != "_"}
    result = configuration.vote_result(votes)
    return next(name for name, value in RESULTS.items() if value is result)


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/raft-testdata beside the checkout")
@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("majority_commit.txt", 16),
        ("majority_vote.txt", 22),
        ("joint_commit.txt", 50),
        ("joint_vote.txt", 39),
    ],
)
def test_agrees_with_every_published_case(file: str, count: int) -> None:
    found = list(cases(file))
    assert len(found) == count
    for command, expected in found:
        assert check(command) == expected, command


def test_a_majority_of_three_and_of_four() -> None:
    three = Configuration(frozenset({1, 2, 3}))
    assert three.committed({1: 5, 2: 9, 3: 7}.__getitem__) == 7
    assert three.vote_result({1: True}) is VoteResult.PENDING
    assert three.vote_result({1: True, 2: False, 3: False}) is VoteResult.LOST
    four = Configuration(frozenset({1, 2, 3, 4}))
    assert four.committed({1: 5, 2: 9, 3: 7, 4: 8}.__getitem__) == 7
    assert four.vote_result({1: True, 2: True, 3: False, 4: False}) is VoteResult.LOST


def test_a_joint_configuration_needs_both_halves() -> None:
    """Raft §6."""
    joint = Configuration(frozenset({1, 2, 3}), frozenset({4, 5, 6}))
    assert joint.committed({1: 9, 2: 9, 3: 9, 4: 1, 5: 2, 6: 9}.__getitem__) == 2
    assert joint.vote_result({1: True, 2: True}) is VoteResult.PENDING
    assert joint.vote_result({1: True, 2: True, 4: True, 6: True}) is VoteResult.WON
    assert joint.vote_result({1: True, 2: True, 4: False, 6: False}) is VoteResult.LOST
