"""Names of what a scene can hold: classes, colours, patterns, and which class takes which."""

from collections.abc import Mapping
from types import MappingProxyType

Rgb = tuple[int, int, int]

CLASSES: tuple[str, ...] = (
    "Skirt",
    "Shirt",
    "Hat",
    "Bag",
    "Shoe",
    "Cars",
    "Buildings",
    "Alleyshops",
    "Jacket",
    "Dress",
    "BodyofWater",
    "Sky",
    "Lightsource",
    "Shelfs",
    "Residentialcomplex",
    "Brightwindow",
)

# The word a prompt uses for a class.
NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "Skirt": "skirt",
        "Shirt": "shirt",
        "Hat": "hat",
        "Bag": "bag",
        "Shoe": "shoes",
        "Cars": "car",
        "Buildings": "building",
        "Alleyshops": "shop",
        "Jacket": "jacket",
        "Dress": "dress",
        "BodyofWater": "water",
        "Sky": "sky",
        "Lightsource": "light",
        "Shelfs": "shelf",
        "Residentialcomplex": "house",
        "Brightwindow": "window",
    }
)

COLOURS: Mapping[str, Rgb] = MappingProxyType(
    {
        "red": (222, 84, 86),
        "orange": (242, 154, 84),
        "yellow": (247, 216, 110),
        "green": (122, 188, 116),
        "teal": (78, 180, 180),
        "blue": (92, 136, 218),
        "purple": (154, 114, 206),
        "pink": (246, 160, 194),
        "brown": (150, 106, 80),
        "white": (246, 244, 240),
        "grey": (156, 160, 168),
        "black": (62, 60, 74),
    }
)

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "plaid", "floral")

# Top, middle and horizon colour of the sky at each time of day.
TIMES: Mapping[str, tuple[Rgb, Rgb, Rgb]] = MappingProxyType(
    {
        "morning": ((158, 200, 236), (214, 226, 236), (255, 228, 196)),
        "day": ((112, 178, 238), (150, 204, 244), (206, 232, 246)),
        "sunset": ((142, 116, 190), (238, 148, 158), (254, 196, 130)),
        "night": ((34, 38, 88), (52, 56, 116), (96, 92, 156)),
    }
)
WEATHERS: tuple[str, ...] = ("clear", "cloudy", "starry")  # stars come out at night only
GLOWS: tuple[str, ...] = ("yellow", "orange", "white", "pink", "blue", "green", "red", "purple")
WATERS: tuple[str, ...] = ("calm", "rippled")
SKY_COLOURS: tuple[str, ...] = ("pink", "purple", "orange", "green", "yellow", "red", "teal", "grey")

_PATTERNED = (
    "Skirt",
    "Shirt",
    "Hat",
    "Bag",
    "Shoe",
    "Cars",
    "Buildings",
    "Alleyshops",
    "Jacket",
    "Dress",
    "Shelfs",
    "Residentialcomplex",
)


def looks(label: str) -> list[tuple[str, ...]]:
    """List every look of a class, as the tags that come before its noun."""
    if label in _PATTERNED:
        return [(colour, pattern) for colour in COLOURS for pattern in PATTERNS]
    if label == "BodyofWater":
        return [(colour, water) for colour in COLOURS for water in WATERS]
    if label in ("Lightsource", "Brightwindow"):
        return [(colour,) for colour in GLOWS]
    if label == "Sky":
        plain = [(colour, weather) for colour in SKY_COLOURS for weather in ("clear", "cloudy")]
        return plain + [
            (time, weather)
            for time in TIMES
            for weather in WEATHERS
            if weather != "starry" or time == "night"
        ]
    raise KeyError(label)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Blend two colours; `share` is how much of the second."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def accent(colour: Rgb) -> Rgb:
    """Give the second colour of a pattern: lighter on dark and middling colours, darker on light ones."""
    luminance = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
    if luminance > 168:
        return mix(colour, (128, 84, 116), 0.45)
    return mix(colour, (255, 252, 244), 0.62)
