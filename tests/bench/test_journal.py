"""A comparison that was cut goes on from its file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.journal import Header, Journal
from bench.target import Sample

HEADER: Header = {"commit": "abc", "keys": 1000}


def filled(path: Path) -> Journal:
    journal = Journal(path, HEADER)
    journal.add("put-1", "raftkv", Sample(1.5, p99_ms=math.inf))
    journal.add("put-1", "raftkv", Sample(2.5))
    journal.add("put-1", "etcd", Sample(3.5))
    journal.add_rate("served", 1234.5)
    journal.add_note("put-1", "a note")
    journal.add_failure("put-64", "lost")
    return journal


def test_what_was_measured_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    filled(path)
    again = Journal.resume(path, HEADER)
    assert again.samples("put-1", "raftkv") == [Sample(1.5, p99_ms=math.inf), Sample(2.5)]
    assert again.samples("put-1", "etcd") == [Sample(3.5)]
    assert (again.rates, again.notes) == ({"served": 1234.5}, {"put-1": "a note"})
    assert not again.failures, "what failed is tried again"
    assert again.complete("put-1", ["raftkv", "etcd"], 1)
    assert not again.complete("put-1", ["raftkv", "etcd"], 2)


def test_it_is_resumed_twice_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    filled(path)
    path.write_text(path.read_text() + '{"what": "sample", "name": "put-1", "prog')
    Journal.resume(path, HEADER).add("put-1", "etcd", Sample(4.5))
    assert Journal.resume(path, HEADER).samples("put-1", "etcd") == [Sample(3.5), Sample(4.5)]


def test_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    filled(path)
    with pytest.raises(ValueError, match="keys 1000, now 7"):
        Journal.resume(path, {**HEADER, "keys": 7})
    with pytest.raises(ValueError, match="nothing to resume"):
        Journal.resume(tmp_path / "none", HEADER)


def test_a_finished_run_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    filled(path).remove()
    assert not path.exists()
