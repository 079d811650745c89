"""Named prompt additions, from `styles.toml` beside this file or the operator's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigurationError

SHIPPED = Path(__file__).with_name("styles.toml")


@dataclass(frozen=True, slots=True)
class Style:
    """Words that go after a member's own, and words for the negative prompt."""

    prompt: str = ""
    negative: str = ""


def load_styles(path: Path = SHIPPED) -> Mapping[str, Style]:
    """Read styles by name, in the file's order. Raises ConfigurationError."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The styles in {path} cannot be read: {error}.") from error
    styles: dict[str, Style] = {}
    for name, entry in table.items():
        known = isinstance(entry, dict) and set(entry) <= {"prompt", "negative"}
        if not known or not all(isinstance(text, str) for text in entry.values()):
            raise ConfigurationError(
                f"The style {name!r} in {path} must be a table with the texts prompt and negative."
            )
        if len(name) > 64:
            raise ConfigurationError(f"A style in {path} has a name of more than 64 characters: {name!r}.")
        styles[name] = Style(**entry)
    return styles
