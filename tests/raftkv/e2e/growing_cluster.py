"""A cluster that begins with one member and is changed by etcdctl."""

import json
from pathlib import Path

from raftkv.testing.etcdctl import Etcdctl
from raftkv.testing.process_cluster import ProcessCluster


class GrowingCluster(ProcessCluster):
    """Member 0 founds the cluster; the others are added before they start."""

    def __init__(self, places: int, directory: Path, ctl: Etcdctl, flags: list[str]) -> None:
        super().__init__(places, directory, flags)
        self.ctl = ctl
        self.ids: dict[int, str] = {}
        """By place, in hexadecimal."""

    def __enter__(self) -> "GrowingCluster":
        self.start(0)
        self.wait_ready()
        self.ids[0] = self.listed()[self.names[0]]
        return self

    def arguments(self, member: int) -> list[str]:
        """Name the members that this one is to find, itself among them."""
        given = super().arguments(member)
        places = [0] if member == 0 else sorted({0, member, *self.ids})
        urls = ",".join(f"{self.names[place]}={self.peer_url(place)}" for place in places)
        state = "new" if member == 0 else "existing"
        kept = [one for one in given if not one.startswith("--initial-cluster=")]
        return [*kept, f"--initial-cluster={urls}", f"--initial-cluster-state={state}"]

    def peer_url(self, member: int) -> str:
        """Return a member's peer URL."""
        return f"http://127.0.0.1:{self.peer_ports[member]}"

    def running(self) -> str:
        """Return the endpoints of all that run, as etcdctl takes them."""
        return ",".join(self.endpoints[one] for one in range(len(self.names)) if self.runs(one))

    def listed(self) -> dict[str, str]:
        """Return the members' ids in hexadecimal, by name or, not yet started, by URL."""
        text = self.ctl.run(self.running(), "member", "list", "-w", "json")
        return {
            one.get("name") or one["peerURLs"][0]: f"{one['ID']:x}"
            for one in json.loads(text)["members"]
        }

    def add(self, member: int, *flags: str) -> None:
        """Add a member, learner by flag, and start it: a second voter is needed for anything."""
        where = ["member", "add", self.names[member], f"--peer-urls={self.peer_url(member)}"]
        added = json.loads(self.ctl.run(self.running(), *where, *flags, "-w", "json"))
        self.ids[member] = f"{added['member']['ID']:x}"
        self.start(member)

    def remove(self, member: int) -> None:
        """Remove a member by way of another one."""
        others = ",".join(
            self.endpoints[one]
            for one in range(len(self.names))
            if one != member and self.runs(one)
        )
        self.ctl.run(others, "member", "remove", self.ids.pop(member))
