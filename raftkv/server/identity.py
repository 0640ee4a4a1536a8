"""Ids of members and clusters, made from what all members know alike."""

import hashlib
from collections.abc import Iterable, Sequence

__all__ = ["cluster_id_of", "member_id_of"]


def member_id_of(peer_urls: Sequence[str], cluster_token: str) -> int:
    """Return a member's id: the first 8 bytes, big-endian, of SHA-1 over its URLs and the token."""
    text = "".join(sorted(peer_urls)) + cluster_token
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:8], "big")


def cluster_id_of(member_ids: Iterable[int]) -> int:
    """Return the cluster's id, made likewise from the ids of its first members."""
    data = b"".join(member_id.to_bytes(8, "big") for member_id in sorted(member_ids))
    return int.from_bytes(hashlib.sha1(data).digest()[:8], "big")
