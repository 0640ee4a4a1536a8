"""raftctl beside the stock etcdctl on a real etcd: the same bytes and the same exit codes."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.raftkv.ctl.beside_etcdctl import CTL, Etcd, binaries


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_keys(etcd: Etcd, form: str) -> None:
    """put, get and del in every form, with binary and non-ASCII text."""
    as_form = ("-w", form)
    etcd.check_same("put", "a/1", "one", *as_form)
    etcd.check_same("put", "a/1", "two", "--prev-kv", *as_form, write_first=("put", "a/1", "x"))
    etcd.check_same("put", "a/ключ", 'знач\x01\t"\\', *as_form)
    etcd.check_same("put", "a/2", *as_form, stdin=b"from\xff\x00input\n")
    etcd.check_same("put", "a/3", *as_form, "--", "-v")
    for words in (
        ("a/1",),
        ("a/", "--prefix"),
        ("a/", "--prefix", "--keys-only"),
        ("", "--prefix", "--limit=2"),
        ("a/2", "--from-key"),
        ("a/1", "a/3"),
        ("a/", "--prefix", "--sort-by=MODIFY", "--order=descend"),
        ("a/1", "--consistency=s"),
        ("missing",),
    ):
        etcd.check_same("get", *words, *as_form)
    etcd.check_same("del", "a/1", "--prev-kv", *as_form, write_first=("put", "a/1", "again"))
    etcd.check_same("del", "missing", *as_form)
    etcd.check_same("del", "a/9", "--prefix", *as_form, write_first=("put", "a/9", "x"))
    etcd.ctl("del", "a/", "--prefix")


def test_hex_and_values_only(etcd: Etcd) -> None:
    etcd.ctl("put", "h", "a\x01ü")
    etcd.check_same("get", "h", "--hex")
    etcd.check_same("get", "h", "--print-value-only")
    etcd.check_same("get", "h", "--keys-only=false", "--hex=true")


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
@pytest.mark.parametrize(
    "script",
    [
        b'mod("t") > "0"\nvalue("t") = "x\\ty"\n\nget t\nput u "two words"\n\n\n',
        b'ver("t") < "0"\n\nget t\n\nput t2 fail\ndel none\nget t --prefix --keys-only\n\n',
        b'create("t") != "7"\n\ndel none --prev-kv\nput t x --prev-kv\n\n\n',
        b"\nput t3 a\n\n\n",
    ],
)
def test_transactions(etcd: Etcd, form: str, script: bytes) -> None:
    etcd.check_same("txn", "-w", form, stdin=script, write_first=("put", "t", "x\ty"))


def test_a_transaction_may_compare_leases(etcd: Etcd) -> None:
    """etcdctl 3.5.1 itself panics on this comparison."""
    etcd.ctl("put", "unleased", "v")
    for lease, outcome in ((b"0", b"SUCCESS"), (b"7f", b"FAILURE")):
        ran = etcd.ctl("txn", stdin=b'lease("unleased") = "%s"\n\n\n\n' % lease)
        assert ran.stdout == outcome + b"\n"


def test_transactions_interactively(etcd: Etcd) -> None:
    etcd.check_same("txn", "-i", stdin=b'mod("none") = "0"\n\nput i 1\n\n\n')


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_leases(etcd: Etcd, form: str) -> None:
    granted = etcd.ctl("lease", "grant", "500")
    assert re.fullmatch(rb"lease [0-9a-f]{16} granted with TTL\(500s\)\n", granted.stdout)
    lease = granted.stdout.split()[1].decode()
    etcd.check_same("lease", "grant", "60", "-w", form)
    etcd.check_same("put", "leased", "v", f"--lease={lease}")
    etcd.check_same("get", "leased", "-w", form)
    etcd.check_same("lease", "timetolive", lease, "-w", form)
    etcd.check_same("lease", "timetolive", lease, "--keys", "-w", form)
    etcd.check_same("lease", "list", "-w", form)
    etcd.check_same("lease", "keep-alive", "--once", lease, "-w", form)
    assert etcd.ctl("lease", "revoke", lease).stdout == b"lease %s revoked\n" % lease.encode()
    etcd.check_same("lease", "revoke", lease)
    etcd.check_same("lease", "timetolive", lease)
    etcd.check_same("lease", "keep-alive", "--once", lease)
    etcd.check_same("lease", "keep-alive", lease)


@pytest.mark.parametrize("form", ["simple", "json", "fields", "table"])
def test_endpoints_and_members(etcd: Etcd, form: str) -> None:
    etcd.check_same("endpoint", "status", "-w", form)
    etcd.check_same("endpoint", "status", "--cluster", "-w", form)
    etcd.check_same("endpoint", "hashkv", "-w", form)
    etcd.check_same("member", "list", "-w", form)
    assert etcd.ctl("endpoint", "health", "-w", form).returncode == 0
    if form == "simple":
        etcd.check_same("endpoint", "health")


@pytest.mark.parametrize(
    "words",
    [
        ("get",),
        ("put",),
        ("put", "k"),
        ("del",),
        ("get", "a", "--prefix", "--from-key"),
        ("get", "a", "b", "--prefix"),
        ("get", "a", "--bogus"),
        ("get", "a", "--sort-by", "x"),
        ("get", "a", "--order", "x"),
        ("get", "a", "--consistency", "x"),
        ("get", "a", "-w", "x"),
        ("get", "a", "--rev", "1000000"),
        ("lease", "grant"),
        ("lease", "grant", "x"),
        ("lease", "revoke", "zz"),
        ("compaction",),
        ("compaction", "x"),
        ("compaction", "1000000"),
        ("nosuch",),
        ("watch",),
    ],
)
def test_mistakes_end_with_the_same_code_and_first_line(etcd: Etcd, words: tuple[str, ...]) -> None:
    stock, ours = etcd.stock(*words), etcd.ctl(*words)
    assert ours.returncode == stock.returncode
    said = [line for line in stock.stderr.splitlines() if line.startswith(b"Error: ")]
    want = said[0].replace(b"etcdctl", b"raftctl").rstrip()
    assert ours.stderr.splitlines()[0] == want
    assert ours.stdout == b""


@pytest.mark.parametrize(
    "script", [b'bogus("a") = "1"\n\n\n\n', b"mod(a = 1\n\n\n\n", b"\nfrob a\n\n\n"]
)
def test_malformed_transactions_are_refused(etcd: Etcd, script: bytes) -> None:
    stock, ours = etcd.stock("txn", stdin=script), etcd.ctl("txn", stdin=script)
    assert ours.returncode == stock.returncode == 3


def test_compaction_and_the_past(etcd: Etcd) -> None:
    for value in "abc":
        etcd.ctl("put", "past", value)
    answer = etcd.ctl("get", "past", "-w", "fields").stdout
    revision = int(re.findall(rb'"Revision" : (\d+)', answer)[0])
    etcd.check_same("get", "past", "--rev", str(revision - 1))
    assert etcd.ctl("compaction", str(revision - 1)).stdout == (
        b"compacted revision %d\n" % (revision - 1)
    )
    etcd.check_same("compaction", str(revision - 1))
    etcd.check_same("get", "past", "--rev", str(revision - 2))
    etcd.check_same("watch", "past", "--rev", str(revision - 2))


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_watches_print_the_past_alike(etcd: Etcd, form: str) -> None:
    """A watch from an old revision prints the same events; it is stopped after them."""
    first = etcd.ctl("put", f"w/{form}", "one", "-w", "fields").stdout
    revision = re.findall(rb'"Revision" : (\d+)', first)[0].decode()
    etcd.ctl("put", f"w/{form}", "two")
    etcd.ctl("del", f"w/{form}")
    words = ("watch", f"w/{form}", "--prefix", "--prev-kv", "--rev", revision, "-w", form)
    stock_program = (str(binaries() / "etcdctl"),)
    outputs = [read_watch(etcd, program, words) for program in (stock_program, CTL)]
    assert b"two" in outputs[0] or b"dHdv" in outputs[0]
    assert outputs[0] == outputs[1]


def read_watch(etcd: Etcd, program: tuple[str, ...], words: tuple[str, ...]) -> bytes:
    """Read what a watch prints up to its DELETE event's last line, then end it."""
    with subprocess.Popen(
        (*program, "--endpoints", etcd.endpoint, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            lines: list[bytes] = []
            after_delete = {"simple": 5, "fields": 13}.get(words[-1], 1)
            while after_delete > 0:
                lines.append(process.stdout.readline())
                assert lines[-1], "the watch has ended"
                if any(b"DELETE" in line or b'"type":1' in line for line in lines):
                    after_delete -= 1
            return b"".join(lines)
        finally:
            process.terminate()


def test_a_watch_runs_a_command_for_each_event(etcd: Etcd) -> None:
    first = etcd.ctl("put", "exec", "a b", "-w", "fields").stdout
    revision = re.findall(rb'"Revision" : (\d+)', first)[0].decode()
    script = 'echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"; exit 3'
    ran = etcd.ctl_process("watch", "exec", "--rev", revision, "--", "sh", "-c", script)
    assert ran.stdout == b'PUT\nexec\na b\n"PUT" "exec" "a b"\n'
    assert ran.returncode == 1


def test_an_interactive_watch_ends_with_its_input(etcd: Etcd) -> None:
    stock = etcd.stock("watch", "-i", stdin=b"bogus\n")
    ours = etcd.ctl_process("watch", "-i", stdin=b"bogus\n")
    assert ours.returncode == stock.returncode == 3
    assert ours.stderr == stock.stderr
