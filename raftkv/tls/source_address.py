"""Check that a member comes from where its certificate says (etcd: "wrong IP SAN" is refused).

A certificate without alternative names may come from anywhere. One of its addresses is good enough;
else one of its DNS names must resolve to the source, or, with a wildcard, be a name of the source.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from raftkv.tls.verification import CertificateNames, covers

__all__ = ["Resolver", "SourceRefused", "check_source", "system_resolver"]

LOOKUP_TIMEOUT_S = 2.0
"""How long DNS may take in all; after that the connection is refused."""


class SourceRefused(Exception):
    """The certificate does not cover the address that its owner comes from."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """DNS in both directions. Either may raise OSError."""

    addresses_of: Callable[[str], Awaitable[frozenset[str]]]
    names_of: Callable[[str], Awaitable[frozenset[str]]]


async def check_source(names: CertificateNames, source: str, resolver: Resolver) -> None:
    """Pass or raise SourceRefused; `source` is an IP address."""
    if not names.addresses and not names.dns_names:
        return
    address = ipaddress.ip_address(source.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address in names.addresses:
        return
    if not names.dns_names:
        allowed = ", ".join(str(one) for one in names.addresses)
        raise SourceRefused(f'tls: "{source}" is not one of the addresses [{allowed}]')
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            for name in names.dns_names:
                if await _leads_to(name, str(address), resolver):
                    return
    except TimeoutError:
        raise SourceRefused(f'tls: names for "{source}" could not be looked up in time') from None
    raise SourceRefused(
        f'tls: "{source}" does not match any of DNSNames [{", ".join(names.dns_names)}]'
    )


async def _leads_to(name: str, address: str, resolver: Resolver) -> bool:
    """Say whether a DNS name stands for the address; a name that is not found does not."""
    try:
        if name.startswith("*."):
            return any(covers(name, one) for one in await resolver.names_of(address))
        return address in await resolver.addresses_of(name)
    except OSError:
        return False


def system_resolver() -> Resolver:
    """Return the machine's own resolver, asked in the loop's threads."""
    loop = asyncio.get_running_loop()

    async def addresses_of(name: str) -> frozenset[str]:
        found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return frozenset(str(one[4][0]) for one in found)

    async def names_of(address: str) -> frozenset[str]:
        first, others, _ = await loop.run_in_executor(None, socket.gethostbyaddr, address)
        return frozenset((first, *others))

    return Resolver(addresses_of, names_of)
