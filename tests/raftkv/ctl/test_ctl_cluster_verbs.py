"""Verbs that change the cluster or hold something, beside the stock etcdctl on a real etcd."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.ctl.beside_etcdctl import CTL, Etcd, binaries

Run = Callable[..., subprocess.CompletedProcess[bytes]]

FORMS = ["simple", "json", "fields", "table", "protobuf"]
PROGRAMS = ((str(binaries() / "etcdctl"),), CTL)
IDS = ["etcdctl", "raftctl"]


def plain(text: bytes) -> bytes:
    """Blank what differs between two runs: ids of leases and members, numbers of revisions."""
    text = re.sub(rb'"(revision|raft_term|create_revision|mod_revision|lease|ID)":\d+', b"N", text)
    text = re.sub(rb'"key":"[^"]*"', b"K", text)
    text = re.sub(rb'"(Revision|CreateRevision|ModRevision|Lease|ID)" : \d+', b"N", text)
    return re.sub(rb"[0-9a-f]{14,16}", b"X", text)


@pytest.mark.parametrize("form", FORMS)
def test_alarms(etcd: Etcd, form: str) -> None:
    etcd.check_same("alarm", "list", "-w", form)
    etcd.check_same("alarm", "list", "--hex")
    if form != "fields":  # etcdctl 3.5.1 panics
        etcd.check_same("alarm", "disarm", "-w", form)


def test_defrag_says_which_members_it_did(etcd: Etcd) -> None:
    etcd.check_same("defrag")
    etcd.check_same("defrag", "--cluster")
    stock, ours = (
        run("--endpoints", f"127.0.0.1:1,{etcd.endpoint}", "defrag", "--command-timeout=300ms")
        for run in (etcd.stock, etcd.ctl)
    )
    assert ours.stdout == stock.stdout
    assert ours.returncode == stock.returncode == 1
    assert ours.stderr.startswith(
        b"Failed to defragment etcd member[127.0.0.1:1] (context deadline"
    )


@pytest.mark.parametrize("form", ["simple", "json"])
def test_a_learner_is_added_updated_and_removed(etcd: Etcd, form: str) -> None:
    outputs = []
    for run in (etcd.stock, etcd.ctl):
        said = [add_learner(run, form)]
        listed = json.loads(etcd.ctl("member", "list", "-w", "json").stdout)["members"]
        new = next(f"{one['ID']:x}" for one in listed if one.get("isLearner"))
        said.append(run("member", "promote", new, "-w", form))
        said.append(run("member", "update", new, "--peer-urls=http://127.0.0.1:49998", "-w", form))
        said.append(run("member", "remove", new, "-w", form))
        outputs.append([(one.returncode, without_member(one.stdout)) for one in said])
    assert outputs[1] == outputs[0]
    assert [code for code, _ in outputs[1]] == [0, 1, 0, 0]


def add_learner(run: Run, form: str) -> subprocess.CompletedProcess[bytes]:
    """Add one, repeatedly: a cluster refuses until its members are connected for five seconds, and
    ids are made of URLs and seconds, so that one that was just removed is not free yet."""
    url = "--peer-urls=http://127.0.0.1:49997"
    for _ in range(400):
        added = run("member", "add", "new", "--learner", url, "-w", form)
        if added.returncode == 0:
            return added
        assert re.search(b"unhealthy cluster|member not found", added.stderr), added.stderr
        threading.Event().wait(0.05)
    raise AssertionError("the cluster takes no members")


def without_member(text: bytes) -> bytes:
    """Blank a member's id, and where it stands among the others."""
    blank = re.sub(rb"(?<=Member )[ 0-9a-f]{16}", b"X", text)
    blank = re.sub(rb'"ID":\d+|"raft_term":\d+', b"N", blank)
    return bytes(sorted(blank))


def test_changes_of_members_as_protobuf(etcd: Etcd) -> None:
    answers = []
    for run in (etcd.stock, etcd.ctl):
        added = pb.MemberAddResponse.FromString(add_learner(run, "protobuf").stdout)
        new, url = f"{added.member.ID:x}", "--peer-urls=http://127.0.0.1:49998"
        updated = pb.MemberUpdateResponse.FromString(
            run("member", "update", new, url, "-w", "protobuf").stdout
        )
        removed = pb.MemberRemoveResponse.FromString(
            run("member", "remove", new, "-w", "protobuf").stdout
        )
        answers.append(
            [
                added.header.cluster_id,
                list(added.member.peerURLs),
                *(
                    sorted(str(one.peerURLs) for one in m.members)
                    for m in (added, updated, removed)
                ),
            ]
        )
    assert answers[0] == answers[1]


@pytest.mark.parametrize("words", [("add", "x"), ("update", "1"), ("remove", "1")])
@pytest.mark.parametrize("form", ["fields", "table"])
def test_changes_of_members_have_no_tables(etcd: Etcd, words: tuple[str, ...], form: str) -> None:
    ran = etcd.ctl("member", *words, "--peer-urls=http://127.0.0.1:1", "-w", form) if (
        words[0] != "remove"
    ) else etcd.ctl("member", *words, "-w", form)  # fmt: skip
    assert ran.returncode == 4
    assert ran.stderr.startswith(f"Error: {form} not supported as output format".encode())


@pytest.mark.parametrize(
    "words",
    [
        ("member", "add"),
        ("member", "add", "x"),
        ("member", "add", "x", "--peer-urls", ""),
        ("member", "add", "x", "--peer-urls", "bogus"),
        ("member", "add", "x", "--peer-urls", "http://host"),
        ("member", "remove"),
        ("member", "remove", "zz"),
        ("member", "remove", "12"),
        ("member", "update"),
        ("member", "update", "12"),
        ("member", "update", "12", "--peer-urls", "http://127.0.0.1:1"),
        ("member", "promote"),
        ("member", "promote", "zz"),
        ("member", "promote", "12"),
        ("move-leader",),
        ("move-leader", "zz"),
        ("move-leader", "1"),
        ("alarm", "list", "x"),
        ("alarm", "disarm", "x"),
        ("lock",),
        ("elect",),
        ("elect", "a", "b", "c"),
        ("elect", "-l", "a", "b"),
        ("check", "perf", "--load", "bogus"),
        ("check", "datascale", "--load", "bogus"),
        ("endpoint", "health", "-w", "protobuf"),
        ("endpoint", "status", "-w", "protobuf"),
        ("endpoint", "hashkv", "-w", "protobuf"),
        ("put", "a", "b", "-w", "table"),
    ],
)
def test_mistakes_end_alike(etcd: Etcd, words: tuple[str, ...]) -> None:
    stock, ours = etcd.stock(*words), etcd.ctl(*words)
    assert ours.returncode == stock.returncode
    told = [line for line in stock.stderr.splitlines() if line.startswith(b"Error: ")]
    assert ours.stderr.splitlines()[0] == told[0].rstrip()


def test_a_command_runs_under_a_lock(etcd: Etcd) -> None:
    """Its exit code is the lock's; key and revision are in its environment."""
    for code in ("0", "7"):
        script = f'echo "$ETCD_LOCK_KEY $ETCD_LOCK_REV"; exit {code}'
        stock, ours = (run("lock", "l", "--", "sh", "-c", script) for run in (
            etcd.stock, etcd.ctl_process))  # fmt: skip
        assert ours.returncode == stock.returncode == int(code)
        assert ours.stderr == stock.stderr
        assert re.fullmatch(rb"l/[0-9a-f]{15,16} \d+\n", ours.stdout)
    etcd.check_same("lock", "l", "no-such-program")
    left = etcd.ctl("get", "l/", "--prefix", "--count-only", "-w", "fields")
    assert b'"Count" : 0' in left.stdout


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_a_lock_is_held_until_a_signal(etcd: Etcd, form: str) -> None:
    answers = [held(etcd, program, ("lock", "held", "-w", form)) for program in PROGRAMS]
    assert answers[1] == answers[0]
    assert answers[1][1] == 0


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_a_leader_leads_until_a_signal(etcd: Etcd, form: str) -> None:
    answers = [held(etcd, program, ("elect", "e", "me", "-w", form)) for program in PROGRAMS]
    assert answers[1] == answers[0]
    assert answers[1][1] == 0


def held(etcd: Etcd, program: tuple[str, ...], words: tuple[str, ...]) -> tuple[bytes, int]:
    """Start what holds something, read what it prints, interrupt it; returns text and code."""
    count = {"simple": 2, "json": 1, "fields": 12}[words[-1]]
    with subprocess.Popen(
        (*program, "--endpoints", etcd.endpoint, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        return plain(b"".join(lines) + rest), process.wait(10)


@pytest.mark.parametrize("holder", PROGRAMS, ids=IDS)
@pytest.mark.parametrize("waiter", PROGRAMS, ids=IDS)
def test_both_programs_queue_for_one_lock(
    etcd: Etcd, holder: tuple[str, ...], waiter: tuple[str, ...]
) -> None:
    """The second gets the lock only when the first lets go."""
    first = start(etcd, holder, "lock", "shared")
    assert first.stdout is not None
    assert first.stdout.readline().startswith(b"shared/")
    second = start(etcd, waiter, "lock", "shared", "echo", "mine")
    wait_for_keys(etcd, "shared/", 2)
    assert second.poll() is None
    first.send_signal(signal.SIGINT)
    out, _ = second.communicate(timeout=10)
    assert out == b"mine\n"
    first.communicate(timeout=10)
    assert first.returncode == second.returncode == 0


@pytest.mark.parametrize("listener", PROGRAMS, ids=IDS)
@pytest.mark.parametrize("leader", PROGRAMS, ids=IDS)
def test_a_listener_hears_of_each_leader(
    etcd: Etcd, listener: tuple[str, ...], leader: tuple[str, ...]
) -> None:
    name = f"office-{PROGRAMS.index(listener)}{PROGRAMS.index(leader)}"
    first = start(etcd, leader, "elect", name, "one")
    second = None
    listening = start(etcd, listener, "elect", "-l", name)
    try:
        assert listening.stdout is not None
        wait_for_keys(etcd, f"{name}/", 1)
        listening.stdout.readline()
        assert listening.stdout.readline() == b"one\n"
        second = start(etcd, leader, "elect", name, "two")
        wait_for_keys(etcd, f"{name}/", 2)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=10)
        listening.stdout.readline()
        assert listening.stdout.readline() == b"two\n"
    finally:
        for process in (first, second, listening):
            if process is not None:
                process.kill()
                process.communicate()


def start(etcd: Etcd, program: tuple[str, ...], *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*program, "--endpoints", etcd.endpoint, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def wait_for_keys(etcd: Etcd, prefix: str, count: int) -> None:
    found = b""
    for _ in range(400):
        found = etcd.ctl("get", prefix, "--prefix", "--count-only", "-w", "fields").stdout
        if b'"Count" : %d\n' % count in found:
            return
        threading.Event().wait(0.02)
    raise AssertionError(f"not {count} keys below {prefix}: {found.decode()}")


@pytest.mark.parametrize("words", [("put", "pb", "1"), ("get", "pb"), ("del", "pb")])
def test_protobuf_is_what_the_server_answered(etcd: Etcd, words: tuple[str, ...]) -> None:
    etcd.ctl("put", "pb", "0")
    stock, ours = (run(*words, "-w", "protobuf") for run in (etcd.stock, etcd.ctl))
    assert ours.returncode == stock.returncode == 0
    # Revisions grow between the two runs, and with them their bytes; ids come before them.
    assert abs(len(ours.stdout) - len(stock.stdout)) <= 2
    assert ours.stdout[2:23] == stock.stdout[2:23]


def test_checks(etcd: Etcd) -> None:
    ran = etcd.ctl("check", "perf", "--duration=400ms", "--auto-compact", "--auto-defrag")
    lines = ran.stdout.decode().splitlines()
    assert lines[0].startswith("Compacted with revision ")
    assert lines[1] == "Defragmented"
    assert [line.split(":")[1].split()[0] for line in lines[2:5]] == [
        "Throughput", "Slowest", "Stddev",
    ]  # fmt: skip
    assert lines[5] in ("PASS", "FAIL")
    ran = etcd.ctl("check", "datascale", "--keys=50")
    assert re.fullmatch(
        rb"Start data scale check for work load \[50 key-value pairs, 1024 bytes per key-value, "
        rb"50 concurrent clients\]\.\nPASS: Approximate system memory used : [\d.]+ MB\.\n",
        ran.stdout,
    )
    etcd.ctl("put", "/etcdctl-check-perf/x", "left over")
    refused = etcd.ctl("check", "perf", "--duration=400ms")
    assert refused.returncode == 3
    assert b"has keys" in refused.stderr
    etcd.ctl("del", "/etcdctl-check-perf/x")
