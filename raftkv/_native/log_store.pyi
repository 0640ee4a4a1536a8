from collections.abc import Mapping, Sequence

from raftkv.raft.messages import Entry, HardState

SEGMENT_BYTES_DEFAULT: int

class LogStore:
    """The Raft log in segment files; a `LogReader`.

    Reads may come from any one thread at a time while another thread writes. Errors are those of
    `raftkv.storage.errors`; reads outside the log raise LogCompacted or LogUnavailable.
    """

    def __init__(self, path: str, segment_bytes: int = ...) -> None:
        """Open or create the directory `path` (mode 0700). Costs a pass over the newest segment,
        and over the heads of the records in older ones. `segment_bytes`: size of a segment; the
        first ones are smaller, and one that holds a larger write is larger.
        """
    @property
    def path(self) -> str: ...
    @property
    def first_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    def term(self, index: int) -> int: ...
    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]: ...
    def hard_state(self) -> HardState:
        """Return the stored hard state; zeros in a new log."""
    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Write and sync, all or nothing, with the GIL released meanwhile.

        Entries must be contiguous, and follow the log or replace its tail from the first one's
        index on. After a StorageError nothing more is written: every later write raises one, too.
        """
    def begin_append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Begin what `append` does; the disk writes, where it can, while the caller goes on.

        Nothing of it counts before `end_append`, which must come before every other write.
        """
    def end_append(self) -> None:
        """Wait until what was begun is written and synced. Raises what `append` does."""
    def truncate_prefix(self, index: int) -> None:
        """Drop entries at and below `index` (<= last_index), which becomes the base; synced."""
    def reset(self, index: int, term: int, hard_state: HardState | None = None) -> None:
        """Drop all entries; the log then begins behind a snapshot at `index`; synced."""
    @property
    def wants_spare(self) -> bool:
        """Whether the next segment's file should be made now, so that no write waits for it."""
    def make_spare(self) -> None:
        """Make it; may run beside everything else. Raises StorageError, which is not final."""
    def get_metadata(self, name: str) -> bytes | None: ...
    def put_metadata(self, items: Mapping[str, bytes]) -> None:
        """Write all items (a cluster's and member's identity, ...) in one durable step."""
    @property
    def size_bytes(self) -> int:
        """Bytes of all files, spare ones included."""
    def close(self) -> None:
        """Close; idempotent. The caller has ended all reads and writes before."""
