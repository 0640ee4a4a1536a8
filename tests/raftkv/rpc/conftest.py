"""One member for all tests of the services, and a fresh channel to it for each."""

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from raftkv.testing.process_cluster import ProcessCluster


@pytest.fixture(scope="session")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    flags = ["--watch-progress-notify-interval=100ms", "--max-request-bytes=100000"]
    with ProcessCluster(1, tmp_path_factory.mktemp("one-member"), flags) as cluster:
        cluster.wait_ready()
        yield cluster


@pytest.fixture
async def channel(one_member: ProcessCluster) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(one_member.endpoints[0]) as opened:
        yield opened
