"""The files of a log: segments, spare ones, and the metadata.

<sequence, 16 hex digits>.log   a segment (`log_segment`)
<number>.spare                  a file of full size that a later segment will be made of
metadata                        name -> value, rarely written: JSON behind its crc32
*.new                           a file that is being made; means nothing

A file that matters gets its name when its content is synced, and no name is relied on before the
directory is. All methods raise OSError as it comes.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from raftkv._native.zero_file import ZeroFile
from raftkv.storage.directory_sync import sync_directory

SPARES_MAX = 4
"""Files kept for later segments when a log's beginning is cut; more are removed."""

SEGMENT_NAME = re.compile(r"([0-9a-f]{16})\.log")


class LogDirectory:
    """The names in one log's directory. `make_spare` may run beside everything else."""

    def __init__(self, path: str, segment_bytes: int) -> None:
        """Open or create the directory; leftovers of unfinished work are removed."""
        self.path = Path(path)
        self._segment_bytes = segment_bytes
        self._lock = Lock()
        """Held while the spares change."""
        self._making: ZeroFile | None = None
        """The file that is being made; whoever needs one makes it hurry."""
        self._wanted = False
        """Whether somebody waits for the lock to take a file."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spares: list[Path] = []
        for file in sorted(self.path.iterdir()):
            if file.suffix == ".new":
                file.unlink()
            elif file.suffix == ".spare":
                self._keep_or_remove(file)
        self._next_number = 1 + max((int(one.stem) for one in self._spares), default=0)

    def sequences(self) -> list[int]:
        """Return the numbers of the segments that are there, ascending."""
        names = (SEGMENT_NAME.fullmatch(file.name) for file in self.path.iterdir())
        return sorted(int(name[1], 16) for name in names if name)

    def segment_path(self, sequence: int) -> Path:
        """Return where a segment lives."""
        return self.path / f"{sequence:016x}.log"

    @property
    def spare_count(self) -> int:
        """Files that wait to become segments."""
        return len(self._spares)

    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.stat().st_size for file in self.path.iterdir())

    def sync(self) -> None:
        """Make all names durable."""
        sync_directory(self.path)

    def sync_own_name(self) -> None:
        """Make the directory itself durable: whoever made it may not have."""
        sync_directory(self.path.parent)

    # --- segments --------------------------------------------------------------------------------

    def begin_segment(self, sequence: int, header: bytes, capacity_bytes: int) -> None:
        """Make a segment of this size; durable, name and all.

        A spare is taken where one fits. Takes as long as writing `capacity_bytes` otherwise.
        """
        self._wanted = True
        if (making := self._making) is not None:
            making.hurry = True
        with self._lock:
            self._wanted = False
            fits = self._spares and capacity_bytes == self._segment_bytes
            file = self._spares.pop() if fits else self._make(capacity_bytes, hurry=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        try:
            write_all(descriptor, header, 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(file, self.segment_path(sequence))
        self.sync()

    def make_spare(self) -> None:
        """Make one spare file ahead of its use, unless there is one; slowly, until it is needed."""
        with self._lock:
            if not self._spares:
                file = self._make(self._segment_bytes, hurry=False)
                self._spares.append(self._rename_to_spare(file))

    def drop_segment(self, sequence: int) -> None:
        """Let a segment go whose entries are not needed; its file is kept for a later one.

        Not durable at once: it may be found again after a power cut.
        """
        file = self.segment_path(sequence)
        if self._lock.acquire(blocking=False):
            try:
                if len(self._spares) < SPARES_MAX and file.stat().st_size == self._segment_bytes:
                    self._spares.append(self._rename_to_spare(file))
                    return
            finally:
                self._lock.release()
        os.unlink(file)

    def _make(self, size_bytes: int, *, hurry: bool) -> Path:
        """Write a file of zeros and sync it: blocks that were only reserved cost at every sync."""
        file = self.path / "segment.new"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        zeros = self._making = ZeroFile()
        zeros.hurry = hurry or self._wanted  # looked at after it can be told to
        try:
            zeros.write(descriptor, size_bytes)
            os.fsync(descriptor)
        except OSError:
            os.unlink(file)  # a full disk needs the room
            raise
        finally:
            self._making = None
            os.close(descriptor)
        return file

    def _rename_to_spare(self, file: Path) -> Path:
        target = self.path / f"{self._next_number}.spare"
        self._next_number += 1
        os.rename(file, target)
        return target

    def _keep_or_remove(self, file: Path) -> None:
        usable = file.stem.isdigit() and file.stat().st_size == self._segment_bytes
        if usable and len(self._spares) < SPARES_MAX:
            self._spares.append(file)
        else:
            file.unlink()

    # --- metadata --------------------------------------------------------------------------------

    def read_metadata(self) -> dict[str, bytes] | None:
        """Return what was written last, None if nothing ever was. Raises ValueError if damaged."""
        try:
            raw = (self.path / "metadata").read_bytes()
        except FileNotFoundError:
            return None
        checksum, _, body = raw.partition(b"\n")
        if checksum != b"%08x" % zlib.crc32(body):
            raise ValueError("the metadata does not match its checksum")
        return {name: bytes.fromhex(value) for name, value in json.loads(body).items()}

    def write_metadata(self, items: Mapping[str, bytes]) -> None:
        """Replace the metadata, in one durable step."""
        body = json.dumps({name: value.hex() for name, value in items.items()}).encode()
        draft = self.path / "metadata.new"
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, b"%08x\n" % zlib.crc32(body) + body, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(draft, self.path / "metadata")
        self.sync()


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it, however many calls that takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written
