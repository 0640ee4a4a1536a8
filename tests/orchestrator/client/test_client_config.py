"""Kubeconfigs are read as kubectl reads them, and refused by name where we cannot."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from orchestrator.client.config import ClientConfig
from orchestrator.client.errors import KubeconfigError


def write(directory: Path, user: dict[str, object]) -> Path:
    document = {
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u"}},
            {"name": "other", "context": {"cluster": "missing", "user": "u"}},
        ],
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": "https://10.0.0.1:6443/",
                    "certificate-authority-data": base64.b64encode(b"CA").decode(),
                },
            }
        ],
        "users": [{"name": "u", "user": user}],
    }
    path = directory / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_embedded_data_and_files(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(b"CERT")
    key = base64.b64encode(b"KEY").decode()
    path = write(tmp_path, {"client-certificate": "cert.pem", "client-key-data": key})
    config = ClientConfig.from_kubeconfig(path)
    assert config.server == "https://10.0.0.1:6443"
    assert (config.ca_pem, config.client_cert_pem, config.client_key_pem) == (
        b"CA",
        b"CERT",
        b"KEY",
    )


def test_token(tmp_path: Path) -> None:
    assert ClientConfig.from_kubeconfig(write(tmp_path, {"token": "t"})).token == "t"


@pytest.mark.parametrize(
    ("context", "user", "message"),
    [
        ("absent", {}, "no context named 'absent'"),
        ("other", {}, "no cluster named 'missing'"),
        (None, {"exec": {"command": "aws"}}, "'exec' are not supported"),
    ],
)
def test_refusals(
    tmp_path: Path, context: str | None, user: dict[str, object], message: str
) -> None:
    with pytest.raises(KubeconfigError, match=message):
        ClientConfig.from_kubeconfig(write(tmp_path, user), context)
