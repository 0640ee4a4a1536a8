"""Clusters of real members whose URLs are https."""

import ssl
import urllib.request
from pathlib import Path

from raftkv.testing.process_cluster import ProcessCluster


class SecureCluster(ProcessCluster):
    """Like its base, with TLS on both ports; `context` is what the tests' own clients use."""

    def __init__(
        self, members: int, directory: Path, context: ssl.SSLContext, flags: list[str]
    ) -> None:
        super().__init__(members, directory, flags)
        self.context = context

    def arguments(self, member: int) -> list[str]:
        return [one.replace("http://", "https://") for one in super().arguments(member)]

    def http(self, member: int, path: str, timeout_s: float = 2.0) -> str:
        url = f"https://{self.endpoints[member]}{path}"
        with urllib.request.urlopen(url, timeout=timeout_s, context=self.context) as response:
            body: bytes = response.read()
            return body.decode()

    @property
    def urls(self) -> str:
        """The client URLs of all members, as `--endpoints` takes them."""
        return ",".join(f"https://{endpoint}" for endpoint in self.endpoints)
