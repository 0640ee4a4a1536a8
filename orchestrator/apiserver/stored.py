"""An object as the store holds it, kept as the bytes that clients receive.

Most objects pass through the API server unread: a list or a watch sends them as they were stored,
with the resource version put in. So objects are stored with `metadata` first, and reading one
is to put the version behind its opening brace; it is parsed only when somebody looks inside. That
also keeps the watch cache small: a parsed object takes about five times its JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson

from orchestrator.api.json_object import JsonObject

Conversion: TypeAlias = Callable[[JsonObject], JsonObject]

HEAD = b'{"metadata":{'
"""How the JSON of every stored object begins."""

VERSION_HEAD = HEAD + b'"resourceVersion":"'


class Undecodable(Exception):
    """A value under our root is not an object that we wrote, so it is not ours to guess at."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"the value of key {key.decode(errors='replace')} is not a JSON object")


class Stored:
    """One object at one revision: immutable, and shared by all who read it.

    `revision` is the key's mod revision, 0 for a dry run's object, which has none.
    """

    __slots__ = ("_encoded", "_fields", "_labels", "_object", "key", "revision")

    def __init__(
        self, key: bytes, revision: int, *, obj: JsonObject | None = None, encoded: bytes = b""
    ) -> None:
        """Make it of its parsed or its encoded form; both have the resource version inside."""
        assert obj is not None or encoded
        self.key = key
        self.revision = revision
        self._object = obj
        self._encoded = encoded
        self._fields: dict[str, str] | None = None
        self._labels: Mapping[str, str] | None = None

    @property
    def encoded(self) -> bytes:
        """The JSON for clients."""
        if not self._encoded:
            assert self._object is not None
            self._encoded = orjson.dumps(self._object)
        return self._encoded

    @property
    def object(self) -> JsonObject:
        """The parsed object, not to be altered. Cost: parsing, each time, where read as bytes."""
        if self._object is not None:
            return self._object
        parsed: JsonObject = orjson.loads(self._encoded)
        return parsed

    @property
    def labels(self) -> Mapping[str, str]:
        """The object's labels, extracted once."""
        if self._labels is None:
            self._labels = self.object["metadata"].get("labels") or {}
        return self._labels

    def fields(self, compute: Callable[[JsonObject], dict[str, str]]) -> dict[str, str]:
        """The values for field selectors, computed by the kind's strategy once."""
        if self._fields is None:
            self._fields = compute(self.object)
        return self._fields

    def at(self, revision: int) -> Stored:
        """The same object with a later resource version."""
        if self._encoded.startswith(VERSION_HEAD):
            end = self._encoded.index(b'"', len(VERSION_HEAD))
            encoded = b"%s%d%s" % (VERSION_HEAD, revision, self._encoded[end:])
            return Stored(self.key, revision, encoded=encoded)
        return with_revision(self.key, self.object, revision)


def with_revision(key: bytes, obj: JsonObject, revision: int) -> Stored:
    """Give a copy of `obj` that carries `revision`; nested values are shared with `obj`."""
    metadata = {**obj["metadata"], "resourceVersion": str(revision)}
    return Stored(key, revision, obj={**obj, "metadata": metadata})


def encode(obj: JsonObject) -> bytes:
    """Serialize for the store: `metadata` first, and without resourceVersion."""
    metadata = {name: v for name, v in obj["metadata"].items() if name != "resourceVersion"}
    rest = {name: value for name, value in obj.items() if name != "metadata"}
    return orjson.dumps({"metadata": metadata, **rest})


def decode(key: bytes, value: bytes, revision: int, conversion: Conversion | None) -> Stored:
    """Read what `encode` or another API server wrote; Undecodable for anything else.

    `conversion` brings a parsed object to the version served; None where it is the stored one.
    """
    if conversion is None and value.startswith(HEAD) and not value.startswith(b"}", len(HEAD)):
        encoded = b'%s%d",%s' % (VERSION_HEAD, revision, value[len(HEAD) :])
        return Stored(key, revision, encoded=encoded)
    try:
        parsed = orjson.loads(value)
        return with_revision(key, conversion(parsed) if conversion else parsed, revision)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise Undecodable(key) from error
