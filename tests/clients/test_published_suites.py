"""Other people's tests of their etcd clients, against three raftkv members.

They pass as many cases as against etcd 3.5.30 itself, and fail none that passes there.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.clients.suites import SUITES, prepare

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

FAILS_ON_ETCD_TOO = {"etcd3": {"test_user_pwd_auth"}}
"""It patches a module by a name that the package does not have."""

Running = dict[str, "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """All suites at once, each in namespaces of its own: for the most part they sleep."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("the suites use fixed ports and need a network namespace: run as root")
    for suite in SUITES.values():
        prepare(suite)
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.clients.on_three_members", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in SUITES
    }
    yield started
    for process in started.values():
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_published_suite_passes_as_it_does_on_etcd(name: str, running: Running) -> None:
    """Counts by pytest's own summary line."""
    printed, _ = running[name].communicate()
    print(printed[-3000:])
    passed = re.search(r"(\d+) passed", printed)
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", printed, flags=re.MULTILINE))
    assert failed <= FAILS_ON_ETCD_TOO.get(name, set()), printed[-6000:]
    assert passed, printed[-6000:]
    assert int(passed[1]) >= SUITES[name].passes
