"""Server reflection, v1 and v1alpha: what services there are and what their messages look like.

For grpcurl, Postman and the like, which so need no .proto files. What is told is what is served:
the services of the method table, and the files in which the descriptor pool has them.
"""

from __future__ import annotations

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from raftkv._native.http2 import MethodTable
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import reflection_v1_pb2 as pb
from raftkv.pb.etcd import reflection_v1alpha_pb2
from raftkv.rpc.gateway_paths import load_descriptors
from raftkv.rpc.registry import Call, ServiceRegistry

__all__ = ["ReflectionService"]

VERSIONS = ("v1", "v1alpha")
"""Both have the same messages on the wire."""


class ReflectionService:
    """Answers questions about a method table."""

    def __init__(self, methods: MethodTable) -> None:
        assert reflection_v1alpha_pb2.DESCRIPTOR  # it is told about, too
        load_descriptors()
        self._methods = methods
        self._pool = descriptor_pool.Default()

    def register(self, registry: ServiceRegistry) -> None:
        """Add the method in both versions."""
        for version in VERSIONS:
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            registry.streaming(path, pb.ServerReflectionRequest, self.info)

    async def info(
        self, call: Call[pb.ServerReflectionRequest, pb.ServerReflectionResponse]
    ) -> None:
        """Answer each question of a stream."""
        async for request in call:
            await call.send(self.answer(request))

    def answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        """Answer one question."""
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            match request.WhichOneof("message_request"):
                case "list_services":
                    for name in self._services():
                        response.list_services_response.service.add(name=name)
                case "file_by_filename":
                    self._tell(response, self._pool.FindFileByName(request.file_by_filename))
                case "file_containing_symbol":
                    self._tell(response, self._file_of(request.file_containing_symbol))
                case "all_extension_numbers_of_type":
                    name = request.all_extension_numbers_of_type
                    self._pool.FindMessageTypeByName(name)  # none of ours has extensions
                    response.all_extension_numbers_response.base_type_name = name
                case "file_containing_extension":
                    raise KeyError("extension")
                case _:
                    _fail(response, GrpcStatus.INVALID_ARGUMENT, "no question that is known here")
        except KeyError:
            _fail(response, GrpcStatus.NOT_FOUND, "not found")
        return response

    def _file_of(self, symbol: str) -> FileDescriptor:
        """Return the file of a service, method, message or enum. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file

    def _services(self) -> list[str]:
        paths = (method.path.decode() for method in self._methods.all())
        return sorted({path.split("/")[1] for path in paths})

    def _tell(self, response: pb.ServerReflectionResponse, file: FileDescriptor) -> None:
        """Add a file and all that it imports, imports first."""
        seen: dict[str, bytes] = {}

        def visit(one: FileDescriptor) -> None:
            if one.name not in seen:
                for imported in one.dependencies:
                    visit(imported)
                seen[one.name] = one.serialized_pb

        visit(file)
        response.file_descriptor_response.file_descriptor_proto.extend(reversed(seen.values()))


def _fail(response: pb.ServerReflectionResponse, code: GrpcStatus, text: str) -> None:
    response.error_response.error_code = int(code)
    response.error_response.error_message = text
