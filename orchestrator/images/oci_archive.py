"""Write images as one OCI archive: a tar of an OCI image layout.

The same images give the same bytes, whoever writes them and when: times are the epoch,
owners are root, entries are sorted and JSON keys too. `ctr images import` and
`ImageStore.load_archive` read it. Layout: OCI image-spec v1, image-layout.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.images.image import DEFAULT_PATH, Image, ImageFile, normalize_reference

MEDIA_TYPE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_TYPE_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_TYPE_LAYER = "application/vnd.oci.image.layer.v1.tar"

NAME_ANNOTATION = "io.containerd.image.name"
"""Where containerd looks for the full name of an image in an index."""


def digest_of(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def write_archive(images: Sequence[Image], architecture: str) -> bytes:
    """Return an OCI archive of `images`; layers that are equal are stored once.

    `architecture` is Go's name of it: "amd64", "arm64".
    """
    blobs: dict[str, bytes] = {}

    def add(blob: bytes, media_type: str) -> dict[str, Any]:
        digest = digest_of(blob)
        blobs[digest] = blob
        return {"mediaType": media_type, "digest": digest, "size": len(blob)}

    manifests = []
    for image in images:
        layer = layer_tar(image.files)
        config = _json(_configuration(image, digest_of(layer), architecture))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_MANIFEST,
            "config": add(config, MEDIA_TYPE_CONFIG),
            "layers": [add(layer, MEDIA_TYPE_LAYER)],
        }
        descriptor = add(_json(manifest), MEDIA_TYPE_MANIFEST)
        descriptor["platform"] = {"architecture": architecture, "os": "linux"}
        descriptor["annotations"] = {NAME_ANNOTATION: normalize_reference(image.reference)}
        manifests.append(descriptor)
    files = [
        ImageFile("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
        ImageFile("index.json", _json({"schemaVersion": 2, "manifests": manifests})),
        ImageFile("blobs", directory=True, mode=0o755),
        ImageFile("blobs/sha256", directory=True, mode=0o755),
        *(ImageFile(f"blobs/{digest.replace(':', '/')}", blob) for digest, blob in blobs.items()),
    ]
    return layer_tar(files)


def layer_tar(files: Iterable[ImageFile]) -> bytes:
    """Return the files as an uncompressed tar, parents before what they hold."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(files, key=lambda entry: entry.path):
            header = tarfile.TarInfo(file.path)
            header.mode = file.mode
            if file.directory:
                header.type = tarfile.DIRTYPE
                tar.addfile(header)
            elif file.link_target:
                header.type = tarfile.SYMTYPE
                header.linkname = file.link_target
                header.mode = 0o777
                tar.addfile(header)
            else:
                header.size = len(file.content)
                tar.addfile(header, io.BytesIO(file.content))
    return buffer.getvalue()


def _configuration(image: Image, layer_digest: str, architecture: str) -> dict[str, Any]:
    environment = {"PATH": DEFAULT_PATH, **image.environment}
    config: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "WorkingDir": image.working_directory,
    }
    if image.entrypoint:
        config["Entrypoint"] = list(image.entrypoint)
    if image.command:
        config["Cmd"] = list(image.command)
    if image.ports:
        config["ExposedPorts"] = {f"{port}/tcp": {} for port in image.ports}
    return {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "orchestrator"}],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
