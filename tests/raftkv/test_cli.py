"""The command says what is wrong and ends with a code that means it."""

import subprocess
import sys
from pathlib import Path

import pytest

from raftkv.cli import EXIT_MEANINGS, ExitCode, main
from raftkv.testing.process_cluster import ProcessCluster, free_port


def run(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "raftkv", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def local(directory: Path) -> list[str]:
    peer = f"http://127.0.0.1:{free_port()}"
    return [
        f"--data-dir={directory}",
        f"--listen-client-urls=http://127.0.0.1:{free_port()}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
    ]


def test_help_lists_flags_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.STOPPED
    text = capsys.readouterr().out
    assert "--initial-cluster-token" in text
    assert all(meaning in text for meaning in EXIT_MEANINGS.values())
    assert set(EXIT_MEANINGS) == set(ExitCode)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == ExitCode.STOPPED
    assert capsys.readouterr().out.startswith("raftkv Version: ")


def test_wrong_flags_are_all_named() -> None:
    ended = run("--enable-v2", "--what")
    assert ended.returncode == ExitCode.USAGE
    assert "raftkv: --enable-v2: API v2 is not served" in ended.stderr
    assert "raftkv: --what: unknown flag" in ended.stderr


def test_optimised_python_is_refused() -> None:
    ended = run("--version", python=("-O",))
    assert ended.returncode == ExitCode.USAGE
    assert "python -O" in ended.stderr


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "member" / "wal").mkdir(parents=True)
    ended = run(*local(tmp_path))
    assert ended.returncode == ExitCode.DATA_DIRECTORY
    assert "data directory of etcd" in ended.stderr


def test_a_taken_address_is_refused(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        ended = run(
            *local(tmp_path / "second"),
            f"--listen-client-urls=http://{cluster.endpoints[0]}",
        )
    assert ended.returncode == ExitCode.ADDRESS
    assert "cannot listen" in ended.stderr


def test_another_members_directory_is_refused(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        assert cluster.terminate(0) == ExitCode.STOPPED
    ended = run(*local(tmp_path / "m0"))
    assert ended.returncode == ExitCode.DATA_DIRECTORY
    assert "belongs to member" in ended.stderr


def test_a_used_directory_is_refused(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        ended = run(*local(tmp_path / "m0"))
    assert ended.returncode == ExitCode.DATA_DIRECTORY
    assert "in use by another process" in ended.stderr
