"""put, get, del and compaction."""

from __future__ import annotations

import os
import sys

from raftkv.client import prefix_range_end
from raftkv.ctl import fields_format, json_format, output, simple_format
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Flags, Line
from raftkv.pb.etcd import rpc_pb2 as pb

PUT_FLAGS = (
    Flag("lease", "0", "lease to attach the key to, in hexadecimal"),
    Flag("prev-kv", False, "print the key-value pair as it was before"),
    Flag("ignore-value", False, "keep the value, for a change of lease"),
    Flag("ignore-lease", False, "keep the lease"),
)
GET_FLAGS = (
    Flag("consistency", "l", "linearizable (l) or serializable (s)"),
    Flag("count-only", False, "print the number of keys only"),
    Flag("from-key", False, "all keys at or after the given one, in byte order"),
    Flag("keys-only", False, "print the keys only"),
    Flag("limit", 0, "number of results at most"),
    Flag("max-create-rev", 0, "leave out keys created after this revision"),
    Flag("min-create-rev", 0, "leave out keys created before this revision"),
    Flag("max-mod-rev", 0, "leave out keys changed after this revision"),
    Flag("min-mod-rev", 0, "leave out keys changed before this revision"),
    Flag("order", "", "ASCEND or DESCEND (ASCEND by default)"),
    Flag("prefix", False, "all keys that begin with the given one"),
    Flag("print-value-only", False, "print values without keys, in the simple format"),
    Flag("rev", 0, "read as of this revision"),
    Flag("sort-by", "", "CREATE, KEY, MODIFY, VALUE or VERSION"),
    Flag("stream", False, "receive a large range in pieces; without --sort-by"),
)
DELETE_FLAGS = (
    Flag("from-key", False, "all keys at or after the given one, in byte order"),
    Flag("prefix", False, "all keys that begin with the given one"),
    Flag("prev-kv", False, "print what was deleted"),
    Flag("range", False, "require a range_end argument, against deleting one key by accident"),
)


def raw(word: str) -> bytes:
    """Give an argument's bytes as the shell passed them."""
    return os.fsencode(word)


def lease_id(text: str) -> int:
    """Read a lease id in hexadecimal."""
    try:
        return int(text, 16)
    except ValueError:
        raise bad_arguments(
            f'bad lease ID arg (strconv.ParseInt: parsing "{text}": invalid syntax), '
            "expecting ID in Hex"
        ) from None


def key_range(command: str, arguments: tuple[str, ...], flags: Flags) -> tuple[bytes, bytes]:
    """Read `<key> [range_end]` with --prefix and --from-key as (key, range_end)."""
    if not 1 <= len(arguments) <= 2:
        raise bad_arguments(
            f"{command} command needs one argument as key and an optional argument as range_end"
        )
    prefix, from_key = flags.switch("prefix"), flags.switch("from-key")
    if prefix and from_key:
        raise bad_arguments(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one"
        )
    if (prefix or from_key) and len(arguments) > 1:
        raise bad_arguments(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"
        )
    key = raw(arguments[0])
    if prefix:
        return (key, prefix_range_end(key)) if key else (b"\0", b"\0")
    if from_key:
        return key or b"\0", b"\0"
    return key, raw(arguments[1]) if len(arguments) > 1 else b""


def put_request(arguments: tuple[str, ...], flags: Flags) -> pb.PutRequest:
    """Make the request of a `put` line; the value comes from standard input where it is missing."""
    needed = "put command needs 1 argument and input from stdin or 2 arguments"
    if not arguments:
        raise bad_arguments(needed)
    request = pb.PutRequest(
        key=raw(arguments[0]),
        prev_kv=flags.switch("prev-kv"),
        ignore_value=flags.switch("ignore-value"),
        ignore_lease=flags.switch("ignore-lease"),
        lease=lease_id(flags.text("lease")),
    )
    if request.ignore_value:
        if len(arguments) > 1:
            raise bad_arguments("put command needs only 1 argument when 'ignore-value' is set")
        return request
    if len(arguments) > 2:
        raise bad_arguments(needed)
    request.value = raw(arguments[1]) if len(arguments) > 1 else _standard_input(needed)
    return request


def _standard_input(needed: str) -> bytes:
    value = sys.stdin.buffer.read()
    if not value:
        raise bad_arguments(needed)
    return value


def range_request(arguments: tuple[str, ...], flags: Flags) -> pb.RangeRequest:
    """Make the request of a `get` line."""
    key, range_end = key_range("get", arguments, flags)
    keys_only, count_only = flags.switch("keys-only"), flags.switch("count-only")
    if keys_only and count_only:
        raise bad_arguments("`--keys-only` and `--count-only` cannot be set at the same time")
    consistency = flags.text("consistency")
    if consistency not in ("l", "s"):
        raise CommandError(ExitCode.BAD_FEATURE, f'unknown consistency flag "{consistency}"')
    return pb.RangeRequest(
        key=key,
        range_end=range_end,
        limit=flags.number("limit"),
        revision=flags.number("rev"),
        sort_order=_sort_order(flags.text("order")),
        sort_target=_sort_target(flags.text("sort-by")),
        serializable=consistency == "s",
        keys_only=keys_only,
        count_only=count_only,
        min_mod_revision=flags.number("min-mod-rev"),
        max_mod_revision=flags.number("max-mod-rev"),
        min_create_revision=flags.number("min-create-rev"),
        max_create_revision=flags.number("max-create-rev"),
    )


def _sort_order(text: str) -> pb.RangeRequest.SortOrder:
    match text.upper():
        case "":
            return pb.RangeRequest.NONE
        case "ASCEND":
            return pb.RangeRequest.ASCEND
        case "DESCEND":
            return pb.RangeRequest.DESCEND
        case _:
            raise CommandError(ExitCode.BAD_FEATURE, f"bad sort order {text}")


def _sort_target(text: str) -> pb.RangeRequest.SortTarget:
    targets = {
        "": pb.RangeRequest.KEY,
        "KEY": pb.RangeRequest.KEY,
        "CREATE": pb.RangeRequest.CREATE,
        "MODIFY": pb.RangeRequest.MOD,
        "VALUE": pb.RangeRequest.VALUE,
        "VERSION": pb.RangeRequest.VERSION,
    }
    if text.upper() not in targets:
        raise CommandError(ExitCode.BAD_FEATURE, f"bad sort target {text}")
    return targets[text.upper()]


def delete_request(arguments: tuple[str, ...], flags: Flags) -> pb.DeleteRangeRequest:
    """Make the request of a `del` line."""
    key, range_end = key_range("del", arguments, flags)
    if flags.switch("range") and len(arguments) < 2:
        raise bad_arguments("`--range` needs the range_end argument")
    return pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=flags.switch("prev-kv"))


async def put(context: Context, line: Line) -> None:
    written = context.format(refused=("table",))
    request = put_request(line.arguments, line.flags)
    async with context.client() as client:
        response = await client.put(
            request.key,
            request.value,
            lease=request.lease,
            prev_kv=request.prev_kv,
            ignore_value=request.ignore_value,
            ignore_lease=request.ignore_lease,
        )
    output.response(
        written,
        response,
        lambda: simple_format.put_response(response, context.hex),
        lambda: fields_format.put_response(response),
    )


async def get(context: Context, line: Line) -> None:
    request = range_request(line.arguments, line.flags)
    written = context.format(refused=())
    value_only = line.flags.switch("print-value-only")
    async with context.client() as client:
        if line.flags.switch("stream"):
            pieces = client.range_stream(request)
            if written == "simple" and not request.count_only:
                async for piece in pieces:
                    output.lines(simple_format.range_response(piece, context.hex, value_only))
                return
            response = pb.RangeResponse()
            async for piece in pieces:
                response.MergeFrom(piece)
        else:
            response = await client.range(request)
    match written:
        case "json":
            output.as_json(json_format.message(response))
        case "fields":
            output.lines(fields_format.range_response(response))
        case "protobuf":
            output.as_protobuf(response)
        case "table":
            _print_table(response, context)
        case _ if request.count_only:
            output.lines([str(response.count)])
        case _:
            output.lines(simple_format.range_response(response, context.hex, value_only))


def _print_table(response: pb.RangeResponse, context: Context) -> None:
    rows = [
        (
            simple_format.text_of(kv.key, context.hex).decode(errors="replace"),
            simple_format.text_of(kv.value, context.hex).decode(errors="replace"),
            str(kv.create_revision),
            str(kv.mod_revision),
            str(kv.version),
            f"{kv.lease:x}" if kv.lease else "",
        )
        for kv in response.kvs
    ]
    headers = ("KEY", "VALUE", "CREATED", "MODIFIED", "VERSION", "LEASE")
    output.table(headers, rows, context.is_terminal)


async def delete(context: Context, line: Line) -> None:
    written = context.format(refused=("table",))
    request = delete_request(line.arguments, line.flags)
    async with context.client() as client:
        response = await client.delete(request.key, request.range_end, prev_kv=request.prev_kv)
    output.response(
        written,
        response,
        lambda: simple_format.delete_response(response, context.hex),
        lambda: fields_format.delete_response(response),
    )


async def compaction(context: Context, line: Line) -> None:
    if len(line.arguments) != 1:
        raise bad_arguments("compaction command needs 1 argument")
    text = line.arguments[0]
    try:
        revision = int(text)
    except ValueError:
        raise CommandError(
            ExitCode.ERROR, f'strconv.ParseInt: parsing "{text}": invalid syntax'
        ) from None
    async with context.client() as client:
        await client.compact(revision, physical=line.flags.switch("physical"))
    output.lines([f"compacted revision {revision}"])


COMMANDS = (
    Command(
        ("put",),
        "<key> <value> (the value may come from standard input)",
        "Write a key",
        put,
        "Writes <value> to <key>. A value that begins with '-' goes after '--':\n\n"
        "  raftctl put <key> -- -5\n"
        "  cat file | raftctl put <key>",
        PUT_FLAGS,
    ),
    Command(
        ("get",),
        "<key> [range_end]",
        "Read a key or a range of keys",
        get,
        "Reads <key>, or the range [key, range_end). Prints each key and its value on lines of\n"
        "their own:\n\n"
        "  raftctl get --prefix app/            everything below app/\n"
        "  raftctl get --prefix '' --keys-only  every key\n"
        "  raftctl get app/colour --rev 42      as it was at revision 42",
        GET_FLAGS,
    ),
    Command(
        ("del",),
        "<key> [range_end]",
        "Delete a key or a range of keys",
        delete,
        "Deletes <key>, or the range [key, range_end), and prints the number of keys deleted.",
        DELETE_FLAGS,
    ),
    Command(
        ("compaction",),
        "<revision>",
        "Drop the history before a revision",
        compaction,
        "Drops what <revision> and older superseded. Reads and watches before it then fail.",
        (Flag("physical", False, "wait until the space is free to be used again"),),
    ),
)
