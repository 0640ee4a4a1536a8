"""Objects pass through as bytes, and say the same as when they are parsed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from orchestrator.apiserver.stored import Undecodable, decode, encode, with_revision

OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "labels": {"x": "y"}, "resourceVersion": "3"},
    "data": {"k": '"}{'},
}


def test_the_version_is_put_in_without_parsing() -> None:
    stored = decode(b"k", encode(OBJECT), 17, None)
    assert stored._object is None
    metadata = {**OBJECT["metadata"], "resourceVersion": "17"}
    assert orjson.loads(stored.encoded) == stored.object == {**OBJECT, "metadata": metadata}
    assert stored.labels == {"x": "y"}


def test_a_later_version_of_the_same() -> None:
    for stored in (decode(b"k", encode(OBJECT), 17, None), with_revision(b"k", OBJECT, 17)):
        later = stored.at(123456)
        assert later.revision == 123456
        assert later.object["metadata"]["resourceVersion"] == "123456"
        assert {**later.object, "metadata": None} == {**OBJECT, "metadata": None}
        assert stored.object["metadata"]["resourceVersion"] == "17"


@pytest.mark.parametrize(
    "value",
    [
        b'{"kind":"A","metadata":{"name":"a"}}',
        b'{"metadata":{},"kind":"A"}',
        b'{ "metadata": {"name": "a"}}',
    ],
)
def test_what_others_wrote_is_parsed(value: bytes) -> None:
    stored = decode(b"k", value, 5, None)
    assert stored.object["metadata"]["resourceVersion"] == "5"
    assert orjson.loads(stored.encoded) == stored.object


@pytest.mark.parametrize("value", [b"", b"k8s\0\n", b"[]", b"3", b"{}", b'{"metadata":3}'])
def test_what_is_no_object_is_named(value: bytes) -> None:
    with pytest.raises(Undecodable, match="some/key"):
        decode(b"some/key", value, 5, None)


def test_a_conversion_sees_the_parsed_object() -> None:
    stored = decode(b"k", encode(OBJECT), 5, lambda obj: {**obj, "kind": "Other"})
    assert stored.object["kind"] == "Other"
    assert stored.object["metadata"]["resourceVersion"] == "5"
