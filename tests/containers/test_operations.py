"""docs/operations.md, run as it stands: every code block, in order, in real containers.

Blocks share one shell's variables and functions, as a reader's would. A client writes meanwhile
(`retrying_client`), but for the blocks that stop the cluster and say so.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.containers.docker_host import DockerHost, missing_facilities

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = REPOSITORY / "docs" / "operations.md"
STOPS_THE_CLUSTER = ("docker-compose stop", "docker-compose down", "docker build")
ENDPOINTS = ",".join(f"http://127.0.0.1:{port}" for port in (2379, 2381, 2383, 2385, 2387))
PROCEDURE_TIMEOUT_S = 400.0


def procedures(text: str) -> list[tuple[str, list[str]]]:
    """Return (heading, its shell blocks) for each section that has any."""
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        blocks = re.findall(r"^```sh\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            found.append((heading, blocks))
    return found


class Reader:
    """Somebody who follows the document in one shell."""

    def __init__(self, host: DockerHost, directory: Path, base: str) -> None:
        self.host = host
        self._state = directory / "shell-state"
        self._state.write_text("")
        self._environment = {
            **host.environment,
            "BASE": base,
            "DOCKER_BUILDKIT": "0",
            "PATH": f"{Path(sys.executable).parent}:{host.environment['PATH']}",
        }

    def run(self, block: str) -> str:
        """Run a block and return what it printed; fails the test where a command failed."""
        block = block.replace("docker build ", 'docker build --build-arg BASE="$BASE" ')
        keep = f"{{ export -p; declare -f; }} > {self._state}"
        script = f"source {self._state}\nset -euo pipefail\n{block}\n{keep}\n"
        done = subprocess.run(
            self.host.inside(["bash", "-c", script]),
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PROCEDURE_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    @contextmanager
    def under_load(self) -> Iterator[dict[str, float]]:
        """Write all the while; afterwards the dict holds the client's account."""
        account: dict[str, float] = {}
        command = [sys.executable, "-m", "tests.containers.retrying_client", ENDPOINTS]
        with subprocess.Popen(
            self.host.inside(command),
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client:
            try:
                yield account
                printed, _ = client.communicate("", timeout=120)
                account.update(json.loads(printed))
            finally:
                client.kill()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    missing = missing_facilities()
    if missing:
        pytest.skip(f"containers are not tested here, this machine lacks: {', '.join(missing)}")
    directory = tmp_path_factory.mktemp("docker")
    with DockerHost(directory) as host:
        one = Reader(host, directory, host.make_base())
        yield one
        one.run("docker-compose down --volumes --timeout 5")
        (REPOSITORY / "backup.db").unlink(missing_ok=True)


def test_every_procedure_of_the_document(reader: Reader) -> None:
    """Zero writes lost, zero failed after retry, in every procedure that keeps the cluster up."""
    watched = 0
    for heading, blocks in procedures(DOCUMENT.read_text()):
        for block in blocks:
            if any(one in block for one in STOPS_THE_CLUSTER):
                print(f"\n{heading}:\n{reader.run(block)}")
                continue
            with reader.under_load() as account:
                printed = reader.run(block)
            print(f"\n{heading}: {account}\n{printed}")
            assert account["writes"] > 0, heading
            assert account["failed"] == account["lost"] == 0, (heading, account)
            watched += 1
    assert watched >= 6


def test_what_was_backed_up_is_what_is_restored(reader: Reader) -> None:
    """The restore procedure by itself, with a key written before and one after the backup."""
    by_heading = dict(procedures(DOCUMENT.read_text()))
    reader.run("raftctl put kept yes")
    reader.run(by_heading["Back up"][0])
    reader.run("raftctl put forgotten yes")
    reader.run("docker-compose rm --stop --force m4 m5 || true\nunset INITIAL_CLUSTER")
    reader.run("unset INITIAL_CLUSTER_STATE\n" + by_heading["Restore"][0])
    assert reader.run("raftctl get kept --print-value-only") == "yes\n"
    assert reader.run("raftctl get forgotten --print-value-only") == ""


def test_containers_run_as_an_ordinary_user_with_a_private_directory(reader: Reader) -> None:
    """No root in the container; nobody but the member reads its directory."""
    assert reader.run("docker-compose exec -T m1 id -u") == "10001\n"
    assert reader.run("docker-compose exec -T m1 stat -c %a /var/lib/raftkv/data") == "700\n"
    assert reader.run("docker-compose exec -T m1 etcd --version").startswith("etcd Version: ")
