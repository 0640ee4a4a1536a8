"""Flags and environment become one checked configuration, or a list of everything wrong."""

import re
import subprocess

import pytest

from raftkv.config import Config, build_config
from raftkv.flags import FLAGS, FlagError, find_flag, parse_duration_s, read_flags, strangers
from raftkv.testing.real_etcd import etcd_binary


def check(*arguments: str, **environment: str) -> Config:
    return build_config(read_flags(arguments, environment))


def problems(*arguments: str, **environment: str) -> list[str]:
    with pytest.raises(FlagError) as caught:
        check(*arguments, **environment)
    return list(caught.value.problems)


def test_defaults_are_those_of_etcd() -> None:
    config = check()
    assert config.name == "default"
    assert config.listen_client[0].port == 2379
    assert config.cluster.members == {"default": ("http://localhost:2380",)}
    assert (config.heartbeat_interval_s, config.election_ticks) == (0.1, 10)


def test_a_flag_wins_over_raftkv_environment_which_wins_over_etcd_environment() -> None:
    assert check("--max-txn-ops=3", RAFTKV_MAX_TXN_OPS="2", ETCD_MAX_TXN_OPS="1").txn_ops_max == 3
    assert check(RAFTKV_MAX_TXN_OPS="2", ETCD_MAX_TXN_OPS="1").txn_ops_max == 2
    assert check(ETCD_MAX_TXN_OPS="1").txn_ops_max == 1


def test_both_spellings_of_a_flag_with_a_value_are_read() -> None:
    assert check("--log-level", "debug").log.level == "debug"
    assert check("-log-level=warn").log.level == "warn"
    assert check("--experimental-watch-progress-notify-interval=5s").progress_notify_interval_s == 5


def test_other_members_may_be_listened_for_at_several_urls() -> None:
    config = check("--listen-peer-urls=http://127.0.0.1:1,http://127.0.0.1:2,http://[::1]:3")
    assert (config.listen_peer.port, [one.port for one in config.listen_peer_too]) == (1, [2, 3])
    assert "cert-file" in problems("--listen-peer-urls=http://127.0.0.1:1,https://127.0.0.1:2")[0]


def test_a_three_member_cluster_is_read() -> None:
    config = check(
        "--name=b",
        "--initial-advertise-peer-urls=http://127.0.0.1:2",
        "--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3",
    )
    assert list(config.cluster.members) == ["a", "b", "c"]


def test_every_problem_is_reported_at_once() -> None:
    found = problems("--nonsense", "--max-txn-ops=x", "--enable-v2", "--name", "a", "stray")
    assert [text.split(":")[0] for text in found] == [
        "--nonsense",
        "--max-txn-ops",
        "--enable-v2",
        "'stray' is not a flag",
    ]


def test_a_member_missing_from_the_initial_cluster_is_refused() -> None:
    (found,) = problems("--name=z", "--initial-cluster=a=http://localhost:2380")
    assert "does not contain this member's name 'z'" in found


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--listen-client-urls=https://localhost:1", "needs --cert-file and --key-file"),
        ("--listen-client-urls=localhost:1", "want http://host:port"),
        ("--election-timeout=300", "at least five times"),
        ("--auto-compaction-mode=sometimes", "must be one of periodic, revision"),
        ("--auto-compaction-retention=soon", "does not suit mode periodic"),
        ("--initial-cluster-state=lost", "must be one of new, existing"),
        ("--auth-token=jwt", "sign-method must be one of"),
    ],
)
def test_a_bad_value_is_named(argument: str, words: str) -> None:
    assert words in problems(argument)[0]


def test_flags_without_meaning_here_are_accepted() -> None:
    check("--max-wals=3", "--strict-reconfig-check=false", "--auth-token=simple", "--logger", "zap")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("100ms", 0.1), ("1h30m", 5400.0), ("1.5s", 1.5)]
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5s5", "-5s", "5 s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_s(text)


def test_the_experimental_spelling_of_a_variable_is_read() -> None:
    assert (
        check(ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL="5s").progress_notify_interval_s == 5
    )
    assert check(ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK="true").initial_corrupt_check


@pytest.mark.parametrize(
    "argument",
    [
        "--initial-corrupt-check",
        "--experimental-initial-corrupt-check=true",
        "--feature-gates=InitialCorruptCheck=true",
        "--feature-gates=AllAlpha=true,InitialCorruptCheck=True,LeaseCheckpoint=false",
    ],
)
def test_a_gate_and_its_flag_mean_the_same(argument: str) -> None:
    assert check(argument).initial_corrupt_check


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NoSuchGate=true", "unknown gate 'NoSuchGate'; known are InitialCorruptCheck"),
        ("LeaseCheckpoint", "want LeaseCheckpoint=true or LeaseCheckpoint=false"),
        ("LeaseCheckpoint=maybe", "want LeaseCheckpoint=true"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(text: str, words: str) -> None:
    (found,) = problems(f"--feature-gates={text}")
    assert words in found


def test_log_flags() -> None:
    config = check("--log-outputs=default,stdout,/var/log/x", "--log-format=console")
    assert config.log.outputs == ("stderr", "stdout", "/var/log/x")
    assert config.log.format == "console"
    assert config.log.rotation is None
    rotated = check(
        "--log-outputs=/x", "--enable-log-rotation", '--log-rotation-config-json={"maxsize": 1}'
    )
    assert rotated.log.rotation is not None
    assert rotated.log.rotation.size_bytes == 1 << 20
    (found,) = problems("--enable-log-rotation")
    assert "exactly one file" in found


def test_every_flag_that_does_nothing_or_is_refused_says_why() -> None:
    for flag in FLAGS.values():
        assert flag.help, flag.name


def test_every_flag_of_etcd_is_known() -> None:
    """By the help of a real etcd, whose names are taken in either spelling."""
    told = subprocess.run([etcd_binary(), "--help"], capture_output=True, text=True, check=False)
    names = set(re.findall(r"^  --([a-z0-9-]+)", told.stdout + told.stderr, re.MULTILINE))
    assert len(names) > 60
    unknown = {name for name in names if find_flag(name) is None}
    assert not unknown - {"version", "help"}


def test_variables_that_name_no_flag_are_found() -> None:
    environment = {"ETCD_NAME": "a", "ETCD_NMAE": "b", "RAFTKV_X": "c", "RAFTKV_PURE": "1"}
    assert strangers(environment) == ["ETCD_NMAE", "RAFTKV_X"]
