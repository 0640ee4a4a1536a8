from typing import final

@final
class SnapshotWriter:
    """Receives a snapshot beside the live state in `directory`; `MvccStore.install` takes it.

    Methods may be called in any thread, one at a time; they wait for the disk without the GIL. One
    writer a directory. StoreIOError: the disk failed or is full; `discard` and report it.
    """

    directory: str
    file: str
    next_chunk: int
    """The sequence number that the next chunk must have; above 0 after an interrupted transfer."""
    digest: bytes
    """Of what was received: what the chunk `next_chunk` must name. For `SnapshotReader.seek`."""
    complete: bool
    """All chunks are here, checked and synced."""
    index: int
    """Of the snapshot, from chunk 0 on; 0 before."""
    term: int
    revision: int
    compact_revision: int

    def __init__(
        self, directory: str, *, cluster_id: int, member_id: int, map_size: int = 1 << 40
    ) -> None:
        """Go on with what an earlier writer received, if it is whole; else begin anew."""
    def write(self, chunk: bytes) -> None:
        """Take one chunk; when this returns it is synced. Chunk 0 always begins anew.

        SnapshotError: it is damaged, of another snapshot or cluster, or not the next one. Nothing
        of it was written, and `next_chunk` may still be sent.
        """
    def discard(self) -> None:
        """Drop what was received; the next chunk is 0."""
    def close(self) -> None:
        """Release the file, which stays for a later writer. Idempotent."""
