"""Prepare a pod's volumes as directories on the node, and take them away again.

Below `<pods>/<uid>/volumes/kubernetes.io~<type>/<name>`. Supported: emptyDir, configMap, secret,
downwardAPI, projected (configMap, secret, downwardAPI) and hostPath; every other type is refused
by name. emptyDir with `medium: Memory` and secrets are kept on disk, mode 0700 above them.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.api.resource import Resource
from orchestrator.api.resources import CONFIG_MAP, SECRET
from orchestrator.kubelet.downward import DownwardError, PodFacts, field_value, resource_value
from orchestrator.kubelet.env import Objects
from orchestrator.kubelet.objects import missing_text
from orchestrator.kubelet.volumes.atomic_writer import (
    FileContent,
    UnsafePathError,
    check_path,
    write_files,
)
from orchestrator.kubelet.volumes.host_path import check_host_path

DEFAULT_MODE = 0o644
FOLLOWED_TYPES = ("configMap", "secret", "downwardAPI", "projected")
SUPPORTED_TYPES = ("emptyDir", "hostPath", *FOLLOWED_TYPES)


class VolumeError(Exception):
    """A volume cannot be made; the text is the event's message."""


@dataclass(frozen=True, slots=True)
class VolumeContext:
    """What volumes are made from, apart from the pod."""

    pod_directory: Path
    objects: Objects
    facts: PodFacts
    now: datetime


def volume_type(volume: JsonObject) -> str:
    """Return the name of the volume's only source; emptyDir where it has none."""
    return next((k for k, v in volume.items() if k != "name" and v is not None), "emptyDir")


def unsupported_volumes(pod: JsonObject) -> list[str]:
    """Describe the volumes that this kubelet refuses."""
    refused = []
    for volume in nested_list(pod, "spec", "volumes"):
        kind = volume_type(volume)
        if kind not in SUPPORTED_TYPES:
            refused.append(f'volume "{volume["name"]}": type {kind} is not supported')
        for source in nested_list(volume, "projected", "sources"):
            for name in source:
                if name not in ("configMap", "secret", "downwardAPI"):
                    text = f'volume "{volume["name"]}": projected source {name} is not supported'
                    refused.append(text)
    return refused


async def prepare_volumes(pod: JsonObject, context: VolumeContext) -> dict[str, Path]:
    """Make or refresh all volumes of the pod; return volume name -> host path.

    Raises VolumeError in the words of the kubelet's FailedMount event.
    """
    paths = {}
    for volume in nested_list(pod, "spec", "volumes"):
        name = volume["name"]
        try:
            paths[name] = await _prepare(pod, volume, context)
        except (DownwardError, UnsafePathError, OSError) as error:
            text = f'MountVolume.SetUp failed for volume "{name}" : {error}'
            raise VolumeError(text) from error
        except VolumeError as error:
            text = f'MountVolume.SetUp failed for volume "{name}" : {error}'
            raise VolumeError(text) from error
    return paths


def remove_volumes(pod_directory: Path) -> None:
    """Remove everything below the pod's directory; hostPath volumes are not below it."""
    shutil.rmtree(pod_directory, ignore_errors=True)


async def _prepare(pod: JsonObject, volume: JsonObject, context: VolumeContext) -> Path:
    kind = volume_type(volume)
    if kind == "hostPath":
        return check_host_path(volume["hostPath"])
    plugin = {"emptyDir": "empty-dir", "downwardAPI": "downward-api", "configMap": "configmap"}
    base = context.pod_directory / "volumes" / f"kubernetes.io~{plugin.get(kind, kind)}"
    path: Path = base / volume["name"]
    if kind == "emptyDir":
        if not path.exists():
            path.mkdir(parents=True)
            # mkdir's mode is cut by the umask; anyone in the pod may write here.
            path.chmod(0o777)
        return path
    source = volume[kind]
    mode = source.get("defaultMode")
    mode = DEFAULT_MODE if mode is None else int(mode)
    if kind == "projected":
        files: dict[str, FileContent] = {}
        for part in source.get("sources") or []:
            for part_kind, part_source in part.items():
                files |= await _files(pod, part_kind, part_source, mode, context)
    else:
        files = await _files(pod, kind, source, mode, context)
    write_files(path, files, context.now)
    return path


async def _files(
    pod: JsonObject, kind: str, source: JsonObject, mode: int, context: VolumeContext
) -> dict[str, FileContent]:
    match kind:
        case "configMap":
            return await _object_files(pod, CONFIG_MAP, source, source.get("name"), mode, context)
        case "secret":
            name = source.get("secretName") or source.get("name")
            return await _object_files(pod, SECRET, source, name, mode, context)
        case "downwardAPI":
            return _downward_files(pod, source, mode, context.facts)
        case _:
            raise VolumeError(f"{kind} volumes are not supported")


def _downward_files(
    pod: JsonObject, source: JsonObject, mode: int, facts: PodFacts
) -> dict[str, FileContent]:
    files = {}
    for item in source.get("items") or []:
        if item.get("fieldRef") is not None:
            text = field_value(pod, item["fieldRef"]["fieldPath"], facts)
        else:
            text = resource_value(pod, item["resourceFieldRef"], "", facts)
        files[item["path"]] = FileContent(text.encode(), _mode(item, mode))
    return files


async def _object_files(
    pod: JsonObject,
    resource: Resource,
    source: JsonObject,
    name: str | None,
    mode: int,
    context: VolumeContext,
) -> dict[str, FileContent]:
    namespace = pod["metadata"]["namespace"]
    try:
        obj = await context.objects.get(resource, namespace, name or "")
    except StatusError as error:
        if error.code == 404 and source.get("optional"):
            return {}
        raise VolumeError(missing_text(resource, namespace, name or "", error)) from error
    data = _object_data(obj, resource)
    items = source.get("items")
    if not items:
        return {key: FileContent(content, mode) for key, content in data.items()}
    files = {}
    for item in items:
        check_path(item["path"])
        if item["key"] in data:
            files[item["path"]] = FileContent(data[item["key"]], _mode(item, mode))
        elif not source.get("optional"):
            raise VolumeError(f"references non-existent {resource.kind.lower()} key: {item['key']}")
    return files


def _object_data(obj: JsonObject, resource: Resource) -> Mapping[str, bytes]:
    encoded = (obj.get("data") if resource is SECRET else obj.get("binaryData")) or {}
    data = {key: base64.b64decode(value) for key, value in encoded.items()}
    if resource is CONFIG_MAP:
        data |= {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return data


def _mode(item: JsonObject, default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"])
