"""docs/compatibility.md names a test for each row, and each of them exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from raftkv.pb.etcd import election_pb2, lock_pb2, rpc_pb2

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs" / "compatibility.md"
PLACE = "tests/raftkv/"
TEST = re.compile(r"`([a-z0-9_/]+\.py::[^`]+)`")

pytestmark = pytest.mark.slow


def rows() -> list[str]:
    lines = TABLE.read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| option")]


def named() -> set[str]:
    return set(TEST.findall(TABLE.read_text()))


def test_every_row_names_a_test() -> None:
    assert len(rows()) > 150
    without = [row for row in rows() if not TEST.search(row) and not row.startswith("| |")]
    assert without == []


def test_every_test_that_is_named_exists() -> None:
    files = sorted({PLACE + name.split("::")[0] for name in named()})
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    collected = {line.removeprefix(PLACE) for line in told.splitlines() if "::" in line}
    known = collected | {name.split("[")[0] for name in collected}
    assert named() - known == set()


def test_every_rpc_has_a_row() -> None:
    """Each method of each service is named in the table, or is what its section is about."""
    text = TABLE.read_text()
    services = [*rpc_pb2.DESCRIPTOR.services_by_name.values()]
    for module in (lock_pb2, election_pb2):
        services += module.DESCRIPTOR.services_by_name.values()
    sections = {"Range", "RangeStream", "Put", "DeleteRange", "Txn", "Compact", "Watch"}
    users = re.compile(r"^(User|Role|Auth)")
    for service in services:
        for method in service.methods:
            if method.name in sections:
                assert f"## KV.{method.name}" in text or f"## {method.name}" in text, method.name
            elif not users.match(method.name):
                assert method.name in text, method.name
