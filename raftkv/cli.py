"""The command `raftkv`: one member of a cluster, in the foreground, until it is told to stop."""

import asyncio
import gc
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from platform import machine, python_version

from raftkv.config import Config, build_config
from raftkv.config_file import read_config_file
from raftkv.descriptors import raise_descriptor_limit
from raftkv.feature_gates import GATES
from raftkv.flags import (
    FLAGS,
    FlagError,
    Standing,
    Value,
    config_file_of,
    read_flags,
    strangers,
)
from raftkv.log_output import configure_logging
from raftkv.service_notify import notify
from raftkv.version import ETCD_VERSION, RAFTKV_VERSION

__all__ = ["ExitCode", "main"]

log = logging.getLogger(__name__)

ETCD = "etcd"
"""The name under which this program, by a link of that name, behaves as its users expect there:
the default of --data-dir and the text of --version."""

OTHER_COMMANDS = {
    "gateway": "the TCP gateway is not built; clients take several endpoints themselves",
    "grpc-proxy": "the gRPC proxy is not built; clients connect to the members",
}
"""etcd's subcommands."""

SWITCH_INTERVAL_S = 0.0005
"""How long the log writer's thread may wait for the loop to let it report a finished sync: that
wait is in the latency of every write, and Python's default is 5 ms."""

GC_THRESHOLD = 20_000
"""Objects made before a collection of the young: a busy turn makes thousands that die in it."""


class ExitCode(IntEnum):
    """How the process ends."""

    STOPPED = 0
    FAILED = 1
    """An invariant is broken, or something else that has no code of its own."""
    USAGE = 2
    DATA_DIRECTORY = 3
    """The data directory is locked, foreign or damaged."""
    STORAGE = 4
    """The disk failed or is full while the member ran."""
    ADDRESS = 5
    """A URL to listen on cannot be had."""
    REMOVED = 6
    """The member was removed from its cluster; it is not to be started again."""
    JOIN = 7
    """The cluster that the flags name cannot be joined."""


EXIT_MEANINGS = {
    ExitCode.STOPPED: "stopped by SIGTERM or SIGINT",
    ExitCode.FAILED: "an unexpected failure, described in the log",
    ExitCode.USAGE: "a flag or environment variable cannot be used",
    ExitCode.DATA_DIRECTORY: "the data directory is locked, foreign or damaged",
    ExitCode.STORAGE: "the disk failed or is full",
    ExitCode.ADDRESS: "a URL to listen on cannot be had",
    ExitCode.REMOVED: "the member was removed from its cluster",
    ExitCode.JOIN: "the cluster cannot be joined",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if not __debug__:
        print("raftkv: refuses to run without assertions (python -O)", file=sys.stderr)
        return ExitCode.USAGE
    given = list(sys.argv[1:] if arguments is None else arguments)
    program = Path(sys.argv[0]).name
    if given and given[0] in OTHER_COMMANDS:
        print(f"{program}: {given[0]}: {OTHER_COMMANDS[given[0]]}", file=sys.stderr)
        return ExitCode.USAGE
    if any(one in ("--help", "-help", "-h") for one in given):
        print(_help())
        return ExitCode.STOPPED
    if any(one in ("--version", "-version") for one in given):
        print(_version(program))
        return ExitCode.STOPPED
    return run(given, os.environ, program)


def run(arguments: Sequence[str], environment: Mapping[str, str], program: str = "raftkv") -> int:
    """Check the configuration and serve until a signal or a fatal error."""
    try:
        config = build_config(read_settings(arguments, environment, program))
        configure_logging(config.log)
    except FlagError as error:
        for problem in error.problems:
            print(f"raftkv: {problem}", file=sys.stderr)
        print("raftkv: see `raftkv --help`", file=sys.stderr)
        return ExitCode.USAGE
    except OSError as error:
        print(f"raftkv: --log-outputs: {error}", file=sys.stderr)
        return ExitCode.USAGE
    for name in strangers(environment):
        log.warning("unrecognized environment variable", extra={"variable": name})
    raise_descriptor_limit()
    return asyncio.run(_serve(config))


def read_settings(
    arguments: Sequence[str], environment: Mapping[str, str], program: str
) -> dict[str, Value]:
    """Return the flags' values: of --config-file where it is given, else of all other sources.

    Raises FlagError.
    """
    file = config_file_of(arguments, environment)
    values = read_config_file(Path(file)) if file else read_flags(arguments, environment)
    if program == ETCD and not values["data-dir"]:
        values["data-dir"] = f"{values['name']}.etcd"
    return values


async def _serve(config: Config) -> int:
    from raftkv.rpc.front import Front
    from raftkv.server.bootstrap import open_member
    from raftkv.server.join import JoinError
    from raftkv.storage.errors import StorageError
    from raftkv.tls.settings import TlsError

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Exception | None] = loop.create_future()

    def end(error: Exception | None) -> None:
        if not ended.done():
            ended.set_result(error)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, None)
    log.info("starting", extra={"config": config})
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(GC_THRESHOLD)
    gc.freeze()
    try:
        opened = await open_member(config, end)
    except JoinError as error:
        log.error("cannot join the cluster", extra={"reason": str(error)})
        return ExitCode.JOIN
    except StorageError as error:
        log.error("cannot open the data directory", extra={"reason": str(error)})
        return ExitCode.DATA_DIRECTORY
    except TlsError as error:
        log.error("cannot use the certificates", extra={"reason": str(error)})
        return ExitCode.USAGE
    front = Front(opened)
    opened.member.on_ready = _log_ready
    try:
        await opened.start()
        await front.start()
        error_or_none = await ended
        if error_or_none is None:
            await opened.hand_over()
    except TlsError as error:
        log.error("cannot use the certificates", extra={"reason": str(error)})
        return ExitCode.USAGE
    except OSError as error:
        log.error("cannot listen", extra={"reason": str(error)})
        return ExitCode.ADDRESS
    finally:
        await front.close()
        await opened.close()
    return _end(error_or_none)


def _log_ready() -> None:
    log.info("ready to serve client requests")
    notify("READY=1")


def _end(error: Exception | None) -> int:
    """Log why the member ended and return the exit code."""
    from raftkv.errors import StoreIOError
    from raftkv.server.member_parts import MemberRemoved
    from raftkv.storage.errors import StorageError

    if error is None:
        log.info("stopped")
        return ExitCode.STOPPED
    if isinstance(error, MemberRemoved):
        log.warning("stopped: this member was removed from its cluster")
        return ExitCode.REMOVED
    storage = isinstance(error, StorageError | StoreIOError)
    log.critical("stopped by a fatal error", exc_info=error, extra={"reason": str(error)})
    return ExitCode.STORAGE if storage else ExitCode.FAILED


def _version(program: str) -> str:
    if program == ETCD:
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine(), machine())
        return (
            f"etcd Version: {ETCD_VERSION}\n"
            f"Git SHA: raftkv-{RAFTKV_VERSION}\n"
            f"Go Version: none, but Python {python_version()}\n"
            f"Go OS/Arch: {sys.platform}/{architecture}"
        )
    return f"raftkv Version: {RAFTKV_VERSION}\netcd API Version: {ETCD_VERSION}"


def _help() -> str:
    lines = [
        "raftkv runs one member of a replicated key-value store that speaks the etcd v3 API.",
        "",
        "usage: raftkv [--flag=value ...]",
        "",
        "Each flag may also be given as RAFTKV_<FLAG> or ETCD_<FLAG> in the environment, upper",
        "case and with underscores; the command line wins, then RAFTKV_.",
        "",
    ]
    for flag in FLAGS.values():
        if flag.standing is Standing.USED:
            default = f" (default {flag.default!r})" if flag.default != "" else ""
            lines.append(f"  --{flag.name:32} {flag.help}{default}")
    for standing, title in (
        (Standing.ACCEPTED, "Accepted without effect:"),
        (Standing.REFUSED, "Refused:"),
    ):
        lines += ["", title, *_reasons(standing)]
    lines += ["", "Feature gates:"]
    lines += [f"  {name:32} {meaning}" for name, meaning in GATES.items()]
    lines += ["", "Exit codes:"]
    lines += [f"  {int(code)}  {meaning}" for code, meaning in EXIT_MEANINGS.items()]
    return "\n".join(lines)


def _reasons(standing: Standing) -> list[str]:
    """List flags that are not used, those with one reason together."""
    names: dict[str, list[str]] = {}
    for flag in FLAGS.values():
        if flag.standing is standing:
            names.setdefault(flag.help, []).append(f"--{flag.name}")
    return [
        line
        for reason, of_reason in names.items()
        for line in (f"  {reason}:", _wrapped(of_reason))
    ]


def _wrapped(words: list[str]) -> str:
    indent = " " * 6
    return textwrap.fill(
        " ".join(words),
        98,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.exit(main())
