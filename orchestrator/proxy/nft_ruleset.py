"""An nftables table as a value, and the transactions that make or change it. No I/O.

A change touches only what differs: rules of other Services, and the memory of sticky clients in
dynamic sets, survive it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """`type` is the key's; elements are key -> verdict."""

    type: str
    elements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chain:
    """`hook` is the text of a base chain's type, empty for a chain that is jumped to."""

    rules: tuple[str, ...]
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One table of the family `ip`. `sets` are name -> specification."""

    table: str
    sets: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, VerdictMap] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)


def replace_table(ruleset: Ruleset) -> str:
    """Return the transaction that makes the table anew, whatever was there."""
    empty = Ruleset(ruleset.table)
    return delete_table(ruleset.table) + f"add table ip {ruleset.table}\n" + change(empty, ruleset)


def delete_table(table: str) -> str:
    """Return the transaction that removes the table; it succeeds also where there is none."""
    return f"add table ip {table}\ndelete table ip {table}\n"


def change(old: Ruleset, new: Ruleset) -> str:
    """Return the transaction from `old` to `new`, "" where they are equal.

    Order matters: what rules name exists before them, and goes after them. Maps and base chains
    are only ever added; their contents change.
    """
    lines: list[str] = []
    table = new.table
    changed_sets = {name for name in old.sets if new.sets.get(name, "") != old.sets[name]}
    for name, text in new.sets.items():
        if name not in old.sets:
            lines.append(f"add set ip {table} {name} {{ {text} }}")
    for name, chain in new.chains.items():
        if name not in old.chains:
            hook = f" {{ {chain.hook} }}" if chain.hook else ""
            lines.append(f"add chain ip {table} {name}{hook}")
    for name, wanted in new.maps.items():
        if name not in old.maps:
            lines.append(f"add map ip {table} {name} {{ type {wanted.type} : verdict; }}")
    for name, wanted in new.maps.items():
        before = old.maps.get(name, VerdictMap(wanted.type)).elements
        gone = [key for key, verdict in before.items() if wanted.elements.get(key) != verdict]
        added = [(k, v) for k, v in wanted.elements.items() if before.get(k) != v]
        lines += [f"delete element ip {table} {name} {{ {key} }}" for key in gone]
        lines += [f"add element ip {table} {name} {{ {k} : {v} }}" for k, v in added]
    for name, chain in new.chains.items():
        known = old.chains.get(name)
        if known is not None and known.rules == chain.rules:
            continue
        if known is not None:
            lines.append(f"flush chain ip {table} {name}")
        lines += [f"add rule ip {table} {name} {rule}" for rule in chain.rules]
    gone_chains = [name for name in old.chains if name not in new.chains]
    # Chains may name each other: empty all before deleting any.
    lines += [f"flush chain ip {table} {name}" for name in gone_chains]
    lines += [f"delete chain ip {table} {name}" for name in gone_chains]
    for name in sorted(changed_sets):
        assert name not in new.sets, "a set's name says what it is: it never changes"
        lines.append(f"delete set ip {table} {name}")
    return "".join(f"{line}\n" for line in lines)
