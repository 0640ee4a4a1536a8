"""txn: a transaction from standard input."""

from __future__ import annotations

import sys

from raftkv.ctl import fields_format, output, simple_format
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.txn_script import read_txn


async def txn(context: Context, line: Line) -> None:
    if line.arguments:
        raise bad_arguments("txn command does not accept argument; it reads standard input")
    written = context.format(refused=("table",))
    interactive = line.flags.switch("interactive")

    def prompt(text: str) -> None:
        if interactive:
            output.lines([text])

    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    request = read_txn(iter(sys.stdin.readline, ""), prompt)
    async with context.client() as client:
        response = await client.txn(request)
    output.response(
        written,
        response,
        lambda: simple_format.txn_response(response, context.hex),
        lambda: fields_format.txn_response(response),
    )


COMMANDS = (
    Command(
        ("txn",),
        "",
        "Compare, then apply one of two lists of requests, atomically",
        txn,
        "Reads three parts from standard input, each ended by an empty line: comparisons, the\n"
        "requests if all of them hold, and the requests otherwise:\n\n"
        '  mod("key1") > "0"\n'
        '  value("key2") = "red"\n'
        "\n"
        '  put key1 "overwritten"\n'
        "  get key2 --prefix\n"
        "\n"
        "  del key1\n\n"
        "Targets are version, create, mod, value and lease; results are = != < >.",
        (Flag("interactive", False, "print what is expected next", "i"),),
    ),
)
