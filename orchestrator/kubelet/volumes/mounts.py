"""Volume mounts of one container, resolved to host paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.kubelet.env import expand
from orchestrator.kubelet.volumes.pod_volumes import VolumeError
from orchestrator.runtime.protocol import MountConfig


def container_mounts(
    container: JsonObject, volumes: Mapping[str, Path], environment: Mapping[str, str]
) -> list[MountConfig]:
    """Return the container's mounts; VolumeError for an unknown volume or an unsafe subPath."""
    mounts = []
    for mount in nested_list(container, "volumeMounts"):
        volume = volumes.get(mount["name"])
        if volume is None:
            raise VolumeError(f'cannot find volume "{mount["name"]}" to mount into container')
        sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", environment)
        host_path = _resolve_sub_path(volume, sub_path) if sub_path else volume
        target = mount["mountPath"]
        mounts.append(
            MountConfig(
                container_path=target if target.startswith("/") else f"/{target}",
                host_path=str(host_path),
                read_only=bool(mount.get("readOnly")),
                propagation=mount.get("mountPropagation") or "None",
            )
        )
    return mounts


def _resolve_sub_path(volume: Path, sub_path: str) -> Path:
    """Return the path below the volume, made as a directory where it is missing.

    Symlinks are followed now, and must stay inside; what a container changes later in a volume
    that is mounted already is not followed again.
    """
    root = os.path.realpath(volume)
    path = os.path.realpath(os.path.join(root, sub_path))
    if path != root and not path.startswith(root + os.sep):
        raise VolumeError(f"subPath {sub_path!r} leads out of its volume")
    if not os.path.exists(path):
        os.makedirs(path, exist_ok=True)
    return Path(path)
