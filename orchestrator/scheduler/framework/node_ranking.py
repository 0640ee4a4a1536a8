"""All nodes in the order in which one kind of pod would take them.

Pods come in crowds that differ in nothing but their names. For each signature the ranking evaluates
every node once, and after that only those that changed: placing a pod costs O(log nodes), not
O(nodes). Entries of nodes that changed since are left in the heap and skipped when they surface.
"""

import heapq
from collections import Counter
from collections.abc import Generator
from typing import Protocol

from orchestrator.scheduler.framework.cluster_state import ClusterState, NodeInfo
from orchestrator.scheduler.framework.node_filter import refusals
from orchestrator.scheduler.framework.node_score import score
from orchestrator.scheduler.framework.pod_info import PodInfo


class RandomSource(Protocol):
    """The part of `random.Random` that breaks ties."""

    def random(self) -> float:
        """Draw from [0, 1)."""
        ...


class NodeRanking:
    """The feasible nodes for one signature, best first, and why the others are not."""

    def __init__(self, state: ClusterState, random: RandomSource) -> None:
        self._state = state
        self._random = random
        self._heap: list[tuple[float, float, int, str]] = []
        """(minus score, tie-break, generation, name): valid while the node has that generation."""
        self._refusals: dict[str, list[str]] = {}
        self._seen_changes: int | None = None

    def best(self, pod: PodInfo) -> NodeInfo | None:
        """Return the best node for a pod of this ranking's signature; None where none can."""
        self._catch_up(pod)
        nodes = self._state.nodes
        while self._heap:
            _, _, generation, name = self._heap[0]
            node = nodes.get(name)
            if node is not None and node.generation == generation:
                return node
            heapq.heappop(self._heap)
        return None

    def in_order(self, pod: PodInfo) -> Generator[NodeInfo, None, None]:
        """Yield the feasible nodes, best first; costs O(log nodes) for each that is asked for.

        Close the generator before the state changes: what it passed goes back to its place then.
        """
        self._catch_up(pod)
        nodes = self._state.nodes
        passed: list[tuple[float, float, int, str]] = []
        try:
            while self._heap:
                entry = heapq.heappop(self._heap)
                node = nodes.get(entry[3])
                if node is not None and node.generation == entry[2]:
                    passed.append(entry)
                    yield node
        finally:
            for entry in passed:
                heapq.heappush(self._heap, entry)

    def feasible(self, pod: PodInfo) -> list[tuple[float, NodeInfo]]:
        """Return all feasible nodes with their scores, in no order; costs O(nodes)."""
        self._catch_up(pod)
        nodes = self._state.nodes
        return [
            (-negated, node)
            for negated, _, generation, name in self._heap
            if (node := nodes.get(name)) is not None and node.generation == generation
        ]

    def refusal_counts(self) -> Counter[str]:
        """Count the nodes by reason, as of the last `best`; a node may give several reasons."""
        return Counter(reason for reasons in self._refusals.values() for reason in reasons)

    def _catch_up(self, pod: PodInfo) -> None:
        state = self._state
        changed = None
        if self._seen_changes is not None:
            changed = state.changes_since(self._seen_changes)
        if changed is None or len(self._heap) > 4 * len(state.nodes) + 64:
            # Too far behind, or mostly stale entries: start again.
            self._heap.clear()
            self._refusals.clear()
            for node in state.nodes.values():
                self._evaluate(pod, node)
            heapq.heapify(self._heap)
        else:
            for name in changed:
                self._refusals.pop(name, None)
                known = state.nodes.get(name)
                if known is not None and self._evaluate(pod, known):
                    # Restore the heap order for the entry just appended.
                    heapq.heappush(self._heap, self._heap.pop())
        self._seen_changes = state.change_count

    def _evaluate(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Append the node to the heap's list, or note why not."""
        if not node.exists:
            return False
        reasons = refusals(pod, node)
        if reasons:
            self._refusals[node.name] = reasons
            return False
        entry = (-score(pod, node), self._random.random(), node.generation, node.name)
        self._heap.append(entry)
        return True
