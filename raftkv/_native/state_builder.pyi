from collections.abc import Mapping
from typing import final

@final
class StateBuilder:
    """Makes the state of a member that has not lived yet: versions first, then `finish`.

    One thread. StoreIOError: the disk failed or is full. Cost of a version: as of a put.
    """

    revision: int
    """Main revision of the version added last; 0 before the first."""
    versions: int
    """Added so far, tombstones included."""

    def __init__(self, path: str, *, map_size: int = 1 << 40) -> None:
        """Create a state in the directory `path`, which has none."""
    def add(self, revision: bytes, key_value: bytes) -> None:
        """Add one row of etcd's bucket "key" (`bbolt_emitter.pxd`), in ascending order.

        ValueError, and nothing added: it is no such row, or not above the one before.
        """
    def finish(
        self,
        *,
        cluster_id: int,
        member_id: int,
        index: int,
        term: int,
        revision: int,
        compact_revision: int,
        leases: Mapping[int, int],
        records: Mapping[bytes, bytes],
    ) -> None:
        """Write what is left, synced, and close.

        The state then is as of the entry `index` of `term`. `compact_revision` -1: never compacted;
        else the member works the compaction off when it runs. `leases`: id -> granted TTL in
        seconds. `records`: as `MvccStore.member_records`.
        """
    def close(self) -> None:
        """Release the directory, unfinished as it may be. Idempotent."""
