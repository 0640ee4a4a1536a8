"""The arithmetic of key ranges `[key, range_end)`."""

ALL_KEYS_FROM = b"\0"
"""As `range_end`: every key at or after `key`."""


def prefix_range_end(prefix: bytes) -> bytes:
    """Give the `range_end` that makes `[prefix, range_end)` hold exactly the keys with that prefix.

    The last byte that is not 0xff is incremented and what follows is cut off; a prefix of nothing
    but 0xff bytes (or an empty one) has no upper bound, which etcd writes as `\\0`.
    """
    for i in range(len(prefix) - 1, -1, -1):
        if prefix[i] < 0xFF:
            return prefix[:i] + bytes([prefix[i] + 1])
    return ALL_KEYS_FROM
