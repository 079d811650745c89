"""What words mean here (colours, patterns, names of objects), and how text of others is made harmless."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from pipeline.domain import MAX_TAGS, Detection


def word_set(words: str) -> frozenset[str]:
    """Make a set of words that are written with spaces between."""
    return frozenset(words.split())


MAX_TAG = 60  # characters
MAX_NAME = 60
MAX_STORY = 1500

# What a template chooses from. `COLOURS` below holds every colour word that is understood.
PALETTE = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")
PATTERN_PALETTE = ("plain", "striped", "dotted", "plaid", "floral")

COLOURS = frozenset(PALETTE) | word_set(
    """
    gray crimson scarlet maroon burgundy ruby cherry coral salmon rose magenta fuchsia violet lavender
    lilac mauve plum indigo navy azure cyan turquoise teal aqua mint lime olive emerald jade khaki
    beige cream ivory tan ochre mustard gold golden amber peach apricot bronze copper rust silver
    silvery charcoal ebony rainbow pastel colourful colorful reddish bluish greenish yellowish
    """
)
SHADES = word_set("dark light bright pale deep vivid soft hot neon")
PATTERNS = frozenset(PATTERN_PALETTE) | word_set(
    """
    stripes stripe stripy stripey pinstriped pinstripe dots dotty spotted spots polka checked
    checkered chequered tartan flowery flowered flowers solid patterned
    """
)
TIMES = word_set(
    """
    dawn sunrise morning day daytime noon midday afternoon sunset dusk twilight evening night
    nighttime midnight
    """
)
WEATHERS = word_set(
    """
    clear cloudy cloudless overcast starry stars stormy rainy snowy foggy misty sunny moonlit
    """
)
OTHER_DESCRIPTORS = word_set(
    """
    leather denim wool woollen woolen silk satin velvet lace linen cotton knitted fur fluffy shiny
    glossy matte metallic wooden brick stone glass glowing neon rusty old new tiny small big large
    long short tall wet frozen calm rippling torn embroidered sequined transparent
    """
)
# Adjectives that may describe one object, as far as they can be told from other words without a model.
DESCRIPTORS = COLOURS | SHADES | PATTERNS | TIMES | WEATHERS | OTHER_DESCRIPTORS
# Words of one kind exclude each other: who asks for green no longer wants red.
KINDS = (COLOURS, PATTERNS, TIMES, WEATHERS)

_SPOKEN = {
    "alleyshop": "alley shop",
    "bodyofwater": "body of water",
    "brightwindow": "bright window",
    "lightsource": "light source",
    "residentialcomplex": "residential complex",
}
_SYNONYMS = {
    "jacket": "coat parka blazer hoodie cardigan raincoat",
    "shirt": "blouse tee tshirt sweater jumper",
    "dress": "gown",
    "skirt": "miniskirt",
    "hat": "cap beret beanie helmet",
    "bag": "handbag purse backpack rucksack satchel",
    "shoe": "boot sneaker sandal heel footwear trainer",
    "car": "vehicle automobile taxi truck van",
    "building": "house tower skyscraper",
    "residentialcomplex": "apartment flat",
    "alleyshop": "shop store stall storefront",
    "bodyofwater": "water river lake sea canal pond ocean puddle",
    "sky": "heaven",
    "lightsource": "light lamp lantern streetlight streetlamp lamppost",
    "shelf": "rack bookshelf",
    "brightwindow": "window",
}

_MENTION = re.compile(
    r"<(?:@[!&]?|#)\d*>|<a?:(?P<emoji>\w+):\d+>|</(?P<command>[^:<>]{1,40}):\d+>|<t:-?\d+(?::\w)?>|<id:\w+>"
    r"|https?://\S+"
)
_PING = str.maketrans("", "", "<>@")
SEPARATORS = r",;\n，、；،؛"
_QUOTES = " \t\"'“”‘’«»`*_#•·|~-–—.,;:!?"
_SENTENCE_WORDS = word_set(
    """
    is are was were has have had will should would stands looks wears and/or
    """
)


def clean(text: str, limit: int) -> str:
    """Make text of a stranger one harmless line: no control or direction marks, no mentions, no links."""
    kept: list[str] = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\u200c\u200d":  # joiners: Persian and emoji need them
            kept.append(character)
        elif character.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category not in ("Cc", "Cf", "Cs", "Co"):
            kept.append(character)
    line = unicodedata.normalize("NFC", "".join(kept))
    line = _MENTION.sub(lambda found: found["emoji"] or found["command"] or "", line)
    # Whatever is left of a mention cannot ping, however its parts are put together.
    return clip(" ".join(line.translate(_PING).split()), limit)


def clip(text: str, limit: int) -> str:
    """Cut text to `limit` characters, at the end of a sentence or a word if one is near."""
    if len(text) <= limit:
        return text
    text = text[:limit]
    for mark in (". ", "! ", "? ", "。"):
        if (end := text.rfind(mark)) > limit // 2:
            return text[: end + 1]
    end = text.rfind(" ")
    return (text[:end] if end > limit // 2 else text).rstrip()


def clean_tag(text: str) -> str:
    """Make one tag harmless; "" if nothing that can be seen is left."""
    tag = re.sub(r"^\s*\d{1,2}[.)]\s+", "", clean(text, 4000))
    tag = clip(tag.strip(_QUOTES), MAX_TAG).strip(_QUOTES)
    # Letters, numbers and symbols (emoji) can be painted; joiners and punctuation alone cannot.
    return tag if any(unicodedata.category(character)[0] in "LNS" for character in tag) else ""


def clean_tags(texts: Iterable[str]) -> tuple[str, ...]:
    """Split at commas, clean, drop doubles whatever their case, keep at most ten."""
    tags: dict[str, str] = {}
    for text in texts:
        for part in re.split(f"[{SEPARATORS}]", text):
            if tag := clean_tag(part):
                tags.setdefault(tag.casefold(), tag)
            if len(tags) == MAX_TAGS:
                return tuple(tags.values())
    return tuple(tags.values())


def is_sentence(tag: str) -> bool:
    """Tell a sentence from a tag."""
    words = tag.casefold().split()
    return (
        len(words) > 6
        or (len(words) > 2 and not _SENTENCE_WORDS.isdisjoint(words))
        or re.search(r"[.!?]\s+\w|[。！？]", tag) is not None
    )


def tokens(text: str) -> list[str]:
    """Split into words in small letters, any script, without the punctuation around them."""
    return [
        word
        for piece in re.split(r"[\s,;:=/]+", text.casefold())
        if (word := piece.strip(_QUOTES + "()[]{}…"))
    ]


def singular(word: str) -> str:
    """Guess the singular of an English noun in small letters."""
    if word.endswith("shelfs"):
        return word[:-1]
    for ending, instead in (
        ("shelves", "shelf"),
        ("sses", "ss"),
        ("shes", "sh"),
        ("ches", "ch"),
        ("xes", "x"),
    ):
        if word.endswith(ending):
            return word[: -len(ending)] + instead
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def spoken(label: str) -> str:
    """Say a class as a person would: "BodyofWater" is a body of water, "Cars" one car."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", clean(label, MAX_NAME)).casefold().split()
    if not words:
        return "object"
    words[-1] = singular(words[-1])
    return _SPOKEN.get("".join(words), " ".join(words))


def spoken_names(detections: Sequence[Detection]) -> list[str]:
    """Name each detection by its class; two of a class that stand apart are left and right."""
    names = [spoken(detection.label) for detection in detections]
    for name in set(names):
        pair = [index for index, other in enumerate(names) if other == name]
        if len(pair) != 2:
            continue
        left, right = sorted(pair, key=lambda index: _centre(detections[index]))
        # Centres within 5 % of the width of the picture stand above each other: no left and right there.
        if _centre(detections[right]) - _centre(detections[left]) > 0.05 * detections[left].mask.shape[1]:
            names[left], names[right] = f"left {name}", f"right {name}"
    return names


def _centre(detection: Detection) -> float:
    return (detection.box.x1 + detection.box.x2) / 2


def key(name: str) -> str:
    """Reduce a name to what must be equal: "Body of Water", "BodyofWater" and "bodies" alike."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name).casefold())
    return "".join([*words[:-1], singular(words[-1])]) if words else ""


@functools.lru_cache(256)
def names_of(name: str) -> tuple[frozenset[str], ...]:
    """List the keys that mean an object of this name, the surest first."""
    words = name.split()
    noun = key(" ".join(words[1:] if words and words[0] in ("left", "right") and len(words) > 1 else words))
    last = key(words[-1]) if words else ""
    return (
        frozenset({key(name)}),
        frozenset({noun}),
        frozenset(_SYNONYMS.get(noun, "").split()) | {last},
    )
