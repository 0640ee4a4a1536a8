"""One cluster of three real members for all tests that do not harm it."""

from collections.abc import Iterator

import pytest

from raftkv.testing.process_cluster import ProcessCluster


@pytest.fixture(scope="session")
def three_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(3, tmp_path_factory.mktemp("three-members")) as cluster:
        cluster.wait_ready()
        yield cluster
