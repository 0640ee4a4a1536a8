"""`orchestrator up` where it cannot come up: a sentence that helps, and nothing left behind."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.cluster import store, up
from orchestrator.cluster.progress import Progress
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.store import StoreError, wait_for_store

NOBODY_THERE = "http://127.0.0.1:1"
TIMEOUT_S = 60


async def test_a_store_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FOREIGN_TIMEOUT_S", 0.3)
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1 .*is it running\?"):
        await wait_for_store([NOBODY_THERE])


def test_a_directory_that_cannot_be_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--data-dir=/proc/nothing", "--kubeconfig=/proc/nothing/k"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("orchestrator: ")
    assert "/proc/nothing" in errors
    assert errors.count("\n") == 1


def test_a_kubeconfig_that_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scheduler", "--kubeconfig=/proc/nothing"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_stops_what_was_started(tmp_path: Path) -> None:
    """Ctrl-C while waiting must not leave a half-started cluster in the background."""
    data_dir = tmp_path / "a b"
    command = [sys.executable, "-m", "orchestrator", "up", f"--data-dir={data_dir}"]
    command += [f"--kubeconfig={tmp_path / 'k'}", "--runtime=hollow"]
    command += [f"--etcd-servers={NOBODY_THERE}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if "asking the store" in line:
                process.send_signal(signal.SIGINT)
        code = process.wait(TIMEOUT_S)
    assert code == 1, seen
    assert "interrupted; nothing runs" in seen
    assert not (data_dir / "cluster.json").exists()


def test_settings_that_a_running_cluster_does_not_take_up_are_named(
    tmp_path: Path,
) -> None:
    present = ClusterSettings(data_dir=tmp_path, kubeconfig=tmp_path / "k", runtime="hollow")
    present.save()
    wanted = ClusterSettings(data_dir=tmp_path, kubeconfig=tmp_path / "k", nodes=3)
    shown = io.StringIO()
    up.note_ignored(wanted, Progress(shown))
    text = shown.getvalue()
    assert "--nodes" in text
    assert "--runtime" not in text
