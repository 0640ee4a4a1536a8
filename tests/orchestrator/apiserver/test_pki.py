"""Certificates are made once, renewed before they end, and kept from other users."""

from __future__ import annotations

import os
import socket
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from orchestrator import kubeconfig
from orchestrator.pki import LEAF_LIFETIME, RENEW_BEFORE, Pki, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_opening_finds_the_same_certificates(tmp_path: Path) -> None:
    first = Pki(tmp_path / "pki")
    admin, serving = first.admin(), first.apiserver(["10.96.0.1"])
    second = Pki(tmp_path / "pki")
    assert second.ca_pem == first.ca_pem
    assert second.admin() == admin
    assert second.apiserver(["10.96.0.1"]) == serving
    assert second.apiserver(["10.96.0.1", "192.168.1.1"]) != serving


def test_subjects_are_what_kubernetes_reads(tmp_path: Path) -> None:
    kubelet = Pki(tmp_path).kubelet("n1")
    subject = x509.load_pem_x509_certificate(kubelet.certificate).subject.rfc4514_string()
    assert subject == "CN=system:node:n1,O=system:nodes"


def test_keys_are_private(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    assert mode(tmp_path / "pki") == 0o700
    assert mode(pki.admin().key_path) == 0o600
    assert mode(pki.service_account_keys()[1]) == 0o600


def test_an_old_leaf_is_renewed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    old = Pki(tmp_path, now).admin()
    soon = now + LEAF_LIFETIME - RENEW_BEFORE - timedelta(hours=1)
    assert Pki(tmp_path, soon).admin() == old
    renewed = Pki(tmp_path, soon + timedelta(hours=2)).admin()
    assert renewed.certificate != old.certificate


def write(path: Path) -> None:
    kubeconfig.write(path, "https://127.0.0.1:1", b"ca", b"certificate", b"key")


def test_a_kubeconfig_is_merged_and_taken_out_again(tmp_path: Path) -> None:
    path = tmp_path / "config"
    theirs = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
        "current-context": "work",
    }
    path.write_text(yaml.safe_dump(theirs))
    write(path)
    write(path)
    merged = yaml.safe_load(path.read_text())
    assert [row["name"] for row in merged["contexts"]] == ["work", "orchestrator"]
    assert merged["current-context"] == "orchestrator"
    assert mode(path) == 0o600
    assert kubeconfig.remove(path, b"ca")
    left = yaml.safe_load(path.read_text())
    assert left["contexts"] == theirs["contexts"]
    assert left["current-context"] == ""


def test_a_kubeconfig_of_ours_alone_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "made" / "config"
    write(path)
    assert kubeconfig.remove(path, b"ca")
    assert not path.exists()
    assert not kubeconfig.remove(path, b"ca")


def test_two_clusters_share_a_kubeconfig(tmp_path: Path) -> None:
    """A cluster that answers keeps its context; `down` of one takes out nothing of the other."""
    path = tmp_path / "config"
    with socket.create_server(("127.0.0.1", 0)) as first:
        url = f"https://127.0.0.1:{first.getsockname()[1]}"
        assert kubeconfig.write(path, url, b"first", b"c", b"k") == "orchestrator"
        assert kubeconfig.write(path, url, b"first", b"c", b"k") == "orchestrator"
        second = kubeconfig.write(path, "https://127.0.0.1:1", b"second", b"c", b"k")
        assert second == "orchestrator-2"
        assert kubeconfig.remove(path, b"first")
    left = yaml.safe_load(path.read_text())
    assert [row["name"] for row in left["contexts"]] == ["orchestrator-2"]
    assert left["current-context"] == "orchestrator-2"
    assert not kubeconfig.remove(path, b"first")


def test_the_context_of_a_cluster_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.write(path, "https://127.0.0.1:1", b"gone", b"c", b"k")
    assert kubeconfig.write(path, "https://127.0.0.1:1", b"new", b"c", b"k") == "orchestrator"
    assert len(yaml.safe_load(path.read_text())["clusters"]) == 1


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("kind: Pod\n")
    with pytest.raises(ValueError, match="is not a kubeconfig"):
        write(path)
    assert path.read_text() == "kind: Pod\n"


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """root may rename over anything: `--kubeconfig=/dev/null` must not cost the null device."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), tmp_path / "pipe", tmp_path):
        with pytest.raises(FileExistsError, match="no regular file"):
            write_private(path, b"secret")
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
    write_private(tmp_path / "key", b"secret")
    assert (tmp_path / "key").read_bytes() == b"secret"
