"""The cluster's version, and the job that lowers it by one minor so that older members may join.

The version is what all members can do; while a downgrade is enabled it is the target. The data's
format is raftkv's own and the same for all of them, so that nothing needs to be converted.
"""

import re
from collections.abc import Mapping

from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.version import ETCD_VERSION

__all__ = ["Downgrade", "parse_target"]

DOWNGRADE_KEY = b"downgrade"

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[-+][0-9A-Za-z.+-]*)?")


def parse_target(text: str) -> tuple[int, int]:
    """Read major and minor of a version. Raises StoreError for what is none."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise StoreError(ErrorCode.WRONG_DOWNGRADE_VERSION_FORMAT)
    return int(match[1]), int(match[2])


class Downgrade:
    """The job, as of what this member has applied."""

    def __init__(self) -> None:
        self.target = ""
        """The version that the cluster is lowered to; empty: no job."""

    @property
    def cluster_version(self) -> str:
        """What the members of the cluster agree on being able to do."""
        major, minor = parse_target(self.target or ETCD_VERSION)
        return f"{major}.{minor}.0"

    def info(self) -> pb.DowngradeInfo | None:
        """Describe the job as Status does, None where there is none."""
        return pb.DowngradeInfo(enabled=True, targetVersion=self.target) if self.target else None

    def validate(self, version: str) -> str:
        """Return the target that a request asks for. Raises StoreError if it cannot be one."""
        major, minor = parse_target(version)
        our_major, our_minor = parse_target(ETCD_VERSION)
        if (major, minor) != (our_major, our_minor - 1):
            raise StoreError(ErrorCode.INVALID_DOWNGRADE_TARGET_VERSION)
        if self.target:
            raise StoreError(ErrorCode.DOWNGRADE_IN_PROCESS)
        return f"{major}.{minor}.0"

    def load(self, rows: Mapping[bytes, bytes]) -> None:
        """Take over what the store holds."""
        self.target = rows.get(DOWNGRADE_KEY, b"").decode()

    def apply(self, request: pb.DowngradeRequest) -> dict[bytes, bytes | None]:
        """Begin or end the job; returns the rows of the store that change."""
        if request.action == pb.DowngradeRequest.ENABLE and not self.target:
            self.target = request.version
            return {DOWNGRADE_KEY: self.target.encode()}
        if request.action == pb.DowngradeRequest.CANCEL and self.target:
            self.target = ""
            return {DOWNGRADE_KEY: None}
        return {}
