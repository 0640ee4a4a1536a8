"""The small languages of raftctl: flags, Go's quoting, transactions, help."""

from __future__ import annotations

import pytest

from raftkv.ctl import cli, help_text, kv
from raftkv.ctl.errors import CommandError, ExitCode
from raftkv.ctl.flag_set import Flag, parse
from raftkv.ctl.go_text import QuoteError, duration, quoted, size, unquoted
from raftkv.ctl.output import ascii_table
from raftkv.ctl.txn_script import comparison, request, words
from raftkv.pb.etcd import rpc_pb2 as pb


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", '"plain"'),
        (b'a"b\\c\n\t\x01\x7f', r'"a\"b\\c\n\t\x01\x7f"'),
        ("ключ ✓".encode(), '"ключ ✓"'),
        (b"\xff\xfe", r'"\xff\xfe"'),
        ("\u200b\U000e0001".encode(), r'"\u200b\U000e0001"'),
    ],
)
def test_go_strings_are_written_and_read_back(raw: bytes, text: str) -> None:
    assert quoted(raw) == text
    assert unquoted(text + " rest") == (raw, " rest")


@pytest.mark.parametrize("text", ['"open', "bare", r'"\q"', r'"\xZZ"', "`open", ""])
def test_broken_go_strings_are_refused(text: str) -> None:
    with pytest.raises(QuoteError):
        unquoted(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (1_500, "1.5µs"),
        (2_430_428, "2.430428ms"),
        (5_000_382_510, "5.00038251s"),
        (60_000_000_000, "1m0s"),
        (3_723_004_000_000, "1h2m3.004s"),
    ],
)
def test_durations_are_go_s(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (9, "9 B"), (999, "999 B"), (1000, "1.0 kB"), (20480, "20 kB"),
     (1_500_000, "1.5 MB"), (2_147_483_648, "2.1 GB")],
)  # fmt: skip
def test_sizes_are_etcdctl_s(count: int, text: str) -> None:
    assert size(count) == text


def test_flags_stand_anywhere_and_in_every_spelling() -> None:
    flags = (Flag("rev", 0, ""), Flag("prefix", False, ""), Flag("out", "", "", "w"))
    for line in (
        ["a", "--rev", "7", "--prefix", "b", "-w", "json"],
        ["--rev=7", "-w=json", "a", "--prefix=true", "b"],
        ["-wjson", "--prefix", "--rev=0x7", "--", "a", "b"],
    ):
        parsed = parse(flags, line, lambda name: None)
        assert parsed.arguments == ("a", "b")
        assert dict(parsed.flags.items()) == {"rev": 7, "prefix": True, "out": "json"}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["--no"], "unknown flag: --no"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["--rev"], "flag needs an argument: --rev"),
        (["--rev=x"], 'invalid argument "x" for "--rev" flag'),
        (["--user=root"], "--user is not supported yet"),
    ],
)
def test_wrong_flags_are_refused(line: list[str], text: str) -> None:
    flags = (Flag("rev", 0, ""), Flag("user", "", "", refused="is not supported yet"))
    with pytest.raises(CommandError) as caught:
        parse(flags, line, lambda name: None)
    assert caught.value.text == text


def test_the_environment_stands_behind_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", "etcd:1")
    assert cli.from_environment("endpoints") == "etcd:1"
    monkeypatch.setenv("RAFTCTL_ENDPOINTS", "raft:1")
    assert cli.from_environment("endpoints") == "raft:1"
    flags = (Flag("endpoints", "default", ""),)
    for line, want in (([], "raft:1"), (["--endpoints=line:1"], "line:1")):
        assert parse(flags, line, cli.from_environment).flags.text("endpoints") == want
    monkeypatch.setenv("ETCDCTL_PREFIX", "true")
    assert cli.from_environment("prefix") is None


def test_comparisons() -> None:
    assert comparison('mod("a\\tb") > "5"') == pb.Compare(
        key=b"a\tb", target=pb.Compare.MOD, result=pb.Compare.GREATER, mod_revision=5
    )
    assert comparison('val("a") != "x y"') == pb.Compare(
        key=b"a", target=pb.Compare.VALUE, result=pb.Compare.NOT_EQUAL, value=b"x y"
    )
    assert comparison('lease("a") = "ff"').lease == 255
    for wrong in ("mod", 'mod("a" > "1"', 'mod("a") ~ "1"', 'mod("a") > "x"', 'x("a") = "1"'):
        with pytest.raises(CommandError) as caught:
            comparison(wrong)
        assert caught.value.code is ExitCode.INVALID_INPUT


def test_requests() -> None:
    assert words("put 'a b' \"c\\n\" d") == ["put", "a b", "c\n", "d"]
    put = request('put k "two words" --lease=1f').request_put
    assert put == pb.PutRequest(key=b"k", value=b"two words", lease=31)
    assert request("get k --prefix --limit 3").request_range == pb.RangeRequest(
        key=b"k", range_end=b"l", limit=3
    )
    assert request("del a b").request_delete_range == pb.DeleteRangeRequest(
        key=b"a", range_end=b"b"
    )
    for wrong, code in (("frob", 3), ("put k", 128), ("get", 128), ("get a --bogus", 1)):
        with pytest.raises(CommandError) as caught:
            request(wrong)
        assert caught.value.code == code


def test_a_table_in_a_pipe_is_plain() -> None:
    drawn = list(ascii_table(("ID", "NAME"), [("1", "long name"), ("22", "x")]))
    assert drawn == [
        "+----+-----------+",
        "| ID |   NAME    |",
        "+----+-----------+",
        "|  1 | long name |",
        "| 22 |         x |",
        "+----+-----------+",
    ]


def test_verbs_are_found_between_the_flags() -> None:
    found = cli.find(["--endpoints", "x:1", "-w", "json", "lease", "grant", "60"])
    assert not isinstance(found, str)
    assert found[0].path == ("lease", "grant")
    assert found[1] == ["--endpoints", "x:1", "-w", "json", "60"]
    with pytest.raises(CommandError, match="not a command of raftctl yet"):
        cli.find(["lease", "lend", "7"])


def test_help_names_every_command_and_its_flags() -> None:
    overview = cli.find(["--help"])
    assert isinstance(overview, str)
    for command in cli.COMMANDS:
        assert f"  {' '.join(command.path)} " in overview
        assert max(map(len, help_text.of_command(command).splitlines())) <= 100
    described = help_text.of_command(kv.COMMANDS[1])
    assert all(f"--{flag.name} " in described for flag in kv.GET_FLAGS)
