"""What a person reads when the cluster is up."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from orchestrator.cluster.images import EXAMPLE
from orchestrator.cluster.record import ClusterRecord
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.images.busybox import BUSYBOX_IMAGE
from orchestrator.kubeconfig import CONTEXT

NOT_ISOLATED = """\
The process runtime runs containers as plain child processes: they see this machine's files,
processes and network, and reach what this user may. Memory and CPU limits are not enforced.\
"""


def command(name: str) -> str:
    """The command to show: the one on PATH, or the one installed beside this interpreter."""
    beside = Path(sys.executable).parent / name
    if shutil.which(name) is None and beside.exists():
        return str(beside)
    return name


def example_command() -> str:
    """Give a kubectl command that works with the images that every cluster has, on any runtime.

    Under the process runtime pods share the machine's ports: the example listens on its pod's own
    address, which `create deployment` could not tell it.
    """
    if EXAMPLE.exists():
        return f"apply -f {shlex.quote(str(EXAMPLE))}"
    return f"create deployment web --image={BUSYBOX_IMAGE} -- sleep 3600"


def welcome(settings: ClusterSettings, record: ClusterRecord) -> str:
    """Name the addresses and three commands to try."""
    kubectl = command("kubectl")
    flag = f" --kubeconfig {shlex.quote(str(settings.kubeconfig))}"
    if record.context not in ("", CONTEXT):
        flag += f" --context {record.context}"  # another cluster may become the current one
    lines = [
        "",
        f"The cluster is ready: {record.server}",
        f"  kubeconfig   {settings.kubeconfig} (context {record.context})",
        f"  store        {', '.join(record.etcd_endpoints)}",
        f"  runtime      {record.runtime}",
        f"  data         {settings.data_dir}",
        "",
        "Try:",
        f"  {kubectl}{flag} get nodes,pods -A -o wide",
        f"  {kubectl}{flag} {example_command()}",
        f"  {command('orchestrator')} status --data-dir {shlex.quote(str(settings.data_dir))}",
    ]
    if record.runtime == "process":
        lines += ["", NOT_ISOLATED]
    return "\n".join(lines)
