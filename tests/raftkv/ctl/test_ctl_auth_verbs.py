"""raftctl's auth, user and role beside the stock etcdctl on real etcds: same bytes, same codes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raftkv.compat.pair import running_etcd
from tests.raftkv.ctl.beside_etcdctl import Etcd, wait_until_healthy

pytestmark = pytest.mark.slow

FORMS = ["simple", "json", "fields", "protobuf"]

ROOT = "--user=root:pw"

LIFE: tuple[tuple[str, ...], ...] = (
    ("auth", "status"),
    ("auth", "enable"),
    ("user", "add", "root:pw"),
    ("user", "add", "root:pw"),
    ("user", "add", "u", "--new-user-password=one"),
    ("user", "add", "v", "--interactive=false"),
    ("user", "add", "cn", "--no-password"),
    ("user", "add", ":pw"),
    ("user", "add"),
    ("user", "add", "a", "b"),
    ("role", "add", "r"),
    ("role", "add", "r"),
    ("role", "add"),
    ("role", "grant-permission", "r", "readwrite", "a", "c"),
    ("role", "grant-permission", "r", "read", "p/", "--prefix"),
    ("role", "grant-permission", "r", "write", "x", "--from-key"),
    ("role", "grant-permission", "r", "read", "one"),
    ("role", "grant-permission", "r", "readwrite", "", "--prefix"),
    ("role", "grant-permission", "r", "other", "one"),
    ("role", "grant-permission", "r", "read", "a", "b", "--prefix"),
    ("role", "grant-permission", "r", "read", "a", "b", "--from-key"),
    ("role", "grant-permission", "r", "read", "a", "--prefix", "--from-key"),
    ("role", "grant-permission", "r"),
    ("role", "grant-permission", "x", "read", "a"),
    ("role", "get", "r"),
    ("role", "get", "x"),
    ("role", "get"),
    ("role", "list"),
    ("role", "list", "x"),
    ("user", "grant-role", "u", "r"),
    ("user", "grant-role", "u", "x"),
    ("user", "grant-role", "u"),
    ("user", "get", "u"),
    ("user", "get", "v"),
    ("user", "get", "x"),
    ("user", "get", "u", "--detail"),
    ("user", "list"),
    ("user", "list", "x"),
    ("user", "passwd", "v", "--interactive=false"),
    ("user", "passwd"),
    ("auth", "enable"),
    ("auth", "enable", ROOT),
    ("auth", "status", ROOT),
    ("put", "a", "1"),
    ("put", "a", "1", "--user=u:one"),
    ("put", "a", "1", "--user=u", "--password=one"),
    ("put", "a", "1", "--user=u:wrong"),
    ("get", "p", "--user=v:two"),
    ("role", "get", "root", ROOT),
    ("role", "revoke-permission", "r", "a", "c", ROOT),
    ("role", "revoke-permission", "r", "p/", "--prefix", ROOT),
    ("role", "revoke-permission", "r", "x", "--from-key", ROOT),
    ("role", "revoke-permission", "r", "one", ROOT),
    ("role", "revoke-permission", "r", "one", ROOT),
    ("role", "revoke-permission", "r", ROOT),
    ("user", "revoke-role", "u", "r", ROOT),
    ("user", "revoke-role", "u", "r", ROOT),
    ("user", "revoke-role", "u", ROOT),
    ("role", "delete", "r", ROOT),
    ("role", "delete", "r", ROOT),
    ("role", "delete", ROOT),
    ("user", "delete", "u", ROOT),
    ("user", "delete", "root", ROOT),
    ("user", "delete", ROOT),
    ("auth", "disable"),
    ("auth", "disable", ROOT),
    ("auth", "disable", "x"),
    ("auth", "status"),
)
"""One life of users and roles; wrong uses among them."""


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[tuple[Etcd, Etcd]]:
    """Two fresh etcds: one for each program."""
    flags = ["--bcrypt-cost=4"]
    with running_etcd(tmp_path / "a", flags) as one, running_etcd(tmp_path / "b", flags) as other:
        for endpoint in (one, other):
            wait_until_healthy(f"http://{endpoint}")
        yield Etcd(one), Etcd(other)


def plain(ran: subprocess.CompletedProcess[bytes]) -> bytes:
    """Return what was printed, without the ids of the cluster."""
    text = re.sub(rb'("(?:cluster_id|member_id)":)\d+', rb"\1N", ran.stdout)
    return re.sub(rb'("(?:ClusterID|MemberID)" : )\d+', rb"\1N", text)


@pytest.mark.parametrize("form", FORMS)
def test_a_life_of_users_and_roles(twins: tuple[Etcd, Etcd], form: str) -> None:
    for words in LIFE:
        if form == "fields" and words[:2] == ("user", "get"):
            continue  # etcdctl 3.5.1 panics
        all_words = (*words, "-w", form) if form != "simple" else words
        stock = twins[0].stock(*all_words, stdin=b"two\n")
        ours = twins[1].ctl(*all_words, stdin=b"two\n")
        assert (ours.returncode, form == "protobuf" or plain(ours)) == (
            *(stock.returncode, form == "protobuf" or plain(stock)),
        ), (words, stock.stderr, ours.stderr)
        if ours.returncode and stock.stderr.startswith(b"Error: etcdserver"):
            assert ours.stderr.splitlines()[0] == stock.stderr.splitlines()[0]


def test_passwords_are_asked_for_twice(
    twins: tuple[Etcd, Etcd], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["one", "other", "one", "one"])
    monkeypatch.setattr("raftkv.ctl.user.getpass", lambda _prompt: next(answers))
    refused = twins[0].ctl("user", "add", "u")
    assert (refused.returncode, refused.stderr) == (128, b"Error: given passwords are different\n")
    assert twins[0].ctl("user", "add", "u").stdout == b"User u created\n"


def test_what_cannot_be_written_is_refused_before_it_is_done(twins: tuple[Etcd, Etcd]) -> None:
    """etcdctl does it first."""
    etcd = twins[0]
    for words in (("user", "add", "u:pw"), ("role", "add", "r"), ("auth", "status")):
        assert etcd.ctl(*words, "-w", "table").returncode == 4
    assert etcd.ctl("role", "grant-permission", "r", "read", "a", "b", "c").returncode == 128
    assert etcd.ctl("user", "list").stdout == etcd.ctl("role", "list").stdout == b""
