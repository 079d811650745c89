"""A story and tags without any language model: plain, seeded, the same every time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pipeline.context.replies import edit, read_addressed
from pipeline.context.vocabulary import decided, fitted, kinds_of
from pipeline.context.words import (
    COLOURS,
    DESCRIPTORS,
    MAX_STORY,
    SHADES,
    TIMES,
    WEATHERS,
    clean,
    clean_tags,
    clip,
    key,
    names_of,
    spoken,
    spoken_names,
    tokens,
    word_set,
)
from pipeline.domain import Detection, ObjectContext, SceneContext, Vocabulary

# The weather that goes with a sky's light; a light of another colour is a day's.
_DAY = ("clear", "cloudy")
_TOGETHER = dict.fromkeys((*TIMES, *COLOURS), _DAY) | {"night": ("clear", "starry")}


# Words before which a description of something else ends.
_STOPS = word_set(
    """
    a an the in on at of with and or to by from for her his their its my your wearing holding carrying
    walking standing sitting running looking smiling under over behind near beside who that is are has
    girl 1girl boy 1boy man woman person people body background full city street solo
    """
)

_OPENINGS = (
    "It starts with {prompt}, and with {first}.",
    "In {prompt}, {first} catches the eye first.",
    "Whoever looks at {prompt} soon notices {first}.",
    "{prompt}: that is the place, and {first} belongs to it.",
)
_MIDDLES = ("Close by there is {rest}.", "Beside it one finds {rest}.", "The rest is quiet: {rest}.")
_CLOSINGS = (
    "Nobody is in a hurry, and the light stays a moment longer.",
    "Something is about to happen, but not yet.",
    "From here the day could go anywhere.",
    "It would be a good moment to stop and look again.",
)


class TemplateContextWriter:
    """Write a plain story and plain tags; what the prompt says of an object holds.

    With a `vocabulary` tags are words that the picture model knows.
    """

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self._vocabulary = vocabulary

    async def describe(
        self, prompt: str, detections: Sequence[Detection], *, picture: bytes = b"", seed: int
    ) -> SceneContext:
        names = spoken_names(detections)
        objects = tuple(
            ObjectContext(number, name, _tags(prompt, detection.label, seed, number, self._vocabulary))
            for number, (name, detection) in enumerate(zip(names, detections, strict=True), start=1)
        )
        return SceneContext(tell(prompt, objects, seed), objects, "template")

    async def revise(
        self,
        reply: str,
        objects: Sequence[ObjectContext],
        *,
        prompt: str = "",
        story: str = "",
        seed: int = 0,
    ) -> tuple[ObjectContext, ...]:
        return read_addressed(reply, objects) or edit(reply, objects)

    async def aclose(self) -> None:
        return None


def said_of(label: str, prompt: str, vocabulary: Vocabulary | None) -> tuple[str, ...]:
    """Find the tags that a prompt gives an object itself: "red" and "leather" for a "red leather jacket"."""
    return fitted(_bound(prompt, spoken(label)), label, vocabulary)


def _tags(prompt: str, label: str, seed: int, number: int, vocabulary: Vocabulary | None) -> tuple[str, ...]:
    noun = spoken(label)
    said = said_of(label, prompt, vocabulary)
    # Shoes are worn in pairs; of everything else each has its own look.
    chance = random.Random(f"{seed}/{0 if noun == 'shoe' else number}/{label}")
    chosen: list[str] = []
    for kind in kinds_of(label, vocabulary).values():
        # The dice are thrown even if the prompt decides: one word more does not change the other tags.
        choice = chance.choice(kind)
        if not decided(kind, said):
            chosen.append(choice)
    if key(noun) == "sky":
        chosen = _agree(said, chosen, chance)
    return clean_tags([*said, *chosen])


def _agree(said: Sequence[str], chosen: list[str], chance: random.Random) -> list[str]:
    """Keep stars out of the daylight, unless the prompt wants them there."""
    if "starry" in said:
        return ["night" if tag in _TOGETHER else tag for tag in chosen]
    light = next((tag for tag in (*said, *chosen) if tag in _TOGETHER), "")
    fitting = _TOGETHER.get(light, ())
    return [
        chance.choice(fitting) if tag in WEATHERS and fitting and tag not in fitting else tag
        for tag in chosen
    ]


def _bound(prompt: str, noun: str) -> list[str]:
    """Find the words of a prompt that describe a noun: "red" and "leather" for a "red leather jacket"."""
    meant = frozenset[str]().union(*names_of(noun))
    for segment in prompt.replace(";", ",").replace("\n", ",").split(","):
        words = tokens(segment)[:200]
        for index in range(len(words)):
            for length in (3, 2, 1):
                if index + length <= len(words) and key(" ".join(words[index : index + length])) in meant:
                    before = _described_before(words[:index])
                    if found := before or _described_after(words[index + length :]):
                        return _grouped(found)
    if noun == "sky":  # the time of day is the sky's, wherever it is said
        return [word for word in tokens(prompt) if word in TIMES][:1]
    return []


def _described_before(words: Sequence[str]) -> list[str]:
    taken: list[str] = []
    for position in range(len(words) - 1, max(-1, len(words) - 6), -1):
        word = words[position]
        joins = word == "and" and position and taken and taken[0] in DESCRIPTORS
        if joins and words[position - 1] in DESCRIPTORS:  # "red and black jacket"
            continue
        if word in _STOPS:
            break
        taken.insert(0, word)
    first = next((index for index, word in enumerate(taken) if word in DESCRIPTORS), None)
    # Unknown words are taken between a known one and the noun ("red quilted jacket"), or next to it.
    return taken[first:] if first is not None else taken[-1:]


def _described_after(words: Sequence[str]) -> list[str]:
    if len(words) < 2 or words[0] not in ("is", "are", "in", "with"):  # "the jacket is dark red"
        return []
    end = next((index for index, word in enumerate(words[1:], 1) if word not in DESCRIPTORS), len(words))
    return list(words[1:end])


def _grouped(words: Sequence[str]) -> list[str]:
    """Keep a shade with its colour: dark, red, leather is "dark red", "leather"."""
    tags: list[str] = []
    for word in words:
        if tags and tags[-1] in SHADES and word in COLOURS:
            tags[-1] += f" {word}"
        else:
            tags.append(word)
    return tags


def tell(prompt: str, objects: Sequence[ObjectContext], seed: int) -> str:
    """Tell a plain story of a prompt and the objects with their tags."""
    chance = random.Random(f"{seed}/story")
    scene = f"“{clip(clean(prompt, 4000), 120).rstrip(' ,.;:') or 'this picture'}”"
    things = [_noun_phrase(thing) for thing in objects]
    sentences = [f"It starts with {scene}."]
    if things:
        sentences = [chance.choice(_OPENINGS).format(prompt=scene, first=things[0])]
    if len(things) > 1:
        rest = ", ".join(things[1:-1])
        sentences.append(
            chance.choice(_MIDDLES).format(rest=f"{rest} and {things[-1]}" if rest else things[-1])
        )
    sentences.append(chance.choice(_CLOSINGS))
    return clip(" ".join(sentence[0].upper() + sentence[1:] for sentence in sentences), MAX_STORY)


def phrase(name: str, tags: Sequence[str]) -> str:
    """Say an object with its look, as a person would: "red striped jacket", "starry night sky"."""
    described = [tag for tag in tags if tag != "plain"]
    if key(name) == "sky":
        described.reverse()
    return " ".join([*described, name])


def _noun_phrase(thing: ObjectContext) -> str:
    words = phrase(thing.name, thing.tags[:2])
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
