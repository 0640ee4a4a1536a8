"""A configuration file of etcd configures a member of raftkv, or every problem in it is told."""

from pathlib import Path

import pytest

from raftkv.cli import read_settings
from raftkv.config import Config, build_config
from raftkv.config_file import OTHER_NAMES, SECTIONS, read_config_file
from raftkv.flags import FLAGS, FlagError, Value

ETCD_SAMPLE = """
# The shape of etcd's own sample file, absent values included.
name: 'a'
data-dir: /var/lib/a
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  client-cert-auth: false
  allowed-cn:
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: []
tls-min-version: 'TLS1.2'
"""


def write(directory: Path, text: str) -> Path:
    file = directory / "etcd.conf.yml"
    file.write_text(text)
    return file


def check(directory: Path, text: str) -> Config:
    return build_config(read_config_file(write(directory, text)))


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(FlagError) as caught:
        read_config_file(write(directory, text))
    return [one.removeprefix(f"{directory / 'etcd.conf.yml'}: ") for one in caught.value.problems]


def test_a_file_of_the_shape_of_etcds_sample_is_read(tmp_path: Path) -> None:
    config = check(tmp_path, ETCD_SAMPLE)
    assert (config.name, config.data_dir) == ("a", Path("/var/lib/a"))
    assert not config.reconfiguration.strict
    assert config.compaction.period_s == 3600
    assert config.log.level == "debug"
    assert config.cluster.token == "etcd-cluster"


def test_durations_are_text_or_nanoseconds(tmp_path: Path) -> None:
    spelling = "experimental-watch-progress-notify-interval"
    assert check(tmp_path, f"{spelling}: 5s").progress_notify_interval_s == 5
    assert check(tmp_path, f"{spelling}: 7000000000").progress_notify_interval_s == 7


def test_lists_are_joined(tmp_path: Path) -> None:
    config = check(tmp_path, "log-outputs: [stderr, /tmp/x.log]")
    assert config.log.outputs == ("stderr", "/tmp/x.log")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = """
nmae: a
snapshot-count: many
heartbeat-interval: yes
discovery: http://there
client-transport-security: [a]
peer-transport-security:
  certfile: x
"""
    assert sorted(problems(tmp_path, text)) == [
        "client-transport-security: wants keys below it, not ['a']",
        "discovery: members are not discovered here; name them all with --initial-cluster",
        "heartbeat-interval: wants a whole number, not True",
        "nmae: unknown key",
        "peer-transport-security.certfile: unknown key",
        "snapshot-count: want a whole number, not 'many'",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: [a", "is not YAML"),
        ("- a\n- b", "is not a list of `flag: value` lines"),
        ("config-file: other", "unknown key"),
        ("a: " + "x" * (1 << 20), "is larger than"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: str, words: str) -> None:
    assert words in " ".join(problems(tmp_path, content))


def test_an_empty_file_means_all_defaults(tmp_path: Path) -> None:
    assert check(tmp_path, "").name == "default"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FlagError, match="No such file"):
        read_config_file(tmp_path / "none")


def test_the_file_stands_instead_of_flags_and_environment(tmp_path: Path) -> None:
    file = write(tmp_path, "name: from-file")
    for arguments, environment in (
        (["--name=flag", f"--config-file={file}"], {}),
        (["-config-file", str(file), "--max-txn-ops", "7"], {}),
        ([], {"ETCD_CONFIG_FILE": str(file), "ETCD_MAX_TXN_OPS": "7"}),
    ):
        values: dict[str, Value] = read_settings(arguments, environment, "raftkv")
        assert values["name"] == "from-file"
        assert values["max-txn-ops"] == 128


def test_sections_and_aliases_name_flags_that_exist() -> None:
    for section in SECTIONS.values():
        assert set(section.values()) <= set(FLAGS)
    assert set(OTHER_NAMES.values()) <= set(FLAGS)
