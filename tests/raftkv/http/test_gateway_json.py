"""The gateway's JSON: equal to protobuf's own, strict where that is lax, whole whatever comes."""

import json
import random

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.rpc.gateway_json import JsonError, decode, encode
from raftkv.rpc.gateway_large import LargeAnswer
from raftkv.rpc.gateway_paths import gateway_methods
from raftkv.rpc.gateway_splitter import ObjectSplitter

KEY_VALUE = kv_pb2.KeyValue


def fill(message: Message, chance: random.Random, depth: int = 0) -> None:
    """Set fields at random."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.4:
            continue
        for _ in range(chance.randrange(1, 3) if field.is_repeated else 1):
            if field.message_type is not None:
                if depth < 4:
                    part = getattr(message, field.name)
                    target = part.add() if field.is_repeated else part
                    target.SetInParent()
                    fill(target, chance, depth + 1)
                continue
            value: object
            if field.enum_type is not None:
                value = chance.choice(sorted(field.enum_type.values_by_number))
            elif field.type == field.TYPE_BYTES:
                value = chance.randbytes(chance.randrange(5))
            elif field.cpp_type == field.CPPTYPE_STRING:
                value = chance.choice(["", "x", 'ü\n"\\', "\U0001f600"])
            elif field.cpp_type == field.CPPTYPE_BOOL:
                value = chance.random() < 0.5
            else:
                value = chance.choice([0, 1, (1 << 31) - 1])
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


@pytest.mark.parametrize("path", sorted(gateway_methods()))
def test_every_message_is_written_and_read_as_protobuf_does(path: str) -> None:
    method = gateway_methods()[path]
    chance = random.Random(path)
    for message_type in (method.request_type, method.response_type):
        for _ in range(20):
            message = message_type()
            fill(message, chance)
            text = encode(message)
            expected = json_format.MessageToDict(message, preserving_proto_field_name=True)
            assert json.loads(text) == expected
            assert decode(text, message_type) == message
            camel = json_format.MessageToJson(message)
            assert decode(camel.encode(), message_type) == message


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ('"YWI="', b"ab"),
        ('"YWI"', b"ab"),
        ('"-_8="', b"\xfb\xff"),
        ('"+/8="', b"\xfb\xff"),
        ('""', b""),
        ("null", b""),
    ],
)
def test_base64_of_both_alphabets_is_read(value: str, content: bytes) -> None:
    message = decode(b'{"key":%b}' % value.encode(), KEY_VALUE)
    assert isinstance(message, KEY_VALUE)
    assert message.key == content


@pytest.mark.parametrize(
    "text",
    [
        '{"key":"YQ=a"}',
        '{"key":"Y"}',
        '{"key":"YWI=="}',
        '{"key":"-/8="}',
        '{"key":"Y Q=="}',
        '{"key":{}}',
        '{"version":"1.5"}',
        '{"version":true}',
        '{"version":1e400}',
        '{"version":NaN}',
        '{"version":"' + "9" * 5000 + '"}',
        '{"version":' + "9" * 5000 + "}",
        '{"key":"\ud800"}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(JsonError):
        decode(text.encode("utf-8", "surrogatepass"), KEY_VALUE)


def test_nesting_is_bounded() -> None:
    text = b"{}"
    for _ in range(101):
        text = b'{"success":[{"request_txn":%b}]}' % text
    with pytest.raises(JsonError, match="within each other"):
        decode(text, rpc_pb2.TxnRequest)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_objects_are_cut_wherever_the_pieces_end(size: int) -> None:
    objects = [b"{}", b'{"a":"}{\\"\\\\"}', b'{"b":{"c":[{}, "\\u007d"]}}', b'{"d":"\xc3\xbc"}']
    body = b" \n" + b"\r\n ".join(objects) + b"  {"
    splitter = ObjectSplitter(1000)
    found = [
        text
        for start in range(0, len(body), size)
        for text in splitter.push(body[start : start + size])
    ]
    assert found == objects
    assert not splitter.is_between


def test_an_endless_object_is_refused() -> None:
    splitter = ObjectSplitter(100)
    assert list(splitter.push(b'{"a":"' + b"x" * 90)) == []
    with pytest.raises(JsonError, match="more than 100 bytes"):
        list(splitter.push(b"x" * 10))


@pytest.mark.parametrize("size", [1, 3, 50, 100_000])
def test_a_large_answer_in_pieces_is_the_same_json(size: int) -> None:
    response = rpc_pb2.RangeResponse(more=True, count=1 << 40)
    response.header.revision = 7
    for number in range(40):
        response.kvs.add(key=b"k%d" % number, value=b"v" * number, version=number)
    for message in (response, rpc_pb2.RangeResponse(), rpc_pb2.RangeResponse(kvs=response.kvs)):
        large, data, text = LargeAnswer(rpc_pb2.RangeResponse), message.SerializeToString(), b""
        for start in range(0, len(data), size):
            text += large.push(data[start : start + size])
        assert text + large.end() == encode(message)
