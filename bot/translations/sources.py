"""Find the sentences that members may read in the code, to see which have no translation.

Looked for are the texts given to `tr`, to `say`, to the errors of pipeline/errors.py but those for operators,
and the descriptions of commands, options and choices. A text that is put into a variable first is followed
within its function. What is put together in other ways is not found: write whole sentences.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.translations import split
from pipeline.errors import ConfigurationError, ContextualDiffusionError

ROOT = Path(__file__).resolve().parents[2]
_DECORATORS = ("command", "Group", "ContextMenu")


@dataclass(frozen=True, slots=True)
class Source:
    """A text in the code; an f-string's expressions are `{}`."""

    template: str
    where: str  # file:line
    exact: bool  # given to `tr`: its placeholders' names count

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
            found += [Source(text, f"{name}:{line}", exact) for text, line, exact in _texts(tree)]
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
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        wanted: list[ast.expr] = []
        if name in errors or name in ("tr", "say"):
            wanted = node.args[1:2] if name == "say" else node.args[:1]
        elif name in _DECORATORS:
            wanted = [keyword.value for keyword in node.keywords if keyword.arg == "description"]
        elif name == "describe":
            wanted = [keyword.value for keyword in node.keywords if keyword.arg]
        for value in wanted:
            for text in _read(value, inside.get(id(node))):
                yield text, node.lineno, name == "tr"


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
