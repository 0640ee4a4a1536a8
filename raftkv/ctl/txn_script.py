"""The language of `txn`: comparisons, then the requests of success, then those of failure.

Each part is lines up to an empty one. A comparison is `mod("key") > "0"`; a request is a line of
`put`, `get` or `del` with their flags, quoted as Go quotes strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from raftkv.ctl import kv
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Flags, parse
from raftkv.ctl.go_text import QuoteError, unquoted
from raftkv.pb.etcd import rpc_pb2 as pb

TARGETS = {
    "ver": pb.Compare.VERSION,
    "version": pb.Compare.VERSION,
    "c": pb.Compare.CREATE,
    "create": pb.Compare.CREATE,
    "m": pb.Compare.MOD,
    "mod": pb.Compare.MOD,
    "val": pb.Compare.VALUE,
    "value": pb.Compare.VALUE,
    "lease": pb.Compare.LEASE,
}
RESULTS = {
    "=": pb.Compare.EQUAL,
    "!=": pb.Compare.NOT_EQUAL,
    ">": pb.Compare.GREATER,
    "<": pb.Compare.LESS,
}
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^\'"\s]\S*[^\'"\s]?')


@dataclass(frozen=True, slots=True)
class Prompts:
    """What an interactive session prints before each part."""

    comparisons: str = "compares:"
    success: str = "success requests (get, put, del):"
    failure: str = "failure requests (get, put, del):"


def read_txn(lines: Iterable[str], prompt: Callable[[str], None]) -> pb.TxnRequest:
    """Read a whole script; `prompt` is called before each part. Raises CommandError."""
    rest, prompts = iter(lines), Prompts()
    prompt(prompts.comparisons)
    comparisons = [comparison(line) for line in _part(rest)]
    prompt(prompts.success)
    success = [request(line) for line in _part(rest)]
    prompt(prompts.failure)
    failure = [request(line) for line in _part(rest)]
    return pb.TxnRequest(compare=comparisons, success=success, failure=failure)


def _part(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip():
            return
        yield line.strip()


def comparison(line: str) -> pb.Compare:
    """Read one comparison such as `value("key") = "text"`."""
    name, bracket, rest = line.partition("(")
    if not bracket:
        raise _malformed(line)
    try:
        key, rest = unquoted(rest)
        closing, result, value_text = rest.split(None, 2)
        value, tail = unquoted(value_text)
    except ValueError as error:
        raise _malformed(line, error) from error
    if closing != ")" or tail.strip():
        raise _malformed(line)
    target = TARGETS.get(name.strip())
    if target is None:
        raise _malformed(line, f"unknown target {name.strip()}")
    if result not in RESULTS:
        raise _malformed(line, f"unknown result {result}; it is one of {' '.join(RESULTS)}")
    compare = pb.Compare(key=key, target=target, result=RESULTS[result])
    if target == pb.Compare.VALUE:
        compare.value = value
        return compare
    try:
        number = int(value, 16 if target == pb.Compare.LEASE else 10)
    except ValueError:
        raise CommandError(ExitCode.INVALID_INPUT, f"invalid txn compare request: {line}") from None
    match target:
        case pb.Compare.VERSION:
            compare.version = number
        case pb.Compare.CREATE:
            compare.create_revision = number
        case pb.Compare.MOD:
            compare.mod_revision = number
        case _:
            compare.lease = number
    return compare


def _malformed(line: str, why: object = "") -> CommandError:
    return CommandError(
        ExitCode.INVALID_INPUT,
        f"malformed comparison: {line}" + (f" ({why})" if why else ""),
        'Write it as mod("key") > "0"; targets: version, create, mod, value, lease.',
    )


def words(line: str) -> list[str]:
    """Split a request line; "..." is a Go string, '...' is taken as it is."""
    found = []
    for word in _WORD.findall(line):
        try:
            if word.startswith('"'):
                found.append(unquoted(word)[0].decode("utf-8", "surrogateescape"))
            else:
                found.append(word[1:-1] if word.startswith("'") else word)
        except QuoteError as error:
            raise bad_arguments(str(error)) from error
    return found


def request(line: str) -> pb.RequestOp:
    """Read one request of a branch."""
    verb, *rest = words(line) or [""]
    if verb not in ("put", "get", "del"):
        raise CommandError(
            ExitCode.INVALID_INPUT,
            f"invalid txn request: {line}",
            "A request is a line of put, get or del with their flags.",
        )
    arguments, flags = _parse(rest, {"put": kv.PUT_FLAGS, "get": kv.GET_FLAGS}.get(verb))
    match verb:
        case "put":
            if len(arguments) < 2 and not flags.switch("ignore-value"):
                raise bad_arguments("put command needs 2 arguments in a transaction")
            return pb.RequestOp(request_put=kv.put_request(arguments, flags))
        case "get":
            return pb.RequestOp(request_range=kv.range_request(arguments, flags))
        case _:
            return pb.RequestOp(request_delete_range=kv.delete_request(arguments, flags))


def _parse(rest: list[str], flags: tuple[Flag, ...] | None) -> tuple[tuple[str, ...], Flags]:
    line = parse(kv.DELETE_FLAGS if flags is None else flags, rest, lambda name: None)
    return line.arguments, line.flags
