"""Apply image layers to a directory, safely: nothing is written or linked outside of it.

By hand, because tarfile's own filters came with Python 3.11.4 and refuse the absolute symbolic
links that most images have; here they become relative ones that mean the same inside the tree.
OCI image-spec v1, layer.md.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from orchestrator.images.image import ImageError

LAYER_SIZE_BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Largest unpacked layer; more is refused, so that an archive cannot fill the disk unseen."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def apply_layer(rootfs: Path, layer: bytes) -> None:
    """Extract one layer (tar, plain or compressed) over `rootfs`, honouring whiteouts.

    Raises ImageError for entries that would leave `rootfs`, and for devices; owners are not kept.
    """
    root = Path(os.path.realpath(rootfs))
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as tar:
        members = tar.getmembers()
        if sum(member.size for member in members) > LAYER_SIZE_BYTES_MAX:
            raise ImageError(f"a layer unpacks to more than {LAYER_SIZE_BYTES_MAX} bytes")
        for member in members:
            target = _inside(root, member.name)
            if target.name == _OPAQUE:
                shutil.rmtree(target.parent, ignore_errors=True)
                target.parent.mkdir(parents=True, exist_ok=True)
            elif target.name.startswith(_WHITEOUT):
                _remove(target.with_name(target.name.removeprefix(_WHITEOUT)))
            elif target != root:
                _extract(tar, member, root, target)


def _inside(root: Path, name: str) -> Path:
    """Return the path of an entry; its directory is followed, and must end up inside."""
    path = PurePosixPath("/" + name)
    if ".." in path.parts:
        raise ImageError(f"refused entry {name!r}: it leaves the image")
    relative = path.relative_to("/")
    if not relative.parts:
        return root
    parent = Path(os.path.realpath(root / relative.parent))
    if parent != root and not parent.is_relative_to(root):
        raise ImageError(f"refused entry {name!r}: it leaves the image")
    return parent / relative.name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        if target.is_symlink() or not target.is_dir():
            _remove(target)
            target.mkdir()
        target.chmod(member.mode & 0o7777)
        return
    _remove(target)
    if member.issym():
        target.symlink_to(_relative_link(root, target, member))
    elif member.islnk():
        os.link(_inside(root, member.linkname), target, follow_symlinks=False)
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None, "a regular file has content"
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)
        target.chmod(member.mode & 0o7777)
    else:
        raise ImageError(f"refused entry {member.name!r}: devices and pipes are not supported")


def _relative_link(root: Path, link: Path, member: tarfile.TarInfo) -> str:
    """Return the link's text, made relative; ImageError where it leads out of the tree."""
    if member.linkname.startswith("/"):
        target = os.path.normpath(f"{root}{member.linkname}")
        text = os.path.relpath(target, link.parent)
    else:
        target = os.path.normpath(link.parent / member.linkname)
        text = member.linkname
    if target != str(root) and not target.startswith(f"{root}{os.sep}"):
        raise ImageError(f"refused entry {member.name!r}: it links out of the image")
    return text


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
