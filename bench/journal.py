"""What a comparison has measured so far: a file that grows by a line a figure.

A run that is cut leaves it behind, and `--resume` goes on from it. The first line says what the
run is: figures of another commit, size or number of members are not mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.target import Sample

Header = Mapping[str, str | int | float | bool]


class Journal:
    """Samples by name and program, rates and notes by name. `path` None: kept in memory only."""

    def __init__(self, path: Path | None = None, header: Header | None = None) -> None:
        """Begin anew; what was in the file is gone."""
        self._path = path
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        self.rates: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        """Name -> why it was given up. Not resumed: what failed is tried again."""
        if path is not None:
            path.write_text("")
            self._append("header", **(header or {}))

    @classmethod
    def resume(cls, path: Path, header: Header) -> Journal:
        """Go on with a file. ValueError where it is missing or of another run.

        A last line that is cut is left out: its writer died in the middle of it.
        """
        lines = path.read_text().splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines if line.endswith("}")]
        if not records:
            raise ValueError(f"nothing to resume: {path} is missing or empty")
        known = {name: value for name, value in records[0].items() if name != "what"}
        changed = [name for name, value in header.items() if known.get(name) != value]
        if changed:
            raise ValueError(
                f"{path} is of another run: "
                + ", ".join(f"{name} {known.get(name)}, now {header[name]}" for name in changed)
            )
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        made = cls()
        for record in records[1:]:
            made._take(record)
        made._path = path
        return made

    def _take(self, record: dict[str, Any]) -> None:
        what, name = record.pop("what"), record.pop("name")
        if what == "sample":
            program = record.pop("program")
            self._samples.setdefault((name, program), []).append(Sample(**record))
        elif what == "rate":
            self.rates[name] = record["rate"]
        elif what == "note":
            self.notes[name] = record["text"]

    def _append(self, what: str, **fields: str | int | float | bool) -> None:
        if self._path is not None:
            with open(self._path, "a") as file:
                file.write(json.dumps({"what": what, **fields}) + "\n")

    def samples(self, name: str, program: str) -> list[Sample]:
        """Return those of a case on a program, the oldest first."""
        return self._samples.setdefault((name, program), [])

    def add(self, name: str, program: str, sample: Sample) -> None:
        self.samples(name, program).append(sample)
        self._append("sample", name=name, program=program, **asdict(sample))

    def add_rate(self, name: str, rate: float) -> None:
        self.rates[name] = rate
        self._append("rate", name=name, rate=rate)

    def add_note(self, name: str, text: str) -> None:
        """Keep what a reader must know of a case; it stands below the table."""
        self.notes[name] = text
        self._append("note", name=name, text=text)

    def add_failure(self, name: str, text: str) -> None:
        self.failures[name] = text
        self._append("failure", name=name, text=text)

    def complete(self, name: str, programs: list[str], rounds: int) -> bool:
        """Tell whether nothing is left to do of a case."""
        return all(len(self.samples(name, program)) >= rounds for program in programs)

    def remove(self) -> None:
        """Delete the file: its figures are where they belong."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
