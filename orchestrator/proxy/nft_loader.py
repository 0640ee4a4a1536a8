"""Load nftables transactions with the `nft` program."""

from __future__ import annotations

import asyncio
import os

NFT_TIMEOUT_S = 30.0


class NftError(Exception):
    """nft refused a transaction; nothing of it was applied."""


async def load(transaction: str) -> None:
    """Apply the transaction as a whole or not at all. Needs CAP_NET_ADMIN."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            "-f",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
    except FileNotFoundError as error:
        raise NftError("nft is not installed (package nftables)") from error
    try:
        async with asyncio.timeout(NFT_TIMEOUT_S):
            output, _ = await process.communicate(transaction.encode())
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise NftError(output.decode(errors="replace").strip())
