"""What a scene holds, as frozen values: drawn from a seed, or asked for by the caller."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from .palette import COLOURS, GLOWS, PATTERNS, SKY_COLOURS, TIMES, WATERS

Rng = np.random.Generator
HAIR_COLOURS = ("brown", "black", "yellow", "pink", "blue", "white", "red", "purple")


@dataclass(frozen=True, slots=True)
class Look:
    """Colour and pattern of one thing."""

    colour: str
    pattern: str = "plain"

    @property
    def tags(self) -> tuple[str, ...]:
        return (self.colour, self.pattern)


@dataclass(frozen=True, slots=True)
class Person:
    """A figure: `x` centre and `foot` in scene heights, `height` from sole to crown in scene heights."""

    x: float
    foot: float
    height: float
    kind: str  # girl or boy
    pose: str  # walking or standing
    facing: int  # -1 left, 1 right: which hand holds the bag, where the eyes look
    skin: int
    hair: str
    hair_style: str  # long, short, bob, ponytail
    top: str  # shirt, jacket or dress
    shirt: Look
    jacket: Look
    dress: Look
    bottom: str  # skirt or trousers; unused with a dress
    skirt: Look
    trousers: str
    shoes: Look
    hat: Look | None
    hat_style: str  # cap, beanie, sunhat
    bag: Look | None


@dataclass(frozen=True, slots=True)
class Block:
    """One building, house or shop: left edge and size in scene heights."""

    kind: str  # Buildings, Residentialcomplex or Alleyshops
    x: float
    width: float
    height: float
    look: Look
    roof: int
    columns: int
    rows: int
    lit: tuple[int, ...]  # windows that shine, by number in reading order
    shelf: Look | None  # shops only


@dataclass(frozen=True, slots=True)
class Car:
    x: float
    y: float  # where the wheels stand
    length: float
    facing: int
    style: int
    look: Look


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """Everything that is in a scene. All lengths are in scene heights; x runs from 0 to `aspect`."""

    aspect: float
    detail_seed: int  # clouds, stars and goods: what no tag names
    time: str
    weather: str
    sky_colour: str | None  # overrides the time's own colours
    celestial: tuple[float, float] | None  # sun or moon (x, y)
    horizon: float
    ground: str  # road, canal or puddle
    water: Look
    glow: str
    lamp_x: float | None
    blocks: tuple[Block, ...]
    cars: tuple[Car, ...]
    people: tuple[Person, ...]

    @classmethod
    def from_seed(cls, seed: int, aspect: float = 1.0) -> Self:
        """Draw a scene's contents from a seed; the same seed and aspect give the same contents."""
        rng = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFFFFFF, 20]))
        horizon = rng.uniform(0.60, 0.68)
        time = _pick(rng, tuple(TIMES))
        if time == "night":
            weather = _pick(rng, ("clear", "starry", "starry", "cloudy"))
        else:
            weather = _pick(rng, ("clear", "cloudy"))
        sky_colour = _pick(rng, SKY_COLOURS) if rng.random() < 0.16 else None
        if sky_colour and weather == "starry":
            weather = "clear"
        ground = _pick(rng, ("road", "road", "canal", "puddle"))
        people = _people(rng, aspect)
        return cls(
            aspect=aspect,
            detail_seed=int(rng.integers(1 << 31)),
            time=time,
            weather=weather,
            sky_colour=sky_colour,
            celestial=(rng.uniform(0.1, 0.9) * aspect, rng.uniform(0.08, 0.2))
            if rng.random() < 0.6
            else None,
            horizon=horizon,
            ground=ground,
            water=Look(_pick(rng, ("blue", "teal", *COLOURS)), _pick(rng, WATERS)),
            glow=_pick(rng, ("yellow", "yellow", *GLOWS)),
            lamp_x=rng.uniform(0.06, 0.94) * aspect if rng.random() < 0.55 else None,
            blocks=_blocks(rng, aspect, horizon, time),
            cars=_cars(rng, aspect, horizon, ground),
            people=people,
        )

    def with_look(self, label: str, tags: Sequence[str]) -> Self:
        """Dress every thing of a class in the look whose tags are given, as `palette.looks` lists them."""
        if label == "Sky":
            first, weather = tags
            if first in TIMES:
                return replace(self, time=first, weather=weather, sky_colour=None)
            return replace(self, sky_colour=first, weather=weather)
        if label in ("Lightsource", "Brightwindow"):
            return replace(self, glow=tags[0])
        look = Look(tags[0], tags[1])
        if label == "BodyofWater":
            return replace(self, water=look)
        if label == "Cars":
            return replace(self, cars=tuple(replace(car, look=look) for car in self.cars))
        if label == "Shelfs":
            return replace(
                self, blocks=tuple(replace(b, shelf=look if b.shelf else None) for b in self.blocks)
            )
        if label in ("Buildings", "Alleyshops", "Residentialcomplex"):
            return replace(
                self, blocks=tuple(replace(b, look=look) if b.kind == label else b for b in self.blocks)
            )
        return replace(self, people=tuple(_dressed(person, label, look) for person in self.people))


def _dressed(person: Person, label: str, look: Look) -> Person:
    match label:
        case "Shirt":
            return replace(person, shirt=look)
        case "Jacket":
            return replace(person, jacket=look)
        case "Dress":
            return replace(person, dress=look)
        case "Skirt":
            return replace(person, skirt=look)
        case "Shoe":
            return replace(person, shoes=look)
        case "Hat":
            return replace(person, hat=look if person.hat else None)
        case "Bag":
            return replace(person, bag=look if person.bag else None)
        case _:
            raise KeyError(label)


def _pick(rng: Rng, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _look(rng: Rng) -> Look:
    pattern = "plain" if rng.random() < 0.4 else _pick(rng, PATTERNS[1:])
    return Look(_pick(rng, tuple(COLOURS)), pattern)


def _people(rng: Rng, aspect: float) -> tuple[Person, ...]:
    chance = rng.random()
    two = 0.14 if aspect < 1.4 else 0.3
    count = 2 if chance < two else 0 if chance > 0.95 else 1
    close = count == 1 and rng.random() < 0.1  # upper body only
    people: list[Person] = []
    for index in range(count):
        if count == 1:
            x = aspect / 2 + rng.normal(0, 0.09 * aspect)
        else:
            x = aspect * (0.3 + 0.4 * index) + rng.normal(0, 0.03 * aspect)
        height = rng.uniform(1.25, 1.45) if close else rng.uniform(0.66, 0.80) - 0.06 * (count - 1)
        foot = 1.5 if close else rng.uniform(0.92, 0.965)
        people.append(_person(rng, float(np.clip(x, 0.2, aspect - 0.2)), foot, height))
    return tuple(people)


def _person(rng: Rng, x: float, foot: float, height: float) -> Person:
    kind = "girl" if rng.random() < 0.75 else "boy"
    top = _pick(rng, ("shirt", "jacket", "dress", "jacket") if kind == "girl" else ("shirt", "jacket"))
    styles = ("long", "long", "bob", "ponytail") if kind == "girl" else ("short",)
    return Person(
        x=x,
        foot=foot,
        height=height,
        kind=kind,
        pose=_pick(rng, ("walking", "standing")),
        facing=1 if rng.random() < 0.5 else -1,
        skin=int(rng.integers(4)),
        hair=_pick(rng, HAIR_COLOURS),
        hair_style=_pick(rng, styles),
        top=top,
        shirt=_look(rng),
        jacket=_look(rng),
        dress=_look(rng),
        bottom="skirt" if kind == "girl" and rng.random() < 0.8 else "trousers",
        skirt=_look(rng),
        trousers=_pick(rng, ("blue", "grey", "black", "brown")),
        shoes=_look(rng),
        hat=_look(rng) if rng.random() < 0.6 else None,
        hat_style=_pick(rng, ("cap", "beanie", "sunhat")),
        bag=_look(rng) if rng.random() < 0.65 else None,
    )


def _blocks(rng: Rng, aspect: float, horizon: float, time: str) -> tuple[Block, ...]:
    blocks: list[Block] = []
    x = rng.uniform(-0.12, 0.04)
    while x < aspect - 0.08:
        kind = _pick(rng, ("Buildings", "Buildings", "Residentialcomplex", "Alleyshops"))
        look, roof = _look(rng), int(rng.integers(3))
        shelf = None
        if kind == "Buildings":
            columns = int(rng.integers(2, 4))
            width, height = rng.uniform(0.09, 0.11) * columns, rng.uniform(0.32, 0.56)
            rows = max(3, round(height / 0.115))
        elif kind == "Residentialcomplex":
            columns, rows = int(rng.integers(2, 4)), 2
            width, height = rng.uniform(0.11, 0.13) * columns, rng.uniform(0.26, 0.34)
        else:
            columns, rows = 0, 0
            width, height = rng.uniform(0.32, 0.42), rng.uniform(0.27, 0.33)
            shelf = _look(rng)
        windows = columns * rows
        lit_count = int(rng.integers(1, 5)) if time == "night" else int(rng.integers(0, 2))
        lit = sorted(int(i) for i in rng.permutation(windows)[: min(lit_count, windows)])
        height = min(height, horizon - 0.03)
        blocks.append(Block(kind, x, width, height, look, roof, columns, rows, tuple(lit), shelf))
        x += width + (rng.uniform(0.02, 0.18) if rng.random() < 0.5 else 0.005)
    return tuple(blocks)


def _cars(rng: Rng, aspect: float, horizon: float, ground: str) -> tuple[Car, ...]:
    if ground == "canal":
        return ()
    count = int(rng.choice([0, 1, 2], p=[0.25, 0.55, 0.2]))
    if aspect >= 1.4 and count:
        count = int(rng.integers(1, 3))
    cars: list[Car] = []
    for index in range(count):
        length = rng.uniform(0.36, 0.46)
        slot = aspect / count
        x = slot * index + rng.uniform(-0.1, max(slot - length + 0.1, 0.0))
        y = horizon + rng.uniform(0.14, 0.19)
        facing = 1 if rng.random() < 0.5 else -1
        cars.append(Car(x, y, length, facing, int(rng.integers(2)), _look(rng)))
    return tuple(cars)
