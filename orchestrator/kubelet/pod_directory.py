"""Where a pod's files are on the node."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.api.json_object import JsonObject

TERMINATION_MESSAGE_BYTES_MAX = 4096
FALLBACK_BYTES_MAX = 2048
FALLBACK_LINES_MAX = 80


def log_directory(data_dir: Path, namespace: str, name: str, uid: str) -> Path:
    """Return the directory of a pod's logs: `<container>/<attempt>.log` below it."""
    return data_dir / "logs" / f"{namespace}_{name}_{uid}"


def log_path(container: str, attempt: int) -> str:
    """Return a container's log, relative to its pod's log directory."""
    return f"{container}/{attempt}.log"


@dataclass(frozen=True, slots=True)
class PodDirectory:
    """Volumes and small files under `root`, logs under `logs`."""

    root: Path
    logs: Path

    @classmethod
    def of(cls, data_dir: Path, pod: JsonObject) -> PodDirectory:
        metadata = pod["metadata"]
        uid = metadata["uid"]
        logs = log_directory(data_dir, metadata["namespace"], metadata["name"], uid)
        return cls(data_dir / "pods" / uid, logs)

    def termination_file(self, container: str, attempt: int) -> Path:
        return self.root / "containers" / container / str(attempt)

    def make_termination_file(self, container: str, attempt: int) -> Path:
        """Create the file that the container writes its last words to."""
        path = self.termination_file(container, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        # The container's user, whoever that is, must be able to write.
        path.chmod(0o666)
        return path

    def read_termination_message(self, container: JsonObject, attempt: int, exit_code: int) -> str:
        """Return the last words: the file's, or by policy the log's end where it is empty."""
        try:
            with self.termination_file(container["name"], attempt).open("rb") as file:
                words = file.read(TERMINATION_MESSAGE_BYTES_MAX)
        except OSError:
            words = b""
        fallback = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not words and fallback and exit_code != 0:
            words = self._log_tail(container["name"], attempt)
        return words.decode(errors="replace")

    def _log_tail(self, container: str, attempt: int) -> bytes:
        try:
            data = (self.logs / log_path(container, attempt)).read_bytes()
        except OSError:
            return b""
        lines = data[-FALLBACK_BYTES_MAX * 2 :].splitlines()[-FALLBACK_LINES_MAX:]
        texts = (line.split(b" ", 3)[3] for line in lines if line.count(b" ") >= 3)
        return b"\n".join(texts)[-FALLBACK_BYTES_MAX:]

    def write_hosts(self, pod: JsonObject, pod_ip: str) -> Path:
        """Write the pod's /etc/hosts and return its path."""
        metadata, spec = pod["metadata"], pod["spec"]
        hostname = spec.get("hostname") or metadata["name"]
        lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost"]
        lines.append(f"{pod_ip}\t{hostname}")
        for alias in spec.get("hostAliases") or []:
            lines.append("\t".join([alias["ip"], *(alias.get("hostnames") or [])]))
        path = self.root / "etc-hosts"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.logs, ignore_errors=True)
