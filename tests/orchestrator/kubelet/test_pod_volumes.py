"""Volumes: what is written where, updates as a whole, and what is refused."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.kubelet.admission import unsupported_features
from orchestrator.kubelet.volumes.atomic_writer import (
    FileContent,
    UnsafePathError,
    write_files,
)
from orchestrator.kubelet.volumes.mounts import container_mounts
from orchestrator.kubelet.volumes.pod_volumes import (
    VolumeContext,
    VolumeError,
    prepare_volumes,
    unsupported_volumes,
)
from tests.orchestrator.kubelet.test_container_env import FACTS, Objects, pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def check(directory: Path, volume: JsonObject) -> Path:
    context = VolumeContext(directory, Objects(), FACTS, NOW)
    wanted = pod(volumes=[{"name": "v", **volume}])
    return (await prepare_volumes(wanted, context))["v"]


def read(path: Path) -> dict[str, str]:
    names = [p.name for p in path.iterdir() if not p.name.startswith("..")]
    return {name: (path / name).read_text() for name in names}


async def test_config_maps_and_secrets_become_files(tmp_path: Path) -> None:
    assert read(await check(tmp_path, {"configMap": {"name": "cm"}})) == {"a": "1", "b": "2"}
    secret = {"secret": {"secretName": "se", "defaultMode": 0o400}}
    path = await check(tmp_path, secret)
    assert read(path) == {"key": "hush"}
    assert (path / "key").stat().st_mode & 0o777 == 0o400


async def test_items_choose_names_and_modes(tmp_path: Path) -> None:
    items = [{"key": "a", "path": "dir/renamed", "mode": 0o600}]
    path = await check(tmp_path, {"configMap": {"name": "cm", "items": items}})
    assert (path / "dir" / "renamed").read_text() == "1"
    assert (path / "dir" / "renamed").stat().st_mode & 0o777 == 0o600
    assert not (path / "b").exists()


async def test_downward_and_projected_volumes(tmp_path: Path) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    assert read(await check(tmp_path, {"downwardAPI": {"items": items}})) == {"labels": 'app="x"'}
    sources = [{"configMap": {"name": "cm"}}, {"downwardAPI": {"items": items}}]
    assert read(await check(tmp_path, {"projected": {"sources": sources}})) == {
        "a": "1",
        "b": "2",
        "labels": 'app="x"',
    }


async def test_an_empty_dir_is_for_everyone_and_kept(tmp_path: Path) -> None:
    path = await check(tmp_path, {"emptyDir": {}})
    assert path.stat().st_mode & 0o777 == 0o777
    (path / "kept").touch()
    assert (await check(tmp_path, {"emptyDir": {}}) / "kept").exists()


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        ({"configMap": {"name": "no"}}, 'configmap "no" not found'),
        (
            {"configMap": {"name": "cm", "items": [{"key": "x", "path": "x"}]}},
            "references non-existent configmap key: x",
        ),
        (
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "../a"}]}},
            "invalid path '../a'",
        ),
        ({"hostPath": {"path": "/no/such", "type": "Directory"}}, "is not a directory"),
    ],
)
async def test_failures_are_worded_for_events(
    tmp_path: Path, volume: JsonObject, text: str
) -> None:
    with pytest.raises(VolumeError, match=r'MountVolume\.SetUp failed for volume "v" : ') as failed:
        await check(tmp_path, volume)
    assert text in str(failed.value)


def test_unsupported_types_are_refused_by_name() -> None:
    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    volumes = [{"name": "n", "nfs": {"server": "x"}}, {"name": "t", **token}, {"name": "e"}]
    assert unsupported_volumes(pod(volumes=volumes)) == [
        'volume "n": type nfs is not supported',
        'volume "t": projected source serviceAccountToken is not supported',
    ]


def test_other_unsupported_features_are_refused_by_name() -> None:
    container = {
        "name": "c",
        "ports": [{"containerPort": 80, "hostPort": 8080}],
        "livenessProbe": {"grpc": {"port": 1}},
    }
    assert unsupported_features(pod(containers=[container])) == [
        'container "c": hostPort 8080 is not supported; use a NodePort Service',
        'container "c": livenessProbe: grpc probes are not supported',
    ]
    on_host = unsupported_features(pod(containers=[container], hostNetwork=True))
    assert len(on_host) == 1


def test_an_update_is_seen_as_a_whole(tmp_path: Path) -> None:
    assert write_files(tmp_path, {"a": FileContent(b"1"), "gone": FileContent(b"x")}, NOW)
    before = os.readlink(tmp_path / "..data")
    assert not write_files(tmp_path, {"a": FileContent(b"1"), "gone": FileContent(b"x")}, NOW)
    assert os.readlink(tmp_path / "..data") == before
    assert write_files(tmp_path, {"a": FileContent(b"2"), "new": FileContent(b"y")}, NOW)
    assert read(tmp_path) == {"a": "2", "new": "y"}
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert not (tmp_path / before).exists()


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../../b", "", "..data"])
def test_unsafe_paths_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePathError):
        write_files(tmp_path, {path: FileContent(b"")}, NOW)


def test_mounts_resolve_sub_paths_inside_the_volume(tmp_path: Path) -> None:
    def mounts(**mount: object) -> list[str]:
        container = {"volumeMounts": [{"name": "v", "mountPath": "/m", **mount}]}
        return [m.host_path for m in container_mounts(container, {"v": tmp_path}, {"X": "x"})]

    assert mounts() == [str(tmp_path)]
    assert mounts(subPath="sub") == [str(tmp_path / "sub")]
    assert mounts(subPathExpr="$(X)/y") == [str(tmp_path / "x" / "y")]
    (tmp_path / "out").symlink_to("/etc")
    for unsafe in ("../up", "out/passwd"):
        with pytest.raises(VolumeError, match="leads out of its volume"):
            mounts(subPath=unsafe)
    with pytest.raises(VolumeError, match='cannot find volume "w"'):
        container_mounts({"volumeMounts": [{"name": "w", "mountPath": "/m"}]}, {}, {})
