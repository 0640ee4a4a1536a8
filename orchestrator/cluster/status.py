"""`orchestrator status`: members, control plane and nodes, as a table or as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.api.errors import StatusError
from orchestrator.api.resources import NODE
from orchestrator.client.errors import ServerUnreachableError
from orchestrator.client.rest_client import RestClient
from orchestrator.cluster.access import admin_access
from orchestrator.cluster.record import ClusterRecord
from raftkv.client import Client, ClientError

ASK_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """One part of the cluster and how it is."""

    part: str
    name: str
    state: str
    detail: str = ""


def show(data_dir: Path, output: str) -> int:
    """Print the status; exit status 1 where no cluster runs or a part of it is not well."""
    record = ClusterRecord.load(data_dir)
    if record is None or not record.daemon.alive():
        left = "" if record is None else "; `orchestrator down` cleans up after the one that ended"
        print(f"orchestrator: no cluster runs from {data_dir}{left}", file=sys.stderr)
        return 1
    lines = asyncio.run(gather(data_dir, record))
    if output == "json":
        print(json.dumps({"phase": record.phase, "parts": [asdict(line) for line in lines]}))
    else:
        print_table(lines)
    return 0 if all(line.state in ("Ready", "leader", "follower") for line in lines) else 1


async def gather(data_dir: Path, record: ClusterRecord) -> list[Line]:
    lines = [await store_member(endpoint) for endpoint in record.etcd_endpoints]
    if not record.server:
        return [*lines, Line("api server", "", record.phase, record.step)]
    config = admin_access(data_dir, record, "orchestrator")
    async with RestClient(config) as client:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                nodes = await client.list(NODE)
        except (ServerUnreachableError, StatusError, TimeoutError) as error:
            return [*lines, Line("api server", record.server, "unreachable", str(error))]
    lines.append(Line("api server", record.server, "Ready"))
    for node in nodes["items"]:
        conditions = {c["type"]: c for c in node.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {"status": "Unknown", "message": ""})
        version = node["status"].get("nodeInfo", {}).get("containerRuntimeVersion", "")
        state = "Ready" if ready["status"] == "True" else "NotReady"
        detail = version if state == "Ready" else ready.get("message", "")
        lines.append(Line("node", node["metadata"]["name"], state, detail))
    return lines


async def store_member(endpoint: str) -> Line:
    async with Client([endpoint], timeout_s=ASK_TIMEOUT_S) as client:
        try:
            status = await client.status(0)
        except ClientError as error:
            return Line("store", endpoint, "unreachable", error.message)
    if not status.leader:
        return Line("store", endpoint, "no leader", f"term {status.raftTerm}")
    role = "leader" if status.leader == status.header.member_id else "follower"
    return Line("store", endpoint, role, f"term {status.raftTerm}, index {status.raftIndex}")


def print_table(lines: list[Line]) -> None:
    """A table on a terminal; tab-separated lines in a pipe."""
    if not sys.stdout.isatty():
        for line in lines:
            print(f"{line.part}\t{line.name}\t{line.state}\t{line.detail}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("PART", "NAME", "STATE", "DETAIL", box=None, pad_edge=False)
    for line in lines:
        well = line.state in ("Ready", "leader", "follower")
        table.add_row(
            line.part, line.name, f"[{'green' if well else 'red'}]{line.state}", line.detail
        )
    Console().print(table)
