"""A short name for a pod template's content."""

from typing import Final

import orjson

from orchestrator.api.json_object import JsonObject

SAFE_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes: a hash in a name never spells a word."""

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


def template_hash(template: JsonObject, collision_count: int = 0) -> str:
    """Hash a template: equal contents give equal hashes, whatever the order of keys.

    `collision_count` above 0 gives another hash for the same content, for when the name that the
    first one gives is taken. 32-bit FNV-1a of the canonical JSON; at most ten letters.
    """
    data = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collision_count:
        data += str(collision_count).encode()
    digest = _FNV_OFFSET
    for byte in data:
        digest = (digest ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return "".join(SAFE_LETTERS[int(digit) % len(SAFE_LETTERS)] for digit in str(digest))
