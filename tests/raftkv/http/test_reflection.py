"""Server reflection by grpcio: enough to call a method without any generated code."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import reflection_v1_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

Request: TypeAlias = pb.ServerReflectionRequest
Response: TypeAlias = pb.ServerReflectionResponse


async def ask(channel: grpc.aio.Channel, version: str, *requests: Request) -> list[Response]:
    """Ask several questions on one stream."""

    async def all_requests() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=Request.SerializeToString,
        response_deserializer=Response.FromString,
    )
    return [response async for response in call(all_requests())]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_are_listed_and_each_is_described(
    served: ProcessCluster, version: str
) -> None:
    async with grpc.aio.insecure_channel(served.endpoints[0]) as channel:
        (listed,) = await ask(channel, version, Request(list_services=""))
        names = [service.name for service in listed.list_services_response.service]
        for name in ("etcdserverpb.KV", "etcdserverpb.Watch", "v3lockpb.Lock"):
            assert name in names
        assert f"grpc.reflection.{version}.ServerReflection" in names
        questions = [Request(file_containing_symbol=name) for name in names]
        answers = await ask(channel, version, *questions)
        assert len(answers) == len(names)
        for name, answer in zip(names, answers, strict=True):
            pool = pool_of(answer)
            assert pool.FindServiceByName(name).methods


def pool_of(answer: Response) -> descriptor_pool.DescriptorPool:
    """Build a pool of nothing but what was answered; imports come last, as grpcurl expects."""
    pool = descriptor_pool.DescriptorPool()
    files = answer.file_descriptor_response.file_descriptor_proto
    assert files, answer.error_response
    for file in reversed(files):
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    return pool


async def test_a_method_is_called_with_what_was_learned(served: ProcessCluster) -> None:
    async with grpc.aio.insecure_channel(served.endpoints[0]) as channel:
        (answer,) = await ask(channel, "v1", Request(file_containing_symbol="etcdserverpb.KV.Put"))
        method = pool_of(answer).FindMethodByName("etcdserverpb.KV.Put")
        request = message_factory.GetMessageClass(method.input_type)(key=b"reflected")
        response_type = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary(
            "/etcdserverpb.KV/Put",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_type.FromString,
        )
        response = await call(request)
        assert response.header.revision > 1


async def test_what_is_unknown_is_an_answer_not_an_end(served: ProcessCluster) -> None:
    async with grpc.aio.insecure_channel(served.endpoints[0]) as channel:
        answers = await ask(
            channel,
            "v1",
            Request(file_containing_symbol="no.Such"),
            Request(file_by_filename="no/such.proto"),
            Request(file_containing_extension=pb.ExtensionRequest(containing_type="x")),
            Request(all_extension_numbers_of_type="no.Such"),
            Request(),
            Request(all_extension_numbers_of_type="etcdserverpb.PutRequest"),
            Request(file_by_filename="etcd/kv.proto"),
        )
        codes = [answer.error_response.error_code for answer in answers]
        assert codes[:4] == [GrpcStatus.NOT_FOUND] * 4
        assert codes[4] == GrpcStatus.INVALID_ARGUMENT
        assert codes[5:] == [0, 0]
        assert len(answers[6].file_descriptor_response.file_descriptor_proto) == 1
