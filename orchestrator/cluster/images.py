"""Images that a local cluster starts with, and those that its person adds.

`<data-dir>/images/*.tar` are OCI archives; all of them are loaded when the cluster starts.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.images.busybox import (
    architecture,
    build_directory,
    busybox_image,
    pause_image,
)
from orchestrator.images.image import Image
from orchestrator.images.oci_archive import write_archive

BASE_ARCHIVE = "base.tar"
EXAMPLE_ARCHIVE = "hello.tar"

EXAMPLE_IMAGE = Path(__file__).resolve().parents[2] / "examples" / "hello-image"
"""What the example's image is made of; there in a checkout, not in an installed package."""

EXAMPLE = EXAMPLE_IMAGE.parent / "hello.yaml"

EXAMPLE_REFERENCES = ("localhost/hello:1", "localhost/hello:2")


def image_directory(data_dir: Path) -> Path:
    directory = data_dir / "images"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def keep_images(data_dir: Path, name: str, images: list[Image]) -> None:
    """Write an archive of `images` where the cluster will load it; an equal one stays."""
    path = image_directory(data_dir) / name
    archive = write_archive(images, architecture())
    if not path.exists() or path.read_bytes() != archive:
        path.write_bytes(archive)


def archives(data_dir: Path) -> list[bytes]:
    """Give every archive to load, the base images (pause, busybox) first, then the example's.

    Raises ImageError where the machine has no static busybox to make them of.
    """
    keep_images(data_dir, BASE_ARCHIVE, [pause_image(), busybox_image()])
    if EXAMPLE_IMAGE.is_dir():
        images = [build_directory(EXAMPLE_IMAGE, name) for name in EXAMPLE_REFERENCES]
        keep_images(data_dir, EXAMPLE_ARCHIVE, images)
    paths = sorted(
        image_directory(data_dir).glob("*.tar"), key=lambda path: (path.name != BASE_ARCHIVE, path)
    )
    return [path.read_bytes() for path in paths]
