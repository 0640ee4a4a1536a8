"""What a person reads when the cluster is up."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from orchestrator.cluster.record import ClusterRecord
from orchestrator.cluster.settings import ClusterSettings

NOT_ISOLATED = """\
The process runtime runs containers as plain child processes: they see this machine's files,
processes and network, and reach what this user may. Memory and CPU limits are not enforced.\
"""


def kubectl_command() -> str:
    """The kubectl to show: the one on PATH, or the one installed beside this interpreter."""
    beside = Path(sys.executable).parent / "kubectl"
    if shutil.which("kubectl") is None and beside.exists():
        return str(beside)
    return "kubectl"


def welcome(settings: ClusterSettings, record: ClusterRecord) -> str:
    """Name the addresses and three commands to try."""
    kubectl = kubectl_command()
    flag = f" --kubeconfig {settings.kubeconfig}"
    lines = [
        "",
        f"The cluster is ready: {record.server}",
        f"  kubeconfig   {settings.kubeconfig} (context orchestrator)",
        f"  store        {', '.join(record.etcd_endpoints)}",
        f"  runtime      {record.runtime}",
        f"  data         {settings.data_dir}",
        "",
        "Try:",
        f"  {kubectl}{flag} get nodes,pods -A -o wide",
        f"  {kubectl}{flag} create deployment web --image=localhost/hello:1 --replicas=2",
        f"  orchestrator status --data-dir {settings.data_dir}",
    ]
    if record.runtime == "process":
        lines += ["", NOT_ISOLATED]
    return "\n".join(lines)
