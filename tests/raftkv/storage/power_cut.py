"""What a disk may hold after a power cut, from a recording of everything that was done to it.

Only synced data is certain. Of writes after a file's last sync, any subset may have arrived, in
any order, torn at sectors; names created, renamed or removed since their directory's last sync are
there up to some point. A file that grew may have its new size and zeros in it.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path, PurePosixPath

SECTOR_BYTES = 512
HEAD = struct.Struct("<IIQQII")


class Kind(IntEnum):
    """What was called; numbers as in `faulty_disk.c`."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 3
    CREATE = 4
    RENAME = 5
    UNLINK = 6
    MARK = 7


@dataclass(frozen=True, slots=True)
class Event:
    """One call; fields as in `faulty_disk.c`."""

    kind: int
    durable: bool
    inode: int
    offset: int
    name: str
    data: bytes


def read_recording(path: str) -> list[Event]:
    """Return all calls in their order; a write that syncs is two: under way, and done.

    Files are numbered anew, as a file system gives a removed one's number to the next.
    """
    events: list[Event] = []
    numbers: dict[int, int] = {}
    content = Path(path).read_bytes()
    at = 0
    while at < len(content):
        kind, durable, inode, offset, name_size, size = HEAD.unpack_from(content, at)
        at += HEAD.size
        name = content[at : at + name_size].decode()
        at += name_size
        if kind == Kind.CREATE:
            numbers[inode] = -1 - len(events)
        inode = numbers.get(inode, inode)
        event = Event(kind, bool(durable), inode, offset, name, content[at : at + size])
        if kind == Kind.WRITE and durable:
            events.append(replace(event, durable=False))
        events.append(event)
        at += size
    return events


@dataclass(slots=True)
class File:
    """Certain content, and writes that are not synced, oldest first."""

    certain: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes, durable: bool) -> None:
        if not durable:
            self.pending.append((offset, data))
            return
        put(self.certain, offset, data)
        end = offset + len(data)
        self.pending = [
            (at, patched(at, old, offset, data))
            for at, old in self.pending
            if not offset <= at <= at + len(old) <= end
        ]

    def sync(self) -> None:
        for offset, data in self.pending:
            put(self.certain, offset, data)
        self.pending.clear()

    def truncate(self, size: int) -> None:
        self.sync()
        del self.certain[size:]
        self.certain.extend(bytes(size - len(self.certain)))

    def after_cut(self, chance: random.Random) -> bytes:
        """Return what may be read after a power cut."""
        content = bytearray(self.certain)
        arrives = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        torn = chance.random() < 0.5
        for offset, data in self.pending:
            step = SECTOR_BYTES if torn else len(data)
            for at in range(0, len(data), step):
                if chance.random() < arrives:
                    put(content, offset + at, data[at : at + step])
        if self.pending and chance.random() < 0.3:
            size = max(offset + len(data) for offset, data in self.pending)
            content.extend(bytes(max(0, size - len(content))))
        return bytes(content)


def put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def patched(at: int, old: bytes, offset: int, data: bytes) -> bytes:
    """Return an older write as it is where a newer one, which is certain, overlaps it."""
    lo, hi = max(at, offset), min(at + len(old), offset + len(data))
    return old if lo >= hi else old[: lo - at] + data[lo - offset : hi - offset] + old[hi - at :]


@dataclass(slots=True)
class Directory:
    """Certain names, and changes that are not synced: each a set of names set or (0) removed."""

    certain: dict[str, int] = field(default_factory=dict)
    pending: list[dict[str, int]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            self.certain.update(change)
        self.pending.clear()

    def after_cut(self, chance: random.Random) -> dict[str, int]:
        names = dict(self.certain)
        arrived = chance.choice((0, len(self.pending), chance.randint(0, len(self.pending))))
        for change in self.pending[:arrived]:
            names.update(change)
        return {name: inode for name, inode in names.items() if inode}


class Disk:
    """All files under `root`, as far as a recording was played."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.files: dict[int, File] = {}
        self.directories: dict[int, Directory] = {0: Directory()}
        self.inodes: dict[str, int] = {root: 0}
        self.marks: list[str] = []

    def play(self, event: Event) -> None:
        match event.kind:
            case Kind.WRITE if event.inode in self.files:
                self.files[event.inode].write(event.offset, event.data, event.durable)
            case Kind.SYNC:
                if event.inode in self.files:
                    self.files[event.inode].sync()
                if event.inode in self.directories:
                    self.directories[event.inode].sync()
            case Kind.TRUNCATE if event.inode in self.files:
                self.files[event.inode].truncate(event.offset)
            case Kind.CREATE:
                self._create(event)
            case Kind.RENAME:
                inode = self.inodes.pop(event.name)
                new = PurePosixPath(event.data.decode())
                assert new.parent == PurePosixPath(event.name).parent, "a rename across folders"
                self.inodes[str(new)] = inode
                self._change(new, {PurePosixPath(event.name).name: 0, new.name: inode})
            case Kind.UNLINK:
                del self.inodes[event.name]
                path = PurePosixPath(event.name)
                self._change(path, {path.name: 0})
            case Kind.MARK:
                self.marks.append(event.name)

    def _create(self, event: Event) -> None:
        path = PurePosixPath(event.name)
        if event.durable:
            self.directories[event.inode] = Directory()
        else:
            self.files[event.inode] = File()
        self.inodes[event.name] = event.inode
        self._change(path, {path.name: event.inode})

    def _change(self, path: PurePosixPath, change: dict[str, int]) -> None:
        parent = self.directories[self.inodes[str(path.parent)]]
        parent.pending.append(change)
        if parent is self.directories[0]:
            parent.sync()

    def write_image(self, target: Path, chance: random.Random) -> None:
        """Make what is found after a power cut now, under the directory `target`."""
        self._write_names(0, target, chance)

    def _write_names(self, inode: int, target: Path, chance: random.Random) -> None:
        target.mkdir()
        for name, entry in self.directories[inode].after_cut(chance).items():
            if entry in self.directories:
                self._write_names(entry, target / name, chance)
            else:
                (target / name).write_bytes(self.files[entry].after_cut(chance))
