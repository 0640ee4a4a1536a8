"""Images made of the machine's static busybox: the pause image and bases for others.

Debian's package busybox-static has the one binary that an image needs; nothing is fetched.
"""

from __future__ import annotations

import platform
import struct
import subprocess
from pathlib import Path
from typing import Any

import yaml

from orchestrator.images.image import Image, ImageError, ImageFile, reference_tag

PAUSE_IMAGE = "registry.k8s.io/pause:3.6"
"""The sandbox image; containerd 1.6 asks for this name unless told otherwise."""

BUSYBOX_IMAGE = "localhost/busybox:1"

_BUSYBOX_PATHS = (Path("/bin/busybox"), Path("/usr/bin/busybox"), Path("/bin/busybox-static"))

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

_PT_INTERP = 3


def architecture() -> str:
    """Return Go's name of this machine's architecture."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def find_busybox() -> Path:
    """Return the path of a static busybox; raise ImageError saying what to install."""
    for path in _BUSYBOX_PATHS:
        if path.exists() and is_static(path):
            return path
    raise ImageError("no static busybox on this machine; install the package busybox-static")


def is_static(path: Path) -> bool:
    """Return True where a 64-bit ELF binary names no interpreter (ELF-64, program headers)."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:5] != b"\x7fELF\x02":
            return False
        offset = struct.unpack_from("<Q", header, 32)[0]
        entry_size_bytes, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(entry_size_bytes * count)
    types = (struct.unpack_from("<I", table, entry_size_bytes * n)[0] for n in range(count))
    return _PT_INTERP not in types


def busybox_files(binary: Path) -> tuple[ImageFile, ...]:
    """Return a root file system: busybox, its applets as links, and what programs expect."""
    listed = subprocess.run([binary, "--list"], capture_output=True, check=True, timeout=30)
    applets = sorted(set(listed.stdout.decode().split()) - {"busybox"})
    directories = ("bin", "dev", "etc", "proc", "root", "srv", "sys", "var")
    return (
        *(ImageFile(name, directory=True, mode=0o755) for name in directories),
        ImageFile("tmp", directory=True, mode=0o1777),
        ImageFile(
            "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        ),
        ImageFile("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
        ImageFile("bin/busybox", binary.read_bytes(), mode=0o755),
        *(ImageFile(f"bin/{applet}", link_target="busybox") for applet in applets),
    )


def busybox_image(reference: str = BUSYBOX_IMAGE) -> Image:
    """Return an image with a shell; it ends at once unless given a command."""
    return Image(reference, busybox_files(find_busybox()), command=("sh",))


def pause_image(reference: str = PAUSE_IMAGE) -> Image:
    """Return the sandbox image: a process that waits for SIGTERM and reaps nothing."""
    binary = find_busybox()
    files = (
        ImageFile("bin", directory=True, mode=0o755),
        ImageFile("bin/busybox", binary.read_bytes(), mode=0o755),
        ImageFile("bin/sleep", link_target="busybox"),
    )
    wait = 'trap "exit 0" TERM INT; while :; do sleep 3600 & wait $!; done'
    return Image(reference, files, entrypoint=("/bin/busybox", "sh", "-c", wait))


def build_directory(directory: Path, reference: str) -> Image:
    """Build the image that `directory`/image.yaml describes, on top of busybox.

    Keys: `files` (path in the image -> file in the directory), `entrypoint`, `command`,
    `workingDirectory`, `environment` (`${TAG}` is the tag of `reference`), `ports`. Unknown
    keys are refused.
    """
    path = directory / "image.yaml"
    try:
        described: dict[str, Any] = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    known = {"files", "entrypoint", "command", "workingDirectory", "environment", "ports"}
    unknown = sorted(set(described) - known)
    if unknown:
        raise ImageError(f"{path}: unknown keys: {', '.join(unknown)}")
    tag = reference_tag(reference)
    added = tuple(
        ImageFile(target.lstrip("/"), (directory / source).read_bytes(), mode=0o755)
        for target, source in described.get("files", {}).items()
    )
    environment = described.get("environment", {})
    return Image(
        reference,
        (*busybox_files(find_busybox()), *added),
        entrypoint=tuple(described.get("entrypoint", ())),
        command=tuple(described.get("command", ())),
        environment={name: str(v).replace("${TAG}", tag) for name, v in environment.items()},
        working_directory=described.get("workingDirectory", "/"),
        ports=tuple(described.get("ports", ())),
    )
