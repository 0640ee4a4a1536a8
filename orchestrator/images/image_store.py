"""Images unpacked on this machine, for runtimes that have no image service of their own.

Layout below the store's directory, written by rename so that a crash leaves no half image:

    references.json             reference -> digest of the image configuration
    images/<hex>/config.json    the image configuration
    images/<hex>/rootfs/        the layers, applied in order

Many may read; one at a time loads.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.images.image import ImageError, normalize_reference
from orchestrator.images.layer import apply_layer
from orchestrator.images.oci_archive import NAME_ANNOTATION, digest_of


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An unpacked image. `environment` is `NAME=value` text, in the order of the image."""

    digest: str
    references: tuple[str, ...]
    rootfs: Path
    size_bytes: int
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[str, ...]
    working_directory: str


class ImageStore:
    """Keep unpacked images in `directory`, which is made when it is missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._images = directory / "images"
        self._images.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._references: dict[str, str] = {}
        self._read_at_ns = 0
        self._read_references()

    def find(self, reference: str) -> StoredImage | None:
        """Return the image of a reference (or digest), None where it is not here.

        Raises ImageError for a reference that does not parse.
        """
        self._read_references()
        if reference.startswith("sha256:"):
            digest: str | None = reference
        else:
            digest = self._references.get(normalize_reference(reference))
        if digest is None or not self._path(digest).is_dir():
            return None
        return self._read(digest)

    def list_images(self) -> list[StoredImage]:
        """Return every image that has a reference, in order of digest."""
        self._read_references()
        return [self._read(digest) for digest in sorted(set(self._references.values()))]

    def load_archive(self, archive: bytes) -> list[str]:
        """Unpack all images of an OCI archive; return their references.

        An image that is here already is only named again. Raises ImageError for an archive
        that is not one, or a blob that does not match its digest.
        """
        self._read_references()
        try:
            blobs = _read_archive(archive)
            loaded = [
                self._load_image(blobs, descriptor)
                for descriptor in json.loads(blobs["index.json"])["manifests"]
            ]
        except (KeyError, ValueError, tarfile.TarError) as error:
            raise ImageError(f"not an OCI archive: {error}") from error
        self._write_references()
        return loaded

    def _path(self, digest: str) -> Path:
        return self._images / digest.removeprefix("sha256:")

    def _read(self, digest: str) -> StoredImage:
        path = self._path(digest)
        document = json.loads((path / "config.json").read_text())
        config = document.get("config", {})
        return StoredImage(
            digest=digest,
            references=tuple(sorted(r for r, d in self._references.items() if d == digest)),
            rootfs=path / "rootfs",
            size_bytes=int((path / "size").read_text()),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            environment=tuple(config.get("Env") or ()),
            working_directory=config.get("WorkingDir") or "/",
        )

    def _load_image(self, blobs: dict[str, bytes], descriptor: dict[str, Any]) -> str:
        manifest = json.loads(_blob(blobs, descriptor["digest"]))
        name = descriptor.get("annotations", {}).get(NAME_ANNOTATION)
        if name is None:
            raise ImageError(f"an image in the archive has no annotation {NAME_ANNOTATION}")
        config = _blob(blobs, manifest["config"]["digest"])
        digest = digest_of(config)
        if not self._path(digest).is_dir():
            layers = [_blob(blobs, layer["digest"]) for layer in manifest["layers"]]
            self._unpack(digest, config, layers)
        reference = normalize_reference(name)
        self._references[reference] = digest
        return reference

    def _unpack(self, digest: str, config: bytes, layers: list[bytes]) -> None:
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=self._images))
        try:
            rootfs = work / "rootfs"
            rootfs.mkdir()
            for layer in layers:
                apply_layer(rootfs, layer)
            (work / "config.json").write_bytes(config)
            (work / "size").write_text(str(sum(map(len, layers))))
            work.rename(self._path(digest))
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _read_references(self) -> None:
        """Take what another process has loaded meanwhile."""
        try:
            with (self.directory / "references.json").open() as file:
                changed_at_ns = os.fstat(file.fileno()).st_mtime_ns
                if changed_at_ns != self._read_at_ns:
                    self._references = json.load(file)
                    self._read_at_ns = changed_at_ns
        except FileNotFoundError:
            return

    def _write_references(self) -> None:
        temporary = self.directory / "references.json.new"
        temporary.write_text(json.dumps(self._references, sort_keys=True, indent=1))
        os.replace(temporary, self.directory / "references.json")


def _read_archive(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
        files = ((m.name.removeprefix("./"), tar.extractfile(m)) for m in tar if m.isfile())
        return {name: file.read() for name, file in files if file is not None}


def _blob(blobs: dict[str, bytes], digest: str) -> bytes:
    blob = blobs[f"blobs/{digest.replace(':', '/')}"]
    if digest_of(blob) != digest:
        raise ImageError(f"blob {digest} does not match its digest")
    return blob
