"""What an image is before it is written: files and a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9][a-zA-Z0-9.-]*(?::[0-9]+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class ImageError(Exception):
    """An image could not be built, read or found; the text says which and why."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One entry of an image's only layer.

    `path` has no leading slash. With `link_target` the entry is a symbolic link, with
    `directory` a directory, otherwise a file that holds `content`.
    """

    path: str
    content: bytes = b""
    mode: int = 0o644
    link_target: str = ""
    directory: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """An image of one layer; every file belongs to root and dates from the epoch."""

    reference: str
    files: tuple[ImageFile, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    ports: tuple[int, ...] = ()
    """TCP ports that the image's program listens on; informative."""


def normalize_reference(reference: str) -> str:
    """Return the reference with registry and tag, as containerd stores it.

    "busybox" is "docker.io/library/busybox:latest"; "localhost/hello:1" stays.
    Raises ImageError for what is no reference.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ImageError(f'couldn\'t parse image name "{reference}": invalid reference format')
    name, tag, digest = match["name"], match["tag"], match["digest"]
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    if digest is not None:
        return f"{name}@{digest}"
    return f"{name}:{tag or 'latest'}"


def reference_tag(reference: str) -> str:
    """Return the tag of a reference, "latest" where it has none."""
    return normalize_reference(reference).rpartition(":")[2]
