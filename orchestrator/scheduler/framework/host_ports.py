"""Ports that pods take on the node itself."""

from orchestrator.api.json_object import JsonObject

HostPort = tuple[str, str, int]
"""Protocol, address (`0.0.0.0` for all), port."""


def host_ports(spec: JsonObject) -> tuple[HostPort, ...]:
    """Return the host ports of all containers."""
    found: list[HostPort] = []
    for container in (spec.get("containers") or []) + (spec.get("initContainers") or []):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                found.append(
                    (
                        port.get("protocol") or "TCP",
                        port.get("hostIP") or "0.0.0.0",
                        port["hostPort"],
                    )
                )
    return tuple(found)


def conflict(left: HostPort, right: HostPort) -> bool:
    """Say whether two pods could not both listen: the address of all clashes with each."""
    return (
        left[0] == right[0]
        and left[2] == right[2]
        and (left[1] == right[1] or "0.0.0.0" in (left[1], right[1]))
    )
