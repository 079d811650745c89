"""What members read, in their language: sentences are written in English, a catalogue says them in another.

A catalogue is one TOML file a language here beside, named by Discord's code for it (`ko.toml`): `[names]` of
commands, options and choices, `[texts]`, whole sentences with `{placeholders}`, `[words]` that may fill
these, and `[labels]`, on buttons, above fields or within a sentence. What is missing stays English.

A sentence that is made here is said with `tr("Recursion {depth}", depth=2)`. One that comes finished from
elsewhere (an error, a note in the database, an option's description) is recognised by its words around the
placeholders: `translated("The depth must be from 0 to 8.")` finds "The depth must be from 0 to {deepest}.".
Labels are too short for that: "{count} picture" would be found in members' own words.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import discord
from discord import app_commands

from pipeline.domain import Session

ENGLISH = "en-US"
FOLDER = Path(__file__).parent
_NAMED = (
    app_commands.TranslationContextLocation.command_name,
    app_commands.TranslationContextLocation.group_name,
    app_commands.TranslationContextLocation.parameter_name,
    app_commands.TranslationContextLocation.choice_name,
)

# Whoever reads what is said in this task; handed on to the tasks and threads that it starts.
_reader: ContextVar[str] = ContextVar("reader", default=ENGLISH)


def tr(english: str, /, **values: object) -> str:
    """Say a sentence in the reader's language; `values` fill its placeholders and stay as they are."""
    known = catalogue(_reader.get())
    template = english if known is None else known.said.get(english, english)
    return template.format(**values)


def translated(sentence: str) -> str:
    """Say a finished English sentence in the reader's language; one that is not known stays as it is."""
    known = catalogue(_reader.get())
    return sentence if known is None else known.translate(sentence) or sentence


def named(name: str) -> str:
    """Write the name of a command, an option or a choice as it is offered to the reader."""
    known = catalogue(_reader.get())
    return name if known is None else known.names.get(name, name)


@contextmanager
def read_in(locale: object) -> Iterator[None]:
    """Say what is said inside in a language, given by Discord's code; English where it is not known."""
    token = _reader.set(str(locale or ENGLISH))
    try:
        yield
    finally:
        _reader.reset(token)


def answer_in(locale: object) -> None:
    """Say all that follows in this task in a language: of a whole interaction."""
    _reader.set(str(locale or ENGLISH))


def reader() -> str:
    """Return the code of the reader's language."""
    return _reader.get()


@contextmanager
def shown_in(session: Session) -> Iterator[None]:
    """Say what is said inside in the language that a session's posts have, whoever it is that presses."""
    with read_in(session.meta.get("locale")):
        yield


def language_of_posts(interaction: discord.Interaction) -> str:
    """Choose the language of what everybody sees of a session.

    It is the server's, but only community servers can choose one: to all others Discord ascribes American
    English. There, and in DMs, it is that of who asked. A session keeps it: a thread in two languages, after
    somebody's change of theirs, would be nobody's.
    """
    guild = interaction.guild
    if guild is not None and "COMMUNITY" in guild.features:
        return str(guild.preferred_locale)
    return str(interaction.locale)


@cache
def languages() -> tuple[str, ...]:
    """List the languages that there are catalogues for."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


@cache
def catalogue(locale: str) -> Catalogue | None:
    """Read a language's catalogue, once; None where there is none, as for English."""
    if locale not in languages():
        return None
    content = tomllib.loads((FOLDER / f"{locale}.toml").read_text("utf-8"))
    return Catalogue(**content)


class Catalogue:
    """One language: `names` of commands, `texts` and `labels` by their English templates, `words` in texts.

    `said` are texts and labels together.
    """

    def __init__(
        self,
        names: Mapping[str, str] = MappingProxyType({}),
        texts: Mapping[str, str] = MappingProxyType({}),
        words: Mapping[str, str] = MappingProxyType({}),
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.names = names
        self.texts = texts
        self.words = words
        self.labels = labels
        self.said = {**texts, **labels}
        shapes = [_Shape.of(english, other) for english, other in texts.items() if "{" in english]
        # The one that says most itself is the one that is meant.
        self._shapes = sorted(shapes, key=lambda shape: -sum(map(len, shape.literals)))

    def translate(self, sentence: str) -> str | None:
        """Translate a finished sentence, and the sentences quoted in it; None if it is not known."""
        if sentence in self.texts and "{" not in sentence:
            return self.texts[sentence]
        for shape in self._shapes:
            found = shape.match(sentence)
            if found is not None:
                values = {name: self._quoted(value) for name, value in found.items()}
                return shape.other.format(**values)
        return None

    def _quoted(self, value: str) -> str:
        """Translate what fills a placeholder if it is known words, a list of them, or a sentence."""
        parts = [self.words.get(part, "") for part in value.split(", ")]
        if all(parts):
            return ", ".join(parts)
        return (self.translate(value) if " " in value else None) or value


@dataclass(frozen=True, slots=True)
class _Shape:
    """An English template as the words between its placeholders, and what it is in another language."""

    literals: tuple[str, ...]  # one more than names
    names: tuple[str, ...]
    other: str

    @classmethod
    def of(cls, english: str, other: str) -> _Shape:
        literals, names = split(english)
        # A finished sentence has its numbers written out: how they were formatted no longer matters.
        bare = "".join(
            literal.replace("{", "{{").replace("}", "}}") + ("{" + name + "}" if name is not None else "")
            for literal, name, _, _ in string.Formatter().parse(other)
        )
        return cls(literals, names, bare)

    def match(self, sentence: str) -> dict[str, str] | None:
        """Find what fills the placeholders, in linear time: members' words may be among it."""
        first, *middle, last = self.literals
        end = len(sentence) - len(last)
        if not sentence.startswith(first) or not sentence.endswith(last) or end < len(first):
            return None
        values: list[str] = []
        at = len(first)
        for literal in middle:
            next_at = sentence.find(literal, at, end)
            if next_at < 0:
                return None
            values.append(sentence[at:next_at])
            at = next_at + len(literal)
        values.append(sentence[at:end])
        return dict(zip(self.names, values, strict=True))


def split(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a template into the words between its placeholders and the placeholders' names."""
    literals, names = [""], list[str]()
    for literal, name, _, _ in string.Formatter().parse(template):
        literals[-1] += literal
        if name is not None:
            names.append(name)
            literals.append("")
    return tuple(literals), tuple(names)


class CommandTranslator(app_commands.Translator):
    """Gives Discord the commands' names and descriptions in every language that there is."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        """Look a name up as a name and everything else as a text; None where it stays English."""
        known = catalogue(locale.value)
        if known is None:
            return None
        if context.location in _NAMED:
            return known.names.get(string.message)
        return known.translate(string.message)
