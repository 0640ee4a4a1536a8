"""Images: the same bytes each time, and an unpacked tree that a program can run from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.images.busybox import (
    BUSYBOX_IMAGE,
    architecture,
    build_directory,
    busybox_image,
    find_busybox,
    is_static,
    pause_image,
)
from orchestrator.images.image import Image, ImageError, ImageFile, normalize_reference
from orchestrator.images.image_store import ImageStore
from orchestrator.images.layer import apply_layer
from orchestrator.images.oci_archive import layer_tar, write_archive

HELLO = Path(__file__).resolve().parents[3] / "examples" / "hello-image"


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("bitnami/redis:7", "docker.io/bitnami/redis:7"),
        ("localhost/hello:1", "localhost/hello:1"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("registry.k8s.io/pause:3.6", "registry.k8s.io/pause:3.6"),
    ],
)
def test_references_are_completed(given: str, full: str) -> None:
    assert normalize_reference(given) == full


@pytest.mark.parametrize("bad", ["", "UPPER/case", "a b", "x:", "/x"])
def test_what_is_no_reference_is_refused(bad: str) -> None:
    with pytest.raises(ImageError, match="invalid reference format"):
        normalize_reference(bad)


def test_an_archive_is_deterministic_and_shares_layers() -> None:
    images = [busybox_image(), busybox_image("localhost/other:2")]
    first = write_archive(images, architecture())
    assert first == write_archive(images, architecture())
    assert len(first) < 1.5 * len(layer_tar(images[0].files))


def test_a_loaded_image_runs_from_its_unpacked_tree(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    loaded = store.load_archive(write_archive([busybox_image(), pause_image()], architecture()))
    assert loaded == [BUSYBOX_IMAGE, "registry.k8s.io/pause:3.6"]
    image = ImageStore(tmp_path).find(BUSYBOX_IMAGE)
    assert image is not None
    assert image.command == ("sh",)
    ran = subprocess.run([image.rootfs / "bin/echo", "hi"], capture_output=True, check=True)
    assert ran.stdout == b"hi\n"
    assert store.find("localhost/absent:1") is None
    assert store.find(image.digest) == image
    assert [stored.references for stored in store.list_images() if stored == image] == [
        (BUSYBOX_IMAGE,)
    ]


def test_hello_images_differ_by_their_tag(tmp_path: Path) -> None:
    one = build_directory(HELLO, "localhost/hello:1")
    two = build_directory(HELLO, "localhost/hello:2")
    assert (one.environment["HELLO_VERSION"], two.environment["HELLO_VERSION"]) == ("1", "2")
    assert one.files == two.files


def test_whiteouts_remove_what_lower_layers_hold(tmp_path: Path) -> None:
    apply_layer(tmp_path, layer_tar([ImageFile("a", b"1"), ImageFile("d/x", b"2")]))
    apply_layer(tmp_path, layer_tar([ImageFile(".wh.a"), ImageFile("d/.wh..wh..opq")]))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["d"]


@pytest.mark.parametrize(
    "entry",
    [
        ImageFile("../out", b"x"),
        ImageFile("link", link_target="../../etc/passwd"),
        ImageFile("through/passwd", b"x"),
    ],
)
def test_entries_that_leave_the_tree_are_refused(tmp_path: Path, entry: ImageFile) -> None:
    (tmp_path / "through").symlink_to("/tmp")
    with pytest.raises(ImageError, match="refused entry"):
        apply_layer(tmp_path, layer_tar([entry]))


def test_absolute_links_stay_inside_the_tree(tmp_path: Path) -> None:
    files = [ImageFile("bin/busybox", b"x"), ImageFile("usr/bin/sh", link_target="/bin/busybox")]
    apply_layer(tmp_path, layer_tar(files))
    assert (tmp_path / "usr/bin/sh").resolve() == tmp_path / "bin/busybox"


def test_a_damaged_blob_is_refused(tmp_path: Path) -> None:
    archive = write_archive([Image("localhost/x:1", (ImageFile("f", b"content"),))], "amd64")
    with pytest.raises(ImageError, match="does not match its digest"):
        ImageStore(tmp_path).load_archive(archive.replace(b"content", b"CONTENT"))
    with pytest.raises(ImageError, match="not an OCI archive"):
        ImageStore(tmp_path).load_archive(b"nonsense")


def test_a_dynamic_binary_is_not_taken_for_busybox() -> None:
    assert is_static(find_busybox())
    assert not is_static(Path("/bin/ls"))
