"""kubeconfig files: merge our context into one, or take it out again.

Everything that is not ours in the file stays as it was. Writes are atomic and leave mode 0600,
since the file holds a private key.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from orchestrator.pki import write_private

CONTEXT = "orchestrator"

SECTIONS = ("clusters", "contexts", "users")


def default_path() -> Path:
    """The file that kubectl reads: the first of $KUBECONFIG, else ~/.kube/config."""
    listed = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(listed) if listed else Path.home() / ".kube" / "config"


def build(server: str, ca: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    """Return a kubeconfig with one context: `server` is a URL, the rest is PEM, embedded."""
    cluster = {"server": server, "certificate-authority-data": _base64(ca)}
    user = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
        "current-context": CONTEXT,
    }


def write(path: Path, server: str, ca: bytes, certificate: bytes, key: bytes) -> None:
    """Write or merge the context `orchestrator` into `path` and make it current.

    Raises ValueError when the file there is not a kubeconfig.
    """
    ours = build(server, ca, certificate, key)
    merged = _load(path) or {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    for section in SECTIONS:
        merged[section] = [*_others(merged, section), *ours[section]]
    merged["current-context"] = CONTEXT
    _store(path, merged)


def remove(path: Path) -> bool:
    """Take the context out of `path`; delete the file when nothing else is in it.

    Return whether there was anything of ours.
    """
    config = _load(path)
    if config is None:
        return False
    found = any(len(_others(config, s)) != len(config.get(s) or []) for s in SECTIONS)
    for section in SECTIONS:
        config[section] = _others(config, section)
    if config.get("current-context") == CONTEXT:
        config["current-context"] = ""
    if not any(config[section] for section in SECTIONS):
        path.unlink()
    elif found:
        _store(path, config)
    return found


def _others(config: dict[str, Any], section: str) -> list[Any]:
    entries = config.get(section) or []
    return [entry for entry in entries if entry.get("name") != CONTEXT]


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
