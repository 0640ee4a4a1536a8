"""Flags as etcdctl's parser (pflag) takes them: anywhere on the line, `--` ends them.

`--name value`, `--name=value`, `--switch`, `--switch=false`, and a shorthand `-w json`, `-wjson`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from raftkv.ctl.errors import CommandError, ExitCode
from raftkv.flags import parse_duration_s

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; the type of `default` is the type of its value (float: a duration in seconds)."""

    name: str
    default: Value
    help: str
    short: str = ""
    refused: str = ""
    """Not empty: the flag is etcdctl's and not built here; the text says so."""
    adds_up: bool = False
    """Whether values given one after the other are joined by commas; else the last one stands."""


class Flags(Mapping[str, Value]):
    """The values of a command's flags, by name, with typed access."""

    def __init__(self, values: Mapping[str, Value], given: frozenset[str]) -> None:
        self._values = values
        self.given = given
        """Names set on the command line or by the environment."""

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def switch(self, name: str) -> bool:
        return bool(self._values[name])

    def text(self, name: str) -> str:
        return str(self._values[name])

    def number(self, name: str) -> int:
        return int(self._values[name])

    def seconds(self, name: str) -> float:
        return float(self._values[name])


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed command line."""

    flags: Flags
    arguments: tuple[str, ...]
    after_dashes: tuple[str, ...]
    """What followed `--`; also at the end of `arguments`."""


def parse(
    flags: Sequence[Flag], words: Sequence[str], environment: Callable[[str], str | None]
) -> Line:
    """Sort `words` into flags and arguments. `environment(name)` is asked for what is not given.

    Raises CommandError with pflag's texts.
    """
    by_name = {flag.name: flag for flag in flags}
    by_short = {flag.short: flag for flag in flags if flag.short}
    values: dict[str, Value] = {}
    arguments: list[str] = []
    rest = list(words)
    after: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            after = rest
            break
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            flag = by_name.get(name)
            if flag is None:
                raise _bad(f"unknown flag: --{name}")
            given: str | None = text if equals else None
        elif word.startswith("-") and len(word) > 1:
            flag = by_short.get(word[1])
            if flag is None:
                raise _bad(f"unknown shorthand flag: {word[1]!r} in {word}")
            given = word[2:].removeprefix("=") if len(word) > 2 else None
        else:
            arguments.append(word)
            continue
        value = _value(flag, given, rest)
        joins = flag.adds_up and flag.name in values
        values[flag.name] = f"{values[flag.name]},{value}" if joins else value
    given_names = set(values)
    for flag in flags:
        if flag.name not in values:
            from_environment = environment(flag.name)
            if from_environment is None:
                values[flag.name] = flag.default
            else:
                values[flag.name] = _convert(flag, from_environment)
                given_names.add(flag.name)
        if flag.refused and values[flag.name] != flag.default:
            raise CommandError(ExitCode.BAD_FEATURE, f"--{flag.name} {flag.refused}")
    return Line(Flags(values, frozenset(given_names)), (*arguments, *after), tuple(after))


def _value(flag: Flag, given: str | None, rest: list[str]) -> Value:
    if given is not None:
        return _convert(flag, given)
    if isinstance(flag.default, bool):
        return True
    if not rest:
        raise _bad(f"flag needs an argument: --{flag.name}")
    return _convert(flag, rest.pop(0))


def _convert(flag: Flag, text: str) -> Value:
    try:
        match flag.default:
            case bool():
                return {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}[
                    text.lower()
                ]
            case int():
                return int(text, 0)
            case float():
                return parse_duration_s(text)
            case _:
                return text
    except (KeyError, ValueError):
        raise _bad(f'invalid argument "{text}" for "--{flag.name}" flag') from None


def _bad(text: str) -> CommandError:
    return CommandError(ExitCode.ERROR, text, "`--help` after the command lists its flags.")
