from collections.abc import Mapping, Sequence

from raftkv.raft.messages import Entry, HardState

class LogStore:
    """The Raft log in one LMDB environment; a `LogReader`.

    Reads may come from any one thread at a time while another thread writes. Errors are those of
    `raftkv.storage.errors`; reads outside the log raise LogCompacted or LogUnavailable.
    """

    def __init__(self, path: str, map_size: int = ...) -> None:
        """Open or create the directory `path` (mode 0700). `map_size`: bytes of address space."""
    @property
    def first_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    def term(self, index: int) -> int: ...
    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]: ...
    def hard_state(self) -> HardState:
        """Return the stored hard state; zeros in a new log."""
    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Write and sync, in one transaction, with the GIL released meanwhile.

        Entries must be contiguous, and follow the log or replace its tail from the first one's
        index on. After a StorageError nothing more is written: every later write raises one, too.
        """
    def truncate_prefix(self, index: int) -> None:
        """Drop entries at and below `index` (<= last_index), which becomes the base; synced."""
    def reset(self, index: int, term: int, hard_state: HardState | None = None) -> None:
        """Drop all entries; the log then begins behind a snapshot at `index`; synced."""
    def get_metadata(self, name: str) -> bytes | None: ...
    def put_metadata(self, items: Mapping[str, bytes]) -> None:
        """Write all items (a cluster's and member's identity, ...) in one synced transaction."""
    @property
    def size_bytes(self) -> int:
        """Bytes of the file that hold pages in use or free for reuse."""
    def close(self) -> None:
        """Close; idempotent. The caller has ended all reads and writes before."""
