"""A typed asyncio client of CRI v1 over a unix socket.

One method a call of the API; requests are built here, so that callers see Python values
and generated answer messages only. Failures are `CriError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from orchestrator.pb.cri import api_pb2

MESSAGE_SIZE_BYTES_MAX = 16 * 1024 * 1024
"""Largest answer that is accepted: the list of all containers of a node."""

CALL_TIMEOUT_S = 120.0
"""Deadline of a call that names none; making a sandbox runs CNI plugins and may be slow."""

_RUNTIME = "/runtime.v1.RuntimeService/"
_IMAGE = "/runtime.v1.ImageService/"

_Answer = TypeVar("_Answer", bound=Message)


class CriError(Exception):
    """A CRI call failed.

    `code` is the gRPC status name, such as `NOT_FOUND`; `text` is what the runtime said.
    """

    def __init__(self, method: str, code: str, text: str) -> None:
        super().__init__(f"{method}: {text} ({code})")
        self.method = method
        self.code = code
        self.text = text

    @property
    def not_found(self) -> bool:
        return self.code == "NOT_FOUND"


class CriClient:
    """Call a CRI runtime at `socket_path`; use within one event loop, then `close()`."""

    def __init__(self, socket_path: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket_path}",
            options=[
                ("grpc.max_receive_message_length", MESSAGE_SIZE_BYTES_MAX),
                # A proxy named by the environment must not see a unix socket's calls.
                ("grpc.enable_http_proxy", 0),
                # containerd checks the authority, and a path is none.
                ("grpc.default_authority", "localhost"),
            ],
        )

    async def close(self) -> None:
        await self._channel.close()

    async def _call(
        self,
        service: str,
        name: str,
        request: Message,
        answer: type[_Answer],
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> _Answer:
        call = self._channel.unary_unary(
            service + name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            result: _Answer = await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise CriError(name, error.code().name, error.details() or "") from error
        return result

    # The runtime itself.

    async def version(self, timeout_s: float = CALL_TIMEOUT_S) -> api_pb2.VersionResponse:
        request = api_pb2.VersionRequest(version="0.1.0")
        return await self._call(_RUNTIME, "Version", request, api_pb2.VersionResponse, timeout_s)

    async def status(self) -> Mapping[str, api_pb2.RuntimeCondition]:
        """Return the conditions by type: `RuntimeReady` and `NetworkReady`."""
        answer = await self._call(
            _RUNTIME, "Status", api_pb2.StatusRequest(), api_pb2.StatusResponse
        )
        return {condition.type: condition for condition in answer.status.conditions}

    async def update_runtime_config(self, pod_cidr: str) -> None:
        config = api_pb2.RuntimeConfig(network_config=api_pb2.NetworkConfig(pod_cidr=pod_cidr))
        request = api_pb2.UpdateRuntimeConfigRequest(runtime_config=config)
        answer = api_pb2.UpdateRuntimeConfigResponse
        await self._call(_RUNTIME, "UpdateRuntimeConfig", request, answer)

    # Sandboxes.

    async def run_pod_sandbox(
        self, config: api_pb2.PodSandboxConfig, runtime_handler: str = ""
    ) -> str:
        """Create and start a sandbox, network included; return its id."""
        request = api_pb2.RunPodSandboxRequest(config=config, runtime_handler=runtime_handler)
        answer = await self._call(_RUNTIME, "RunPodSandbox", request, api_pb2.RunPodSandboxResponse)
        return answer.pod_sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Kill what runs in the sandbox and free its network. Idempotent."""
        request = api_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._call(_RUNTIME, "StopPodSandbox", request, api_pb2.StopPodSandboxResponse)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Remove the sandbox and its containers. Idempotent."""
        request = api_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._call(_RUNTIME, "RemovePodSandbox", request, api_pb2.RemovePodSandboxResponse)

    async def pod_sandbox_status(self, sandbox_id: str) -> api_pb2.PodSandboxStatus:
        request = api_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        answer = await self._call(
            _RUNTIME, "PodSandboxStatus", request, api_pb2.PodSandboxStatusResponse
        )
        return answer.status

    async def list_pod_sandbox(
        self, labels: Mapping[str, str] | None = None
    ) -> Sequence[api_pb2.PodSandbox]:
        request = api_pb2.ListPodSandboxRequest(
            filter=api_pb2.PodSandboxFilter(label_selector=labels or {})
        )
        answer = await self._call(
            _RUNTIME, "ListPodSandbox", request, api_pb2.ListPodSandboxResponse
        )
        return answer.items

    # Containers.

    async def create_container(
        self,
        sandbox_id: str,
        config: api_pb2.ContainerConfig,
        sandbox_config: api_pb2.PodSandboxConfig,
    ) -> str:
        """Create a container without starting it; return its id."""
        request = api_pb2.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config
        )
        answer = await self._call(
            _RUNTIME, "CreateContainer", request, api_pb2.CreateContainerResponse
        )
        return answer.container_id

    async def start_container(self, container_id: str) -> None:
        request = api_pb2.StartContainerRequest(container_id=container_id)
        await self._call(_RUNTIME, "StartContainer", request, api_pb2.StartContainerResponse)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Send the image's stop signal, then SIGKILL after `timeout_s`; return when it is dead."""
        request = api_pb2.StopContainerRequest(container_id=container_id, timeout=timeout_s)
        await self._call(
            _RUNTIME,
            "StopContainer",
            request,
            api_pb2.StopContainerResponse,
            timeout_s + CALL_TIMEOUT_S,
        )

    async def remove_container(self, container_id: str) -> None:
        request = api_pb2.RemoveContainerRequest(container_id=container_id)
        await self._call(_RUNTIME, "RemoveContainer", request, api_pb2.RemoveContainerResponse)

    async def list_containers(
        self, labels: Mapping[str, str] | None = None
    ) -> Sequence[api_pb2.Container]:
        request = api_pb2.ListContainersRequest(
            filter=api_pb2.ContainerFilter(label_selector=labels or {})
        )
        answer = await self._call(
            _RUNTIME, "ListContainers", request, api_pb2.ListContainersResponse
        )
        return answer.containers

    async def container_status(self, container_id: str) -> api_pb2.ContainerStatus:
        request = api_pb2.ContainerStatusRequest(container_id=container_id)
        answer = await self._call(
            _RUNTIME, "ContainerStatus", request, api_pb2.ContainerStatusResponse
        )
        return answer.status

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout_s: int
    ) -> api_pb2.ExecSyncResponse:
        """Run `command` in the container to its end; a command that overruns is a `CriError`."""
        request = api_pb2.ExecSyncRequest(
            container_id=container_id, cmd=list(command), timeout=timeout_s
        )
        return await self._call(
            _RUNTIME, "ExecSync", request, api_pb2.ExecSyncResponse, timeout_s + CALL_TIMEOUT_S
        )

    async def reopen_container_log(self, container_id: str) -> None:
        request = api_pb2.ReopenContainerLogRequest(container_id=container_id)
        answer = api_pb2.ReopenContainerLogResponse
        await self._call(_RUNTIME, "ReopenContainerLog", request, answer)

    # Images.

    async def list_images(self) -> Sequence[api_pb2.Image]:
        answer = await self._call(
            _IMAGE, "ListImages", api_pb2.ListImagesRequest(), api_pb2.ListImagesResponse
        )
        return answer.images

    async def image_status(self, image: str) -> api_pb2.Image | None:
        """Return the image that the reference names, None where it is not present."""
        request = api_pb2.ImageStatusRequest(image=api_pb2.ImageSpec(image=image))
        answer = await self._call(_IMAGE, "ImageStatus", request, api_pb2.ImageStatusResponse)
        return answer.image if answer.HasField("image") else None

    async def remove_image(self, image: str) -> None:
        request = api_pb2.RemoveImageRequest(image=api_pb2.ImageSpec(image=image))
        await self._call(_IMAGE, "RemoveImage", request, api_pb2.RemoveImageResponse)

    async def image_fs_info(self) -> Sequence[api_pb2.FilesystemUsage]:
        answer = await self._call(
            _IMAGE, "ImageFsInfo", api_pb2.ImageFsInfoRequest(), api_pb2.ImageFsInfoResponse
        )
        return answer.image_filesystems
