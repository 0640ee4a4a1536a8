"""Clusters for the end-to-end tests, each started once for its module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.orchestrator.e2e.local_cluster import CONTAINERD_MISSING, LocalCluster, kubectls


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two hollow nodes on one raftkv member."""
    cluster = LocalCluster(tmp_path_factory.mktemp("h"), "--runtime=hollow", "--nodes=2")
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One node with real containers on three raftkv members."""
    if CONTAINERD_MISSING:
        pytest.skip(f"real containers cannot run here; missing: {', '.join(CONTAINERD_MISSING)}")
    cluster = LocalCluster(tmp_path_factory.mktemp("c"), "--runtime=containerd", "--members=3")
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(params=kubectls(), ids=lambda path: "own" if ".venv" in path else "machine")
def kubectl(request: pytest.FixtureRequest) -> str:
    """Each stock kubectl in turn."""
    return str(request.param)
