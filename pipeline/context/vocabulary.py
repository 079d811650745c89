"""Which words an object may take: those of a picture model that knows only some, or a few plain ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from pipeline.context.words import COLOURS, KINDS, PALETTE, PATTERN_PALETTE, TIMES, key, spoken
from pipeline.domain import Vocabulary

Kinds = Mapping[str, tuple[str, ...]]  # by kind, as "colour": one word of each is a tag

_ANYTHING: Kinds = {"colour": PALETTE, "pattern": PATTERN_PALETTE}
_HOUSE: Kinds = {"colour": PALETTE, "pattern": ("plain", "plain", "striped", "brick")}
_SHINING: Kinds = {"colour": ("yellow", "orange", "white", "pink", "blue"), "glow": ("glowing",)}
_PLAIN: Mapping[str, Kinds] = {
    "sky": {"light": ("dawn", "day", "sunset", "night"), "weather": ("clear", "cloudy", "starry")},
    "bodyofwater": {
        "colour": ("blue", "green", "purple", "pink", "grey"),
        "surface": ("calm", "rippling"),
    },
    "lightsource": _SHINING,
    "brightwindow": _SHINING,
    "building": _HOUSE,
    "residentialcomplex": _HOUSE,
    "car": {"colour": PALETTE, "pattern": ("plain", "plain", "striped", "dotted")},
}
_STARS = frozenset(("starry", "stars"))
_NIGHTS = frozenset(("night", "nighttime", "midnight", "evening", "dusk", "twilight"))


def kinds_of(label: str, vocabulary: Vocabulary | None) -> Kinds:
    """List what a class can be, by kind; a class that nobody knows has a colour and a pattern."""
    if vocabulary is None:
        return _PLAIN.get(key(spoken(label)), _ANYTHING)
    if label in vocabulary.looks:
        return vocabulary.looks[label]
    meant = key(spoken(label))
    return next((kinds for name, kinds in vocabulary.looks.items() if key(spoken(name)) == meant), _ANYTHING)


def fitted(tags: Iterable[str], label: str, vocabulary: Vocabulary | None) -> tuple[str, ...]:
    """Keep of tags what the picture model knows of this class, and put its words for others: crimson is red.

    Without a vocabulary everything is known.
    """
    if vocabulary is None:
        return tuple(tags)
    kinds = kinds_of(label, vocabulary)
    words = [word for tag in tags for word in tag.casefold().split()]
    known = [word for word in words if any(word in kind for kind in kinds.values())]
    for word in words:
        meant = vocabulary.aliases.get(word, "")
        # Leather is taken for brown, but a red leather jacket is red.
        kind = next((kind for kind in kinds.values() if meant in kind), ())
        if meant and kind and word not in known and not any(other in kind for other in known):
            known.append(meant)
    return tuple(dict.fromkeys(known))


def decided(kind: Iterable[str], said: Iterable[str]) -> bool:
    """Tell whether what was said of an object leaves nothing to choose of this kind."""
    words = frozenset(word for tag in said for word in tag.casefold().split())
    alike = frozenset(kind).union(*(known for known in KINDS if not known.isdisjoint(kind)))
    return not alike.isdisjoint(words)


def looks(said: Sequence[str], kinds: Kinds) -> list[tuple[str, ...]]:
    """List every look that an object can take: what was said of it holds, the rest is one word a kind."""
    left = [tuple(dict.fromkeys(kind)) for kind in kinds.values() if not decided(kind, said)]
    every = [(*said, *chosen) for chosen in itertools.product(*left)]
    return [look for look in every if _agree(look)] or every


def _agree(look: Iterable[str]) -> bool:
    """Tell whether there are stars only at night."""
    words = frozenset(look)
    if words.isdisjoint(_STARS):
        return True
    return not words.isdisjoint(_NIGHTS) or words.isdisjoint(TIMES | COLOURS)
