"""completion and options: what a shell, or a person, may type.

The scripts are made of the commands' table: they know every verb and flag, and call nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftkv.ctl import help_text, output
from raftkv.ctl.command import GLOBAL_FLAGS, Command, Context
from raftkv.ctl.errors import bad_arguments
from raftkv.ctl.flag_set import Flag, Line

SHELLS = ("bash", "zsh", "fish")

Tree = dict[str, list[Command]]
"""Commands by their first word."""


def _tree(commands: Sequence[Command]) -> Tree:
    tree: Tree = {}
    for command in commands:
        tree.setdefault(command.path[0], []).append(command)
    return tree


def _flag_words(flags: Sequence[Flag]) -> str:
    return " ".join(f"--{flag.name}" for flag in flags if not flag.refused)


def _next_words(tree: Tree) -> dict[str, str]:
    """Give what may follow, by the words that came before: "" for the first."""
    words = {"": " ".join(sorted(tree))}
    for first, commands in sorted(tree.items()):
        inner = [command.path[1] for command in commands if len(command.path) > 1]
        if inner:
            words[first] = " ".join(inner)
        for command in commands:
            path = " ".join(command.path)
            words[path] = f"{words.get(path, '')} {_flag_words(command.flags)}".strip()
    return words


def bash(commands: Sequence[Command]) -> str:
    """Write a script for bash; zsh reads the same one by way of bashcompinit."""
    cases = "\n".join(
        f'        "{path}") words="{words}" ;;'
        for path, words in _next_words(_tree(commands)).items()
    )
    values = " ".join(f"--{f.name}" for f in GLOBAL_FLAGS if not isinstance(f.default, bool))
    return f"""\
_raftctl() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path="" word skip="" words=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [[ -n "$skip" ]]; then skip=""; continue; fi
        case " {values} -w " in *" $word "*) skip=1; continue ;; esac
        [[ "$word" == -* ]] || path="${{path:+$path }}$word"
    done
    if [[ "${{COMP_WORDS[COMP_CWORD-1]}}" == -w || "${{COMP_WORDS[COMP_CWORD-1]}}" == --write-out ]]
    then
        COMPREPLY=($(compgen -W "simple json fields table protobuf" -- "$current"))
        return
    fi
    case "$path" in
{cases}
    esac
    [[ "$current" == -* ]] && words="$words {_flag_words(GLOBAL_FLAGS)}"
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _raftctl raftctl"""


def zsh(commands: Sequence[Command]) -> str:
    """Write a script for zsh."""
    return f"#compdef raftctl\nautoload -U +X bashcompinit && bashcompinit\n{bash(commands)}"


def fish(commands: Sequence[Command]) -> str:
    """Write a script for fish."""
    tree = _tree(commands)
    lines = ["complete -c raftctl -f"]
    for flag in GLOBAL_FLAGS:
        if not flag.refused:
            lines.append(_fish_flag("", flag))
    for first, of_first in sorted(tree.items()):
        lines.append(f"complete -c raftctl -n __fish_use_subcommand -a {first}{_about(of_first)}")
        for command in of_first:
            if len(command.path) > 1:
                lines.append(
                    f"complete -c raftctl -n '__fish_seen_subcommand_from {first}' "
                    f"-a {command.path[1]} -d {_quoted(command.summary)}"
                )
            seen = f"-n '__fish_seen_subcommand_from {command.path[-1]}' "
            lines.extend(_fish_flag(seen, flag) for flag in command.flags if not flag.refused)
    return "\n".join(lines)


def _about(commands: Sequence[Command]) -> str:
    return f" -d {_quoted(commands[0].summary)}" if len(commands[0].path) == 1 else ""


def _fish_flag(seen: str, flag: Flag) -> str:
    short = f" -s {flag.short}" if flag.short else ""
    takes = "" if isinstance(flag.default, bool) else " -r"
    return f"complete -c raftctl {seen}-l {flag.name}{short}{takes} -d {_quoted(flag.help)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SCRIPTS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def commands_for(all_commands: Callable[[], Sequence[Command]]) -> tuple[Command, ...]:
    """Give the verbs of this module, which tell of all others."""

    async def completion(_context: Context, line: Line) -> None:
        if len(line.arguments) != 1 or line.arguments[0] not in SCRIPTS:
            raise bad_arguments(f"completion needs the name of a shell: {', '.join(SHELLS)}")
        output.lines([SCRIPTS[line.arguments[0]](all_commands())])

    async def options(_context: Context, _line: Line) -> None:
        output.lines([help_text.options()])

    return (
        Command(
            ("completion",),
            "bash|zsh|fish",
            "Print a script that completes commands and flags",
            completion,
            "  source <(raftctl completion bash)\n"
            '  raftctl completion zsh > "${fpath[1]}/_raftctl"\n'
            "  raftctl completion fish | source",
        ),
        Command(("options",), "", "Print the flags that every command has", options),
    )
