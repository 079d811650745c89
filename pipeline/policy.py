"""Which words a prompt may have where: read from `policy.txt` beside this file or the operator's own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.errors import ConfigurationError, InvalidRequest

SHIPPED = Path(__file__).with_name("policy.txt")
_NEVER = "[never together]"


@dataclass(frozen=True)
class WordPolicy:
    """Words for age-restricted channels only, and words that may never stand beside one of them."""

    restricted: tuple[str, ...] = ()
    never_together: tuple[str, ...] = ()

    def check(self, text: str, *, mature: bool, more: Iterable[str] = ()) -> None:
        """Raise InvalidRequest where a text may not be painted; `more` are a server's restricted words."""
        words = _plain(text)
        found = _first(self._restricted, words)
        if found and _first(self._never, words):
            raise InvalidRequest("That is not painted here or anywhere; ask for something else.")
        if mature:
            return
        found = found or _first(_pattern(more), words)
        if found:
            raise InvalidRequest(
                f"The word “{found}” is for age-restricted channels only; "
                "leave it out, or ask in such a channel."
            )

    @cached_property
    def _restricted(self) -> re.Pattern[str] | None:
        return _pattern(self.restricted)

    @cached_property
    def _never(self) -> re.Pattern[str] | None:
        return _pattern(self.never_together)


def load_policy(path: Path = SHIPPED) -> WordPolicy:
    """Read a word policy. Raises ConfigurationError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The words in {path} cannot be read: {error}.") from error
    above, _, below = text.partition(f"\n{_NEVER}\n")
    return WordPolicy(_entries(above), _entries(below))


def _entries(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _plain(text: str) -> str:
    """Take away what does not make another word: case, accents, invisible marks, full-width letters."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(char for char in parts if unicodedata.category(char) not in ("Mn", "Cf"))
    return unicodedata.normalize("NFC", kept)


def _pattern(words: Iterable[str]) -> re.Pattern[str] | None:
    wanted = [_alone(parts) for word in words if (parts := re.findall(r"[^\W_]+", _plain(word)))]
    return re.compile("|".join(sorted(wanted, key=len, reverse=True))) if wanted else None


def _alone(parts: list[str]) -> str:
    text = r"[\W_]+".join(map(re.escape, parts))
    if unicodedata.east_asian_width(parts[-1][-1]) == "W":
        return text  # Chinese, Japanese and Korean do not part words, or not from their endings
    # No \b: an underscore parts words here, as in tags, and "1boy" is the word "boy".
    return rf"(?<![^\W\d_]){text}(?:s|es)?(?![^\W\d_])"


def _first(pattern: re.Pattern[str] | None, words: str) -> str:
    match = pattern.search(words) if pattern is not None else None
    return match[0] if match else ""
