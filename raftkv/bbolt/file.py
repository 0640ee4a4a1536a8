"""A bbolt file, opened for reading: its buckets and their rows, in order.

Only what the later of the two meta pages says is read. Whatever the bytes are, reading ends, and
with an error unless they are a tree: each page is visited once at most, keys ascend, and memory is
one page (with what overflows from it), and a bit a page.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.page import BUCKET, HEADER, PAGE_SIZES, Meta, Page

__all__ = ["BboltFile"]

RUN_BYTES_MAX = 256 << 20
"""Of one page with its overflow: etcd refuses requests of more than a few MiB, where nobody told it
otherwise."""
META_ROOM_BYTES = 128
SHOWN_BYTES_MAX = 40
_BUCKET = struct.Struct("<QQ")

Row = tuple[int, bytes, bytes]
"""Flags of the element, key, value."""


class BboltFile:
    """Use as a context manager, or `close()` it. Raises BboltError, and OSError from the disk."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open the file; of what follows after `size` bytes it takes no notice."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._size = os.fstat(self._fd).st_size if size is None else size
            self._meta = self._find_meta()
            self._buckets = dict(self._named_buckets())
        except BboltError as error:
            self.close()
            raise BboltError(f"{path}: {error}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "BboltFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def size_bytes(self) -> int:
        """What the pages take, free ones included; the file may be longer."""
        return self._meta.pages * self._meta.page_size

    @property
    def buckets(self) -> tuple[bytes, ...]:
        """The outermost buckets' names, in order."""
        return tuple(self._buckets)

    def rows(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Go through keys and values of a bucket in order; nothing where there is none such."""
        value = self._buckets.get(bucket)
        if value is None:
            return
        try:
            for flags, key, content in self._walk_bucket(value):
                if flags & BUCKET:
                    raise BboltError("it has buckets of its own")
                yield key, content
        except BboltError as error:
            raise BboltError(f"{self.path}: bucket {_shown(bucket)}: {error}") from error

    def _find_meta(self) -> Meta:
        first = Meta.parse(self._read(0, META_ROOM_BYTES))
        found = [] if first is None else [first]
        for size in PAGE_SIZES if first is None else (first.page_size,):
            second = Meta.parse(self._read(size, META_ROOM_BYTES))
            if second is not None and second.page_size == size:
                found.append(second)
        if not found:
            raise BboltError("not a bbolt file, or both its meta pages are damaged")
        meta = max(found, key=lambda one: one.transaction)
        missing = meta.pages * meta.page_size - self._size
        if missing > 0:
            raise BboltError(f"the file was cut off, {missing} bytes are missing")
        return meta

    def _named_buckets(self) -> Iterator[tuple[bytes, bytes]]:
        for flags, name, value in self._walk(self._meta.root):
            if not flags & BUCKET:
                raise BboltError(f"key {_shown(name)} is outside of all buckets")
            yield name, value

    def _walk_bucket(self, value: bytes) -> Iterator[Row]:
        if len(value) < _BUCKET.size:
            raise BboltError("it has no root")
        root, _ = _BUCKET.unpack_from(value)
        if root:
            return self._walk(root)
        if len(value) < _BUCKET.size + HEADER.size:
            raise BboltError("it has no page")
        page = Page(value[_BUCKET.size :], 0)
        if not page.is_leaf:
            raise BboltError("a branch inside of a leaf")
        return _ascending(page.rows(), b"")

    def _walk(self, root: int) -> Iterator[Row]:
        """Go through the leaves under a page from left to right."""
        seen = bytearray((self._meta.pages + 7) // 8)
        self._enter(root, seen)
        waiting = [root]
        last = b""
        while waiting:
            page = self._load(waiting.pop(), seen)
            if page.is_leaf:
                for row in _ascending(page.rows(), last):
                    last = row[1]
                    yield row
                continue
            for child in reversed(page.children()):
                self._enter(child, seen)
                waiting.append(child)

    def _enter(self, page: int, seen: bytearray) -> None:
        """Note a page that is to be visited. Raises BboltError if it was noted before."""
        if page >= self._meta.pages:
            raise BboltError(f"page {page} is beyond the last, {self._meta.pages - 1}")
        bit = 1 << (page & 7)
        if seen[page >> 3] & bit:
            raise BboltError(f"page {page} is in two places")
        seen[page >> 3] |= bit

    def _load(self, page: int, seen: bytearray) -> Page:
        size = self._meta.page_size
        data = self._read(page * size, size)
        if len(data) < size:
            raise BboltError(f"page {page} cannot be read")
        overflow = HEADER.unpack_from(data)[3]
        if overflow:
            if (overflow + 1) * size > RUN_BYTES_MAX:
                raise BboltError(f"page {page} overflows into {overflow} pages, too many")
            for more in range(page + 1, page + overflow + 1):
                self._enter(more, seen)
            data = self._read(page * size, (overflow + 1) * size)
        return Page(data, page)

    def _read(self, offset: int, size: int) -> bytes:
        """Read up to `size` bytes: less only at the end of what the file has."""
        return os.pread(self._fd, max(0, min(size, self._size - offset)), offset)


def _ascending(rows: Iterator[Row], last: bytes) -> Iterator[Row]:
    """Pass rows on whose keys ascend from `last`. An empty key, which bbolt refuses, is below."""
    for row in rows:
        if row[1] <= last:
            raise BboltError(f"key {_shown(row[1])} comes after {_shown(last)}")
        last = row[1]
        yield row


def _shown(key: bytes) -> str:
    """Name a key in a message, which it must not fill."""
    return repr(key[:SHOWN_BYTES_MAX]) + ("..." if len(key) > SHOWN_BYTES_MAX else "")
