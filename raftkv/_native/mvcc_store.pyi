from concurrent.futures import Executor
from typing import final

from raftkv._native.mvcc_history import StateHash
from raftkv._native.snapshot_reader import SnapshotReader
from raftkv._native.snapshot_writer import SnapshotWriter

live_stores: int
"""Stores of this process that are not closed: zero after every test."""

@final
class MvccStore:
    """The replicated state of one member, in memory and on LMDB.

    One thread calls everything. Requests and responses are protobuf bytes of the etcd v3 API; where
    a method returns `bytes | int`, the int is a `raftkv.errors.ErrorCode`. `StoreIOError` from any
    method means that the disk failed or lied: the member must stop.
    """

    path: str
    """The state's directory."""
    revision: int
    """Current main revision; 1 in an empty store."""
    compact_revision: int
    """Reads below it are refused; -1 before the first compaction."""
    compacted_revision: int
    """Compaction is worked off on disk up to here: what a `physical` compaction waits for."""
    applied_index: int
    applied_term: int
    flushed_index: int
    """Entries up to here are on disk: a restart applies what follows; the log may drop the rest."""
    flushed_revision: int
    lease_count: int
    table_bytes: int
    """Memory of the tables not yet on disk."""
    table_full: bool
    """The table has its size and the flush before it still runs: propose nothing for now."""
    flush_running: bool

    def __init__(
        self,
        path: str,
        *,
        cluster_id: int,
        member_id: int,
        map_size: int = 1 << 40,
        table_bytes_max: int = 64 << 20,
        txn_ops_max: int = 128,
        flush_pool: Executor | None = None,
    ) -> None:
        """Open or create the state in directory `path` (made 0700).

        `table_bytes_max` bounds both tables together, half each, but for the batch that passes
        it; 32,768 keys fill a table, too, as each may cost its flush a page. `flush_pool`: where
        flushes and compaction steps run, one at a time, instead of a thread of the store's own; it
        is shut down with the store. Cost: O(leases + meta records).
        StoreCorruptError: the directory is damaged, or another member's.
        """
    def close(self) -> None:
        """Wait for the flush that runs, then release everything. What is not flushed is dropped."""
    def check_put(self, request: bytes) -> int:
        """Say what forbids proposing this PutRequest, whatever the state: 0 or an ErrorCode."""
    def check_delete_range(self, request: bytes) -> int: ...
    def check_range(self, request: bytes) -> int: ...
    def check_txn(self, request: bytes) -> int: ...
    def txn_is_read_only(self, request: bytes) -> bool:
        """Tell whether both branches hold nothing but ranges: then it needs no log entry."""
    def txn_is_serializable(self, request: bytes) -> bool:
        """Tell whether it is read-only and every range in it is serializable."""
    def apply(
        self, index: int, term: int, batch: bytes, answer: bool
    ) -> list[bytes | int | tuple[int, bytes]] | None:
        """Apply the entry `index` (format: ARCHITECTURE.md, Batch); starts a flush when one is due.

        With `answer`, one item a command: response, ErrorCode (it changed nothing), or (kind,
        payload) of an opaque command; else None. An entry at or below `applied_index` is skipped
        (an empty list). ValueError, before any change: not a batch. A batch that is a large value
        for the most part is kept until that is flushed.
        """
    def apply_empty(self, index: int, term: int) -> None:
        """Move `applied_index` over an entry that holds no batch."""
    def put_member_record(self, key: bytes, value: bytes | None) -> None:
        """Set (None: delete) a small record; it reaches the disk with the applied index."""
    def member_records(self) -> dict[bytes, bytes]: ...
    def range(self, request: bytes, raft_term: int) -> bytes | int:
        """Answer a RangeRequest. Cost: O(keys in the range), as the count ignores the limit."""
    def small_range(self, request: bytes, raft_term: int) -> bytes | int | None:
        """Like `range`; None where that would take long or be large: read it with RangeReader.

        Bounds are `mvcc_range.pxd`'s. Only ranges in the order of keys are ever given up.
        """
    def range_page(self, request: bytes, raft_term: int) -> bytes | int:
        """Like `range`, but stop at the limit: `more` is right, `count` is not. Cost: O(limit)."""
    def txn_read(self, request: bytes, raft_term: int) -> bytes | int:
        """Answer a read-only transaction; INVALID_REQUEST when it would write."""
    def events(
        self, start_revision: int, end_revision: int, bytes_max: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return (main revision, key, encoded mvccpb.Event without prev_kv) in order.

        Revisions in [start, end], whole ones only, at least one if there is any, ending with the
        first that reaches `bytes_max` in total. StoreError COMPACTED below `compact_revision`.
        """
    def previous_kv(self, key: bytes, revision: int) -> bytes | None:
        """Return the encoded KeyValue of the key before main revision `revision`.

        None where the key was not there, or that revision is compacted (etcd #10681).
        """
    def hash_kv(self, revision: int) -> tuple[int, int, int]:
        """Return (CRC-32C, compact revision, revision) of the state at a revision, 0: current.

        Equal on all members at the same revision and compact revision. Cost: O(all versions), at
        once: for small states and tests. StoreError COMPACTED or FUTURE_REV.
        """
    def hash_begin(self, revision: int) -> StateHash:
        """Begin what `hash_kv` does, to be worked off by `hash_step` while writes go on."""
    def hash_step(self, work: StateHash, records_max: int) -> bool:
        """Hash up to `records_max` versions more; tell whether it is done.

        Begins anew when a compaction was applied since the last step, as that changes what is
        hashed; StoreError COMPACTED when it passed the revision.
        """
    def lease_ttl(self, lease: int) -> int:
        """Return the granted TTL in seconds, 0 for an unknown lease."""
    def lease_ids(self) -> list[int]: ...
    def lease_keys(self, lease: int) -> list[bytes]:
        """Return the keys attached to the lease, sorted. Cost: O(keys of the lease)."""
    def take_lease_changes(self) -> list[tuple[str, int, int]]:
        """Return ('grant', id, TTL) and ('revoke', id, 0) since the last call, in order."""
    def maybe_flush(self, force: bool = False) -> None:
        """Take over what the flusher thread finished; start what is due. Never waits.

        Due are a full table, compaction, and with `force` anything not on disk. To be called now
        and then when nothing is applied. Raises what the thread met.
        """
    def flush(self) -> None:
        """Write everything to disk and wait for it."""
    def compact_step(self, records_max: int) -> bool:
        """Work off about `records_max` records of compaction, waiting; tell if more is left."""
    def snapshot_open(self, flush: bool = True) -> SnapshotReader:
        """Open the state on disk for reading as one, while writes go on; at most 16 at once.

        With `flush`, everything applied is flushed first, waiting, so that it covers
        `applied_index`; without, it covers `flushed_index` and does not wait.
        """
    def install(self, writer: SnapshotWriter) -> None:
        """Put a complete snapshot in the place of the whole state, by one rename.

        After a crash the state is the old or the new one. Open snapshots are closed; leases that
        differ are told by `take_lease_changes`. Waits for a flush that runs, and for the disk.
        ValueError: not complete, of another directory, or behind `applied_index`.
        """
    def counts(self) -> tuple[int, int, int, int, int, int]:
        """Return (keys there are, puts, deletions, ranges, transactions, bytes put).

        All but the first since this store was opened, operations of transactions included;
        transactions are those of more than one operation, as etcd counts.
        """
    def db_size(self) -> tuple[int, int]:
        """Return (bytes the file has grown to, bytes that hold data)."""
