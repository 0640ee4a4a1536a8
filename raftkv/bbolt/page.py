"""One page of a bbolt file, checked as it is taken apart. The format: `_native/bbolt_pages.pxd`."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from raftkv.bbolt.errors import BboltError

__all__ = ["BRANCH", "BUCKET", "HEADER", "LEAF", "Meta", "Page"]

BRANCH, LEAF, META = 0x01, 0x02, 0x04
"""Kinds of page, by their flags."""
BUCKET = 0x01
"""Flag of a leaf's element: its value is a bucket."""

HEADER = struct.Struct("<QHHI")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_META = struct.Struct("<IIIIQQQQQQ")
ELEMENT_BYTES = 16

_MAGIC, _VERSION = 0xED0CDAED, 2
PAGE_SIZES = tuple(1 << power for power in range(9, 17))
"""bbolt takes the machine's; 512 bytes to 64 KiB occur."""
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


@dataclass(frozen=True, slots=True)
class Meta:
    """One of the two descriptions of the whole file; the one of the later transaction holds."""

    page_size: int
    root: int
    """Page of the outermost bucket."""
    pages: int
    """How many the file has."""
    transaction: int

    @classmethod
    def parse(cls, page: bytes) -> "Meta | None":
        """Read a meta page; None unless it is one, whole, of the version that is known."""
        if len(page) < HEADER.size + _META.size:
            return None
        content = page[HEADER.size : HEADER.size + _META.size]
        magic, version, page_size, _, root, _, _, pages, transaction, sum_ = _META.unpack(content)
        if magic != _MAGIC or version != _VERSION or page_size not in PAGE_SIZES:
            return None
        if sum_ != _fnv1a(content[:-8]):
            return None
        return cls(page_size, root, pages, transaction)


class Page:
    """A branch or leaf with all its overflow pages in one piece.

    Keys and values lie one behind the other in the order of the elements, as bbolt writes them;
    anything else is refused, so that a page cannot yield more bytes than it has.
    """

    __slots__ = ("_count", "_data", "_where", "is_leaf")

    def __init__(self, data: bytes, page_id: int) -> None:
        """Raises BboltError. Inline buckets have pages of id 0."""
        found, flags, self._count, _ = HEADER.unpack_from(data)
        self._where = f"page {page_id}"
        self._data = data
        self.is_leaf = flags == LEAF
        if found != page_id:
            raise BboltError(f"{self._where} says that it is page {found}")
        if flags not in (BRANCH, LEAF):
            raise BboltError(f"{self._where} is neither branch nor leaf (flags {flags:#x})")
        if HEADER.size + ELEMENT_BYTES * self._count > len(data):
            raise BboltError(f"{self._where} has {self._count} elements, more than fit")
        if flags == BRANCH and not self._count:
            raise BboltError(f"{self._where} is a branch without children")

    def rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Go through (flags, key, value) of a leaf."""
        data, size = self._data, len(self._data)
        first = end = HEADER.size + ELEMENT_BYTES * self._count
        elements = _LEAF_ELEMENT.iter_unpack(data[HEADER.size : first])
        at = HEADER.size
        for flags, position, key_size, value_size in elements:
            begin = at + position
            middle = begin + key_size
            if begin < end or middle + value_size > size:
                raise self._outside(at)
            end = middle + value_size
            yield flags, data[begin:middle], data[middle:end]
            at += ELEMENT_BYTES

    def children(self) -> list[int]:
        """Return the page ids that a branch names, in order of their keys."""
        data, size = self._data, len(self._data)
        first = end = HEADER.size + ELEMENT_BYTES * self._count
        found = []
        at = HEADER.size
        for position, key_size, child in _BRANCH_ELEMENT.iter_unpack(data[HEADER.size : first]):
            begin = at + position
            if begin < end or begin + key_size > size:
                raise self._outside(at)
            end = begin + key_size
            found.append(child)
            at += ELEMENT_BYTES
        return found

    def _outside(self, at: int) -> BboltError:
        number = (at - HEADER.size) // ELEMENT_BYTES
        return BboltError(f"{self._where}: element {number} lies outside of its place")


def _fnv1a(data: bytes) -> int:
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return value
