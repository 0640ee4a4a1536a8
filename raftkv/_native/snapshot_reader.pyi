from typing import final

@final
class SnapshotReader:
    """The state at one applied index, as chunks (format: `snapshot_reader.pxd`).

    From `MvccStore.snapshot_open()`. Methods may be called in any thread, one at a time; they hold
    no GIL while they read. Writes go on meanwhile; the pages that the snapshot needs are not reused
    until `close`, so the state's file grows by what is rewritten while it is open.
    """

    cluster_id: int
    index: int
    """The last applied index that the snapshot covers."""
    term: int
    """The term of the entry at `index`."""
    revision: int
    compact_revision: int
    records: dict[bytes, bytes]
    """The member records in it, the membership among them."""
    next_chunk: int
    """Sequence number of the chunk that the next `read` returns."""
    finished: bool
    """The last chunk was read."""
    digest: bytes
    """Of all chunks before `next_chunk`, 32 bytes."""

    def read(self, bytes_max: int) -> bytes:
        """Return the next chunk, b"" after the last.

        Of at most `bytes_max` bytes, or one row if that is larger. Cost: O(bytes_max). ValueError
        when closed, StoreIOError when the disk failed, StoreCorruptError for a damaged state.
        """
    def seek(self, chunk: int, digest: bytes) -> bool:
        """Go on with a chunk that was read before, or the next one.

        False, and nothing changed, unless the digest before that chunk is `digest`: then the
        receiver has another snapshot, and the transfer starts with `seek(0, bytes(32))`.
        """
    def close(self) -> None:
        """Let go of the snapshot. Idempotent; closing the store does it too."""
