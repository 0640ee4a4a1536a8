"""Reading a range that is too large for one answer, in slices and at one revision."""

from raftkv._native.mvcc_store import MvccStore

class RangeReader:
    """One answer to a RangeRequest of many keys, in their order; filters and limit included.

    Holds no more than one piece. The revision is fixed at the beginning; every method raises
    StoreError(COMPACTED) when a compaction has passed it, or StoreError when the store is closed.
    """

    def __init__(self, store: MvccStore, message: bytes, raft_term: int) -> None:
        """`message`: a RangeRequest that was checked. ValueError where it has another order, or no
        range_end; StoreError(FUTURE_REV)."""
    @property
    def revision(self) -> int: ...
    @property
    def is_of_named_revision(self) -> bool:
        """Whether the request named the revision; else it is the newest of when this was made."""
    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int:
        """Bytes of the RangeResponse, once `measure` has returned True."""
    def measure(self, keys_max: int) -> bool:
        """Go through up to `keys_max` more keys; True once all were seen. O(keys_max)."""
    def read(self, bytes_wanted: int, keys_max: int) -> bytes | None:
        """Return the next piece of the RangeResponse; None after the last.

        A piece ends with the key that makes it `bytes_wanted` long or longer, or after `keys_max`
        keys; it may be empty. All pieces together have `size` bytes.
        """
