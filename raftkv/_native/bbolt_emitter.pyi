from collections.abc import Mapping, Sequence
from typing import final

from raftkv._native.snapshot_reader import SnapshotReader

@final
class BboltEmitter:
    """A state as a bbolt file in etcd's layout: first `measure`, then `read` to the end.

    Format: `bbolt_emitter.pxd` and `bbolt_pages.pxd`. Methods may be called in any thread, one at a
    time, and hold no GIL while they work. ValueError once the snapshot is closed; StoreIOError and
    StoreCorruptError as with `SnapshotReader.read`. Memory: what `read` is asked for, the largest
    value, and a few pages.
    """

    total_bytes: int
    """Size of the file, a multiple of 4096; 0 until it is measured."""

    def __init__(
        self,
        snapshot: SnapshotReader,
        buckets: Mapping[bytes, Sequence[tuple[bytes, bytes]]],
    ) -> None:
        """`buckets`: the small ones with their rows, which need not be sorted.

        "key" and "lease" come from the snapshot. The owner closes the snapshot.
        """
    def measure(self, rows_max: int) -> bool:
        """Go through about `rows_max` rows more; tell whether the size is known now."""
    def read(self, bytes_max: int) -> bytes:
        """Return the next whole pages, at least one and about `bytes_max`; b"" at the end.

        ValueError before `measure` said that it is done.
        """
