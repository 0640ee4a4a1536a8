"""`python -m bench.scheduler`: decisions per second of the scheduling algorithm, without any I/O.

Prints a digest of the placements: the same seed and sizes must give the same digest, or it measured
something else.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
from dataclasses import dataclass
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.cluster_state import ClusterState
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.scheduling import SchedulingAlgorithm

SEED: Final = 1
ZONES: Final = 3
LABELS: Final = {"app": "web"}

SHAPES: Final[dict[str, JsonObject]] = {
    "plain": {},
    "zone spread": {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": LABELS},
            }
        ]
    },
}
"""Kinds of pods, by the part of their spec that makes the difference."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One measured row."""

    shape: str
    pods_per_second: float
    digest: str


def measure(shape: str, nodes: int, pods: int) -> Outcome:
    """Place `pods` equal pods on `nodes` equal, empty nodes that have room for all of them."""
    state = ClusterState()
    algorithm = SchedulingAlgorithm(state, random.Random(SEED))
    for number in range(nodes):
        state.set_node(_node(number))
    digest = hashlib.sha256()
    start = time.perf_counter()
    for number in range(pods):
        pod = PodInfo.from_pod(_pod(number, SHAPES[shape]))
        decision = algorithm.decide(pod)
        assert decision.node_name is not None, decision.message
        state.place(pod, decision.node_name)
        digest.update(decision.node_name.encode())
    elapsed_s = time.perf_counter() - start
    return Outcome(shape, pods / elapsed_s, digest.hexdigest()[:12])


def _node(number: int) -> JsonObject:
    return {
        "metadata": {"name": f"node-{number}", "labels": {"zone": str(number % ZONES)}},
        "status": {"allocatable": {"cpu": "32", "memory": "64Gi", "pods": "110"}},
    }


def _pod(number: int, shape: JsonObject) -> JsonObject:
    requests = {"cpu": "100m", "memory": "100Mi"}
    return {
        "metadata": {"name": f"p{number}", "namespace": "d", "uid": f"{number}", "labels": LABELS},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}], **shape},
    }


def main() -> None:
    """Print one line per shape of pod."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler", description=__doc__)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=10_000)
    options = parser.parse_args()
    for shape in SHAPES:
        # Spreading costs more per pod: a tenth of them tells as much.
        pods = options.pods if shape == "plain" else max(1, options.pods // 10)
        outcome = measure(shape, options.nodes, pods)
        print(
            f"{shape:12} {options.nodes} nodes, {pods} pods: "
            f"{outcome.pods_per_second:,.0f} decisions/s, placements {outcome.digest}"
        )


if __name__ == "__main__":
    main()
