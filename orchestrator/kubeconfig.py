"""kubeconfig files: merge our context into one, or take it out again.

Everything that is not ours in the file stays as it was. Writes are atomic and leave mode 0600,
since the file holds a private key.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

from orchestrator.pki import write_private

CONTEXT = "orchestrator"

ANSWER_TIMEOUT_S = 1.0

SECTIONS = ("clusters", "contexts", "users")


def default_path() -> Path:
    """The file that kubectl reads: the first of $KUBECONFIG, else ~/.kube/config."""
    listed = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(listed) if listed else Path.home() / ".kube" / "config"


def build(
    server: str, ca: bytes, certificate: bytes, key: bytes, name: str = CONTEXT
) -> dict[str, Any]:
    """Return a kubeconfig with one context: `server` is a URL, the rest is PEM, embedded."""
    cluster = {"server": server, "certificate-authority-data": _base64(ca)}
    user = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def write(path: Path, server: str, ca: bytes, certificate: bytes, key: bytes) -> str:
    """Write or merge our context into `path`, make it current, and return its name.

    That is `orchestrator`, or `orchestrator-2` and so on while another cluster that still
    answers has the name. Raises ValueError when the file there is not a kubeconfig.
    """
    merged = _load(path) or {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    name = _free_name(merged, ca)
    ours = build(server, ca, certificate, key, name)
    gone = {name, *_names(merged, ca)}
    for section in SECTIONS:
        merged[section] = [*_others(merged, section, gone), *ours[section]]
    merged["current-context"] = name
    _store(path, merged)
    return name


def remove(path: Path, ca: bytes) -> bool:
    """Take the context of the cluster with this authority out of `path`.

    The file goes when nothing else is in it. Return whether there was anything of ours.
    """
    config = _load(path)
    if config is None:
        return False
    gone = set(_names(config, ca))
    found = bool(gone)
    for section in SECTIONS:
        config[section] = _others(config, section, gone)
    if config.get("current-context") in gone:
        config["current-context"] = ""
    if not any(config[section] for section in SECTIONS):
        path.unlink()
    elif found:
        _store(path, config)
    return found


def _names(config: dict[str, Any], ca: bytes) -> list[str]:
    """Return the names under which the cluster with this authority is there."""
    wanted = _base64(ca)
    return [
        entry["name"]
        for entry in config.get("clusters") or []
        if (entry.get("cluster") or {}).get("certificate-authority-data") == wanted
    ]


def _free_name(config: dict[str, Any], ca: bytes) -> str:
    """Return the first name that is ours, nobody's, or that of a cluster that is gone."""
    known = {entry["name"]: entry.get("cluster") or {} for entry in config.get("clusters") or []}
    for number in itertools.count(1):
        name = CONTEXT if number == 1 else f"{CONTEXT}-{number}"
        present = known.get(name)
        if present is None or present.get("certificate-authority-data") == _base64(ca):
            return name
        if not _answers(present.get("server", "")):
            return name
    raise AssertionError("counting never ends")


def _answers(server: str) -> bool:
    url = urllib.parse.urlsplit(server)
    try:
        with socket.create_connection((url.hostname, url.port or 443), ANSWER_TIMEOUT_S):
            return True
    except OSError:
        return False


def _others(config: dict[str, Any], section: str, gone: set[str]) -> list[Any]:
    entries = config.get(section) or []
    return [entry for entry in entries if entry.get("name") not in gone]


def _load(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    loaded = yaml.safe_load(text)
    if loaded is None:
        return None
    if not isinstance(loaded, dict) or loaded.get("kind", "Config") != "Config":
        raise ValueError(f"{path} is not a kubeconfig file; name another one by --kubeconfig")
    return loaded


def _store(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()
    write_private(target, yaml.safe_dump(config, sort_keys=False).encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
