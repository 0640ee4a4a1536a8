"""TLS between members comes late: a plain cluster goes over to it, and a TLS cluster grows."""

from pathlib import Path

from raftkv.testing.etcdctl import installed
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.e2e.growing_cluster import GrowingCluster
from tests.raftkv.tls.authority import Authority


class Changing(ProcessCluster):
    """The peer URLs of the members in `secure` are https."""

    secure: frozenset[int] = frozenset()

    def peer_url(self, member: int) -> str:
        scheme = "https" if member in self.secure else "http"
        return f"{scheme}://{self.hosts[member]}:{self.peer_ports[member]}"

    def arguments(self, member: int) -> list[str]:
        arguments = super().arguments(member)
        for one in self.secure:
            plain = f"http://{self.hosts[one]}:{self.peer_ports[one]}"
            arguments = [text.replace(plain, self.peer_url(one)) for text in arguments]
        return arguments


def test_members_change_to_tls_one_by_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    peer = authority.issue("peer", "member")
    flags = (
        f"--peer-cert-file={peer.certificate}",
        f"--peer-key-file={peer.key}",
        f"--peer-trusted-ca-file={authority.ca}",
    )
    ctl = installed()[0]
    cluster = Changing(3, tmp_path, flags)
    with cluster:
        cluster.wait_ready()
        for member in range(3):
            endpoint = cluster.endpoints[(member + 1) % 3]
            listed = ctl.run(endpoint, "member", "list").splitlines()
            (mine,) = (line.split(", ")[0] for line in listed if f", m{member}, " in line)
            cluster.terminate(member)
            cluster.secure |= {member}
            ctl.run(endpoint, "member", "update", mine, f"--peer-urls={cluster.peer_url(member)}")
            cluster.start(member)
            cluster.wait_ready()
            assert ctl.run(endpoint, "put", f"changed/{member}", "x") == "OK\n"
        kept = ctl.run(cluster.endpoints[2], "get", "--prefix", "changed/", "--keys-only")
        assert kept.split() == ["changed/0", "changed/1", "changed/2"]
        assert "http://" not in ctl.run(cluster.endpoints[0], "member", "list").split(", ")[3]


class GrowingByTls(GrowingCluster):
    """Its members meet by https."""

    def peer_url(self, member: int) -> str:
        return super().peer_url(member).replace("http://", "https://")

    def arguments(self, member: int) -> list[str]:
        plain = f"http://127.0.0.1:{self.peer_ports[member]}"
        given = super().arguments(member)
        return [text.replace(plain, self.peer_url(member)) for text in given]


def test_a_member_joins_by_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    peer = authority.issue("peer", "member")
    flags = [
        f"--peer-cert-file={peer.certificate}",
        f"--peer-key-file={peer.key}",
        f"--peer-trusted-ca-file={authority.ca}",
        "--peer-client-cert-auth",
    ]
    cluster = GrowingByTls(2, tmp_path, installed()[0], flags)
    with cluster:
        assert cluster.ctl.run(cluster.endpoints[0], "put", "before", "1") == "OK\n"
        cluster.add(1)
        cluster.wait_ready()
        assert cluster.ctl.run(cluster.endpoints[1], "get", "before") == "before\n1\n"
