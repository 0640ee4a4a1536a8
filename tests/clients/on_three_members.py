"""Run a published suite against three members on etcd's own ports, in a network of their own.

    python -m tests.clients.on_three_members etcd3 [--server etcd]

The members are called pifpaf0, pifpaf1, pifpaf2: two of the suites stop members that they
find by these names. Prints the suite's output; ends with its exit code. Needs root.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from raftkv.testing.process_cluster import ProcessCluster
from raftkv.testing.real_etcd import etcd_binary
from tests.clients.suites import SUITES, Suite, prepare

INSIDE = "RAFTKV_SUITE_INSIDE"
ENDPOINT = "http://localhost:2379"


class NamedCluster(ProcessCluster):
    """Three members of raftkv, or of etcd, under the names and ports that the suites expect."""

    def __init__(self, directory: Path, server: str) -> None:
        super().__init__(3, directory)
        self._server = server
        self.names = ["pifpaf0", "pifpaf1", "pifpaf2"]
        self.client_ports = [2379, 12379, 22379]
        self.peer_ports = [2380, 12380, 22380]

    def program(self, member: int) -> list[str]:
        """Return raftkv, or the real etcd."""
        return [etcd_binary()] if self._server == "etcd" else super().program(member)

    def arguments(self, member: int) -> list[str]:
        """Return the command line, in which `--name NAME` are two words, as the suites look for."""
        words = super().arguments(member)
        at = words.index(f"--name={self.names[member]}")
        return [*words[:at], "--name", self.names[member], *words[at + 1 :]]


def run(suite: Suite, server: str) -> int:
    """Start the members, run the suite, stop them; returns pytest's exit code."""
    python, sources = prepare(suite)
    environment = {
        **os.environ,
        "ETCDCTL_API": "3",
        "PYTHON_ETCD_HTTP_URL": ENDPOINT,
        "TEST_ETCD_HTTP_URL": ENDPOINT,
        "TEST_ETCD_VERSION": "v3.5.0",
    }
    environment.pop("PYTHONWARNINGS", None)
    with (
        tempfile.TemporaryDirectory() as directory,
        NamedCluster(Path(directory), server) as cluster,
    ):
        cluster.wait_ready()
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *suite.tests]
        return subprocess.run(command, cwd=sources, env=environment, check=False).returncode


def main() -> int:
    """Enter fresh namespaces first: ports of the machine and processes of others stay out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--server", choices=("raftkv", "etcd"), default="raftkv")
    options = parser.parse_args()
    suite = SUITES[options.suite]
    if not os.environ.get(INSIDE):
        prepare(suite)
        os.environ[INSIDE] = "1"
        namespaces = ["unshare", "--net", "--mount", "--pid", "--kill-child", "--mount-proc"]
        os.execvp("unshare", [*namespaces, sys.executable, "-m", __spec__.name, *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return run(suite, options.server)


if __name__ == "__main__":
    sys.exit(main())
