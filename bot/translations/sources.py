"""Find the sentences that members may read in the code, to see which have no translation.

Looked for are the texts given to `tr`, to `say`, to the errors of pipeline/errors.py but those for operators,
the descriptions of commands, options and choices, the remarks of encodings, why something was cancelled, and
all that bot/sentences.py has. A text that is put into a variable first is followed within its function. What
is put together in other ways is not found: write whole sentences. What is given to Discord to be shown
without `tr` is found by `bare`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.translations import split
from pipeline.errors import ConfigurationError, ContextualDiffusionError

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = Path("bot/sentences.py")
_DECORATORS = ("command", "Group", "ContextMenu")
# Where words for members are given on: of these calls the first argument, and of all calls these keywords.
_SHOWING = ("send", "send_message", "append", "add")
_NOT_SHOWING = (*_DECORATORS, "describe", "Choice", "Preference", "create_task", "File", "ArgumentParser")
_WORD = re.compile(r"[A-Za-z]{2}")
_SHOWN = ("label", "placeholder", "title", "description", "content", "name", "value")


@dataclass(frozen=True, slots=True)
class Source:
    """A text in the code; an f-string's expressions are `{}`."""

    template: str
    where: str  # file:line
    exact: bool  # given to `tr` as it is: its placeholders' names count

    @property
    def shape(self) -> tuple[str, ...]:
        """The words between the placeholders: what it is recognised by."""
        return split(self.template)[0]


def sources(folders: tuple[str, ...] = ("bot", "pipeline")) -> list[Source]:
    """List the texts for members in these folders of the project."""
    found: list[Source] = []
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            name = file.relative_to(ROOT)
            texts = _constants(tree) if name == SENTENCES else _texts(tree)
            found += [Source(text, f"{name}:{line}", exact) for text, line, exact in texts]
    return found


def bare(folder: Path = ROOT / "bot") -> list[str]:
    """List, as "file:line: text", words that are given to Discord to be shown and pass by `tr`.

    Names of commands and options are not among them: the catalogue's `[names]` are for those.
    """
    found: list[str] = []
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        for node in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            name = _name(node)
            if name in _NOT_SHOWING:
                continue
            shown = [keyword.value for keyword in node.keywords if keyword.arg in _SHOWN]
            shown += node.args[:1] if name in _SHOWING else []
            said = [text for value in shown for text in _read(value, None)]
            where = f"{file.name}:{node.lineno}"
            found += [f"{where}: {text}" for text in said if _WORD.search(text.replace("{}", ""))]
    return found


def strings(folders: tuple[str, ...] = ("bot", "pipeline")) -> str:
    """Return all string constants of these folders in one text: what a catalogue may be about."""
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    return "\0".join(
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _texts(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    errors = _error_names()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node): function for function in functions for node in ast.walk(function)}  # the innermost
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _name(node)
        wanted: list[ast.expr] = [keyword.value for keyword in node.keywords if keyword.arg == "why"]
        if name in errors or name in ("tr", "say"):
            wanted = node.args[1:2] if name == "say" else node.args[:1]
        elif name in _DECORATORS:
            wanted = [keyword.value for keyword in node.keywords if keyword.arg == "description"]
        elif name == "Encoding":
            wanted = node.args[2:3]
        elif name == "describe":
            wanted = [keyword.value for keyword in node.keywords if keyword.arg]
        for value in wanted:
            for text in _read(value, inside.get(id(node))):
                yield text, node.lineno, name == "tr"


def _constants(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    for statement in tree.body[1:]:  # the first one is what the module is about
        for node in ast.walk(statement):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, node.lineno, True


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _read(value: ast.expr, function: ast.AST | None) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        if value.value:
            yield value.value
    elif isinstance(value, ast.JoinedStr):
        yield "".join(
            str(part.value).replace("{", "{{").replace("}", "}}") if isinstance(part, ast.Constant) else "{}"
            for part in value.values
        )
    elif isinstance(value, ast.IfExp):
        yield from _read(value.body, function)
        yield from _read(value.orelse, function)
    elif isinstance(value, ast.Name) and function is not None:
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == value.id for target in node.targets
            ):
                yield from _read(node.value, None)


def _error_names() -> set[str]:
    names: set[str] = set()
    kinds: list[type[BaseException]] = [ContextualDiffusionError]
    while kinds:
        kind = kinds.pop()
        if kind is not ConfigurationError:  # for operators, who read the log
            names.add(kind.__name__)
            kinds += kind.__subclasses__()
    return names
