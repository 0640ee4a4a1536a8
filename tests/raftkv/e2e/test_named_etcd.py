"""A program named etcd, started with etcd's flags, is taken for etcd by what starts members."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.testing.etcdctl import installed
from raftkv.testing.ports import free_port

READY = "ready to serve client requests"
DEADLINE_S = 20


@pytest.fixture
def program(tmp_path: Path) -> str:
    """The entry point under the name etcd, as a link to the installed script is."""
    script = tmp_path / "raftkv-entry"
    script.write_text(
        f"#!{sys.executable}\nfrom raftkv.cli import main\nraise SystemExit(main())\n"
    )
    script.chmod(0o755)
    link = tmp_path / "etcd"
    link.symlink_to(script)
    return str(link)


class Started:
    """A member whose output is read as those who start one do: line by line, until it is ready."""

    def __init__(self, arguments: list[str], directory: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
        )
        self.lines: list[str] = []
        self._late = threading.Timer(DEADLINE_S, self.process.kill)
        self._late.start()

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if READY in line:
                return
        raise AssertionError("".join(self.lines))

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=DEADLINE_S)
        self._late.cancel()
        self._late.join()
        return self.process.returncode


@pytest.fixture
def members(tmp_path: Path, program: str) -> Iterator[tuple[list[Started], list[str]]]:
    """Three, with the flags that pifpaf gives them."""
    clients = [f"http://localhost:{free_port()}" for _ in range(3)]
    peers = [f"http://localhost:{free_port()}" for _ in range(3)]
    cluster = ",".join(f"pifpaf{number}={url}" for number, url in enumerate(peers))
    started = []
    for number in range(3):
        arguments = [
            *(program, "--data-dir", str(tmp_path / str(number)), "--name", f"pifpaf{number}"),
            *("--listen-client-urls", clients[number]),
            *("--advertise-client-urls", clients[number]),
            *("--listen-peer-urls", peers[number]),
            *("--initial-advertise-peer-urls", peers[number]),
            *("--initial-cluster-token", "etcd-cluster-pifpaf"),
            *("--initial-cluster", cluster, "--initial-cluster-state", "new"),
        ]
        started.append(Started(arguments, tmp_path))
    yield started, clients
    for one in started:
        one.stop()


def test_a_cluster_starts_as_test_suites_start_etcds(
    members: tuple[list[Started], list[str]],
) -> None:
    started, clients = members
    for one in started:
        one.wait_ready()
    health = installed()[-1].run(",".join(clients), "endpoint", "health", "-w", "json")
    assert [one["health"] for one in json.loads(health)] == [True] * 3
    line = json.loads(next(one for one in started[0].lines if READY in one))
    assert line["level"] == "info"
    assert line["msg"] == READY
    assert {"ts", "caller"} <= set(line)


def test_the_version_reads_as_etcds(program: str, tmp_path: Path) -> None:
    told = subprocess.run(
        [program, "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    ).stdout.splitlines()
    assert re.fullmatch(r"etcd Version: \d+\.\d+\.\d+", told[0])
    assert [line.split(":")[0] for line in told[1:]] == ["Git SHA", "Go Version", "Go OS/Arch"]


def test_the_service_manager_is_notified_and_the_data_directory_is_etcds(
    program: str, tmp_path: Path
) -> None:
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(DEADLINE_S)
        one = Started(
            [program, "--listen-client-urls", client, "--listen-peer-urls", peer],
            tmp_path,
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            ETCD_INITIAL_ADVERTISE_PEER_URLS=peer,
            ETCD_NMAE="typo",
        )
        try:
            assert notified.recv(100) == b"READY=1"
            one.wait_ready()
        finally:
            code = one.stop()
    assert code == 0
    assert (tmp_path / "default.etcd" / "member").is_dir()
    assert any("unrecognized environment variable" in line and "NMAE" in line for line in one.lines)


@pytest.mark.parametrize("subcommand", ["gateway", "grpc-proxy"])
def test_subcommands_that_are_not_built_are_refused_by_name(program: str, subcommand: str) -> None:
    ended = subprocess.run(
        [program, subcommand, "start"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"etcd: {subcommand}: ")
