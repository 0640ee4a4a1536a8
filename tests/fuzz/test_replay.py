"""What fuzzing has found to be worth keeping runs through its target again, without sanitizers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = sorted(file.stem for file in (HERE / "targets").glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    """The corpus, and what once was a finding: none of it may fail."""
    target = importlib.import_module(f"tests.fuzz.targets.{name}")
    kept = json.loads((HERE / "corpus" / f"{name}.json").read_text())
    assert kept["inputs"]
    for text in [*kept["findings"].values(), *kept["inputs"]]:
        target.run(bytes.fromhex(text))


@pytest.mark.parametrize("name", TARGETS)
def test_where_fuzzing_begins(name: str) -> None:
    """A target that refuses its own seeds would fuzz nothing but its refusals."""
    target = importlib.import_module(f"tests.fuzz.targets.{name}")
    for data in target.seeds():
        target.run(data)
