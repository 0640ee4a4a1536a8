"""endpoint health and hashkv, and how every endpoint is asked by itself."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from raftkv.client import Client, ClientError
from raftkv.ctl import fields_format, json_format, output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, explain, told_already
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import duration, quoted
from raftkv.pb.etcd import rpc_pb2 as pb

CLUSTER = Flag("cluster", False, "ask every member of the cluster, not only the given endpoints")
HEALTH_KEY = b"health"

Answer = TypeVar("Answer")


async def endpoints_of(context: Context, line: Line) -> tuple[str, ...]:
    """Give the endpoints to ask: the given ones, or with --cluster every member's client URLs."""
    if not line.flags.switch("cluster"):
        return context.endpoints
    async with context.client() as client:
        members = (await client.member_list()).members
    return tuple(url for member in members for url in member.clientURLs)


async def ask_each(
    context: Context,
    endpoints: tuple[str, ...],
    what: str,
    question: Callable[[Client], Awaitable[Answer]],
    tell: bool = True,
) -> tuple[list[tuple[str, Answer]], bool]:
    """Ask all endpoints at once; tell failures on standard error. Second: whether one failed."""

    async def ask(endpoint: str) -> Answer | CommandError:
        async with context.client((endpoint,)) as client:
            try:
                return await question(client)
            except ClientError as error:
                return explain(error, (endpoint,))

    answers = await asyncio.gather(*map(ask, endpoints))
    good: list[tuple[str, Answer]] = []
    for endpoint, answer in zip(endpoints, answers, strict=True):
        if isinstance(answer, CommandError):
            text = f"Failed to get the {what} of endpoint {endpoint} ({answer.text})"
            if tell:
                print(text, file=sys.stderr)
        else:
            good.append((endpoint, answer))
    return good, len(good) < len(endpoints)


async def hash_kv(context: Context, line: Line) -> None:
    written = context.format(table_on_terminal=True)
    endpoints, revision = await endpoints_of(context, line), line.flags.number("rev")
    answers, failed = await ask_each(
        context, endpoints, "hash", lambda client: client.hash_kv(revision, 0)
    )
    match written:
        case "json":
            output.as_json(
                [{"Endpoint": name, "HashKV": json_format.message(r)} for name, r in answers]
            )
        case "fields":
            for name, response in answers:
                place = f'"Endpoint" : {quoted(name.encode())}'
                header = fields_format.header(response.header)
                output.lines([*header, place, f'"Hash" : {response.hash}', ""])
        case "table":
            rows = [(name, str(response.hash)) for name, response in answers]
            output.table(("ENDPOINT", "HASH"), rows, context.is_terminal)
        case _:
            output.lines(f"{name}, {response.hash}" for name, response in answers)
    if failed:
        raise told_already()


@dataclass(frozen=True, slots=True)
class Health:
    """What one endpoint made of a linearizable read and its alarms."""

    endpoint: str
    took_ns: int
    error: str

    @property
    def healthy(self) -> bool:
        return not self.error


async def _health_of(context: Context, endpoint: str) -> Health:
    began = time.monotonic_ns()
    error = ""
    async with context.client((endpoint,)) as client:
        try:
            await client.get(HEALTH_KEY)
        except ClientError as failure:
            # Who may not read the key has still been answered by a quorum.
            if failure.code is not grpc.StatusCode.PERMISSION_DENIED:
                error = explain(failure, (endpoint,)).text
        took_ns = time.monotonic_ns() - began
        if not error:
            error = await _alarms(client)
    return Health(endpoint, took_ns, error)


async def _alarms(client: Client) -> str:
    try:
        alarms = (await client.alarm_list()).alarms
    except ClientError as failure:
        return f"Unable to fetch the alarm list: {failure.message}"
    names = " ".join(pb.AlarmType.Name(alarm.alarm) for alarm in alarms)
    return f"Active Alarm(s): {names}" if names else ""


async def health(context: Context, line: Line) -> None:
    written = context.format(table_on_terminal=True)
    endpoints = await endpoints_of(context, line)
    results = await asyncio.gather(*(_health_of(context, name) for name in endpoints))
    match written:
        case "json":
            output.as_json([_health_json(result) for result in results])
        case "fields":
            output.lines(text for result in results for text in _health_fields(result))
        case "table":
            rows = [
                (r.endpoint, str(r.healthy).lower(), duration(r.took_ns), r.error) for r in results
            ]
            output.table(("ENDPOINT", "HEALTH", "TOOK", "ERROR"), rows, context.is_terminal)
        case _:
            for result in results:
                _print_health(result)
    if not all(result.healthy for result in results):
        raise CommandError(
            ExitCode.ERROR,
            "unhealthy cluster",
            "`raftctl endpoint status --cluster` shows which member leads and which lags.",
        )


def _health_json(result: Health) -> dict[str, json_format.Json]:
    body: dict[str, json_format.Json] = {
        "endpoint": result.endpoint,
        "health": result.healthy,
        "took": duration(result.took_ns),
    }
    return {**body, "error": result.error} if result.error else body


def _health_fields(result: Health) -> list[str]:
    return [
        f'"Endpoint" : {quoted(result.endpoint.encode())}',
        f'"Health" : {str(result.healthy).lower()}',
        f'"Took" : {duration(result.took_ns)}',
        f'"Error" : {result.error}',
        "",
    ]


def _print_health(result: Health) -> None:
    if result.healthy:
        took = duration(result.took_ns)
        output.lines(
            [f"{result.endpoint} is healthy: successfully committed proposal: took = {took}"]
        )
    else:
        text = f"{result.endpoint} is unhealthy: failed to commit proposal: {result.error}"
        print(text, file=sys.stderr)


COMMANDS = (
    Command(
        ("endpoint", "health"),
        "",
        "Ask each endpoint for a linearizable read and its alarms",
        health,
        "Exits with 1 if one of them is not healthy.",
        (CLUSTER,),
    ),
    Command(
        ("endpoint", "hashkv"),
        "",
        "Hash each endpoint's keys and history, to compare members",
        hash_kv,
        flags=(CLUSTER, Flag("rev", 0, "hash up to this revision (the latest by default)")),
    ),
)
