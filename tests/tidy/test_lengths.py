"""Files and functions fit the limits of CONTRIBUTING.md, and names say what they hold."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
MACHINE_PATHS = re.compile(r"/(?:work|root)/|/home/\w+/")

CYTHON_FUNCTION = re.compile(
    r"^(?P<indent> *)(?:async )?(?:def|cdef|cpdef) (?!class |struct |enum |extern |object )[^=]*\("
)


def sources(*suffixes: str) -> list[Path]:
    """Files that git tracks or would track, with one of the suffixes."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    paths = [ROOT / name for name in listed if name.endswith(suffixes)]
    assert paths, f"no file ends with {suffixes}: the check would pass on nothing"
    return [path for path in paths if path.exists()]


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{node.name} (line {node.lineno})", node.end_lineno - node.lineno + 1


def cython_functions(path: Path) -> Iterator[tuple[str, int]]:
    """By indentation: a function ends before the next line that is not deeper than its head."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        head = CYTHON_FUNCTION.match(line)
        if head is None:
            continue
        depth, end, inside = len(head["indent"]), number, False
        for later in range(number + 1, len(lines)):
            text = lines[later]
            if not text.strip():
                continue
            indent = len(text) - len(text.lstrip())
            if indent <= depth and not text.lstrip().startswith(")"):
                break
            inside, end = True, later
        if inside:
            yield f"{line.strip()[:50]} (line {number + 1})", end - number + 1


@pytest.mark.parametrize("suffix", [".py", ".pyx", ".pxd"])
def test_files_are_short(suffix: str) -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources(suffix)
        if (count := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert long == {}


def test_functions_fit_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {name}: {count} lines"
        for path in sources(".py", ".pyx")
        for name, count in (
            python_functions(path) if path.suffix == ".py" else cython_functions(path)
        )
        if count > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_lines_of_cython_fit_the_width() -> None:
    """Ruff holds the Python files to it."""
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources(".pyx", ".pxd")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > COLUMNS_MAX
    ]
    assert wide == []


def test_no_file_is_named_after_nothing() -> None:
    nameless = [
        str(path.relative_to(ROOT)) for path in sources(".py", ".pyx") if path.stem in EMPTY_NAMES
    ]
    assert nameless == []


def test_nothing_is_left_unfinished_or_bound_to_one_machine() -> None:
    here = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources(".py", ".pyx", ".pxd", ".md", ".yaml", ".toml", "Makefile")
        if path != here
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line) or MACHINE_PATHS.search(line)
    ]
    assert found == []
