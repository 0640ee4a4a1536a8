"""The command `orchestrator`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator import __version__

EPILOG = """\
examples:
  orchestrator up                             a cluster on this machine, in the background
  orchestrator up --runtime process           the same without root and without containerd
  orchestrator up --nodes 100 --runtime hollow
  orchestrator up --etcd-servers http://127.0.0.1:2379
  orchestrator status
  orchestrator down

exit status: 0 done; 1 it failed, and standard error says why; 2 the command line is wrong
"""


def parser() -> argparse.ArgumentParser:
    """Build the whole command line; each verb's function is loaded only when it runs."""
    top = argparse.ArgumentParser(
        prog="orchestrator",
        description="A Kubernetes control plane and node agent on the etcd v3 API.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"orchestrator {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    add_cluster_verbs(verbs)
    from orchestrator.components import add_component_verbs

    add_component_verbs(verbs)
    return top


def add_cluster_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = verbs.add_parser("up", help="start a cluster on this machine and wait until it is ready")
    add_data_dir(up)
    up.add_argument(
        "--kubeconfig",
        type=Path,
        help="where to put the context `orchestrator` (default: merged into kubectl's own file)",
    )
    up.add_argument("--nodes", type=int, default=1, help="nodes to run (default 1)")
    up.add_argument(
        "--runtime",
        default="auto",
        help="containerd: real containers, as root; process: child processes, no privilege and "
        "little isolation; hollow: statuses only, for tests and scale; "
        "auto: containerd where it can run, else process (default)",
    )
    up.add_argument(
        "--members", type=int, default=1, help="raftkv members to start as the store (default 1)"
    )
    up.add_argument(
        "--etcd-servers",
        default="",
        help="comma-separated endpoints of an etcd or raftkv that runs already; none is started",
    )
    up.add_argument("--port", type=int, default=6443, help="API server's port (default 6443)")
    up.add_argument(
        "--node-monitor-grace-period",
        type=float,
        default=40.0,
        metavar="SECONDS",
        help="silence after which a node is NotReady (default 40)",
    )
    up.add_argument("--foreground", action="store_true", help="stay, log here, and stop on Ctrl-C")
    up.set_defaults(run=run_up)

    down = verbs.add_parser("down", help="stop the cluster and clean up after it")
    add_data_dir(down)
    down.add_argument("--purge", action="store_true", help="remove its data directory too")
    down.set_defaults(run=run_down)

    status = verbs.add_parser("status", help="show members, control plane and nodes")
    add_data_dir(status)
    status.add_argument("-o", "--output", choices=("table", "json"), default="table")
    status.set_defaults(run=run_status)

    daemon = verbs.add_parser("daemon", help="(internal) the process behind `up`")
    add_data_dir(daemon)
    daemon.set_defaults(run=run_daemon)


def add_data_dir(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--data-dir",
        type=Path,
        help="state, certificates and logs (default /var/lib/orchestrator as root, "
        "~/.local/share/orchestrator otherwise)",
    )


def data_dir(options: argparse.Namespace) -> Path:
    from orchestrator.cluster.settings import default_data_dir

    return Path(options.data_dir or default_data_dir()).absolute()


def run_up(options: argparse.Namespace) -> int:
    from orchestrator import kubeconfig
    from orchestrator.cluster.progress import Progress
    from orchestrator.cluster.settings import ClusterSettings
    from orchestrator.cluster.up import UpError, up
    from orchestrator.cluster.welcome import welcome

    servers = tuple(server for server in options.etcd_servers.split(",") if server)
    settings = ClusterSettings(
        data_dir=data_dir(options),
        kubeconfig=(options.kubeconfig or kubeconfig.default_path()).absolute(),
        nodes=options.nodes,
        runtime=options.runtime,
        members=0 if servers else options.members,
        etcd_servers=servers,
        port=options.port,
        node_monitor_grace_period_s=options.node_monitor_grace_period,
    )
    settings.validate()
    if options.foreground:
        from orchestrator.cluster import daemon

        return daemon.run_foreground(settings)
    try:
        record = up(settings, Progress())
    except UpError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return 1
    print(welcome(settings, record))
    return 0


def run_down(options: argparse.Namespace) -> int:
    from orchestrator.cluster.down import down
    from orchestrator.cluster.progress import Progress

    directory = data_dir(options)
    if not down(directory, Progress(), purge=options.purge):
        print(f"orchestrator: nothing runs from {directory}", file=sys.stderr)
    return 0


def run_status(options: argparse.Namespace) -> int:
    from orchestrator.cluster.status import show

    return show(data_dir(options), options.output)


def run_daemon(options: argparse.Namespace) -> int:
    from orchestrator.cluster import daemon

    return daemon.run(data_dir(options))


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    try:
        return int(options.run(options))
    except ValueError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
