"""Prompts as tags, tags as known words: one token a tag, and an honest list of what was not understood."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import DenoiserConfig

WORDS: tuple[str, ...] = (
    "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "white", "grey", "black",
    "plain", "striped", "dotted", "plaid", "floral",
    "skirt", "shirt", "hat", "bag", "shoes", "car", "building", "shop", "jacket", "dress", "water", "sky",
    "light", "shelf", "house", "window", "trousers", "hair", "sun", "moon",
    "morning", "day", "sunset", "night", "clear", "cloudy", "starry", "calm", "rippled",
    "girl", "boy", "two", "no", "people", "full", "upper", "body", "city", "background", "walking",
    "standing",
)  # fmt: skip

# Words that stand for a thing: a tag with two of them is cut after the first.
_THINGS = frozenset(WORDS[WORDS.index("skirt") : WORDS.index("hair") + 1])

_ALIASES = {
    "red": "crimson scarlet ruby cherry vermilion maroon burgundy wine rot rouge rojo",
    "orange": "tangerine apricot peach amber coral rust",
    "yellow": "gold golden lemon mustard sunny straw blonde blond gelb",
    "green": "emerald lime olive mint sage jade forest gruen",
    "teal": "turquoise cyan aqua aquamarine petrol",
    "blue": "navy azure sapphire cobalt indigo denim ultramarine cerulean blau",
    "purple": "violet lavender lilac mauve plum magenta amethyst",
    "pink": "rose rosy fuchsia salmon blush",
    "brown": "chocolate tan beige chestnut coffee caramel khaki leather wooden wood bronze brunette sepia",
    "white": "ivory cream snowy pearl silver",
    "grey": "gray ash slate charcoal stone concrete metal metallic steel",
    "black": "ebony jet onyx noir schwarz",
    "plain": "solid simple unicolor smooth",
    "striped": "stripes stripe stripy pinstripe pinstriped",
    "dotted": "dots dot polka spotted spots",
    "plaid": "checked checkered chequered tartan gingham check checks",
    "floral": "flowery flower flowers blossom blossoms rosebud",
    "skirt": "skirts miniskirt kilt",
    "shirt": "shirts blouse tshirt tee top sweater pullover jumper hoodie",
    "hat": "hats cap beanie sunhat beret headwear bonnet helmet",
    "bag": "bags handbag purse tote satchel backpack basket",
    "shoes": "shoe boots boot sneakers sneaker sandals heels footwear trainers loafers",
    "car": "cars automobile taxi cab vehicle sedan van truck",
    "building": "buildings tower towers skyscraper skyscrapers highrise architecture",
    "shop": "shops store stores stall market bakery cafe boutique storefront alleyshop alleyshops kiosk",
    "jacket": "jackets coat coats blazer cardigan parka overcoat raincoat cloak",
    "dress": "dresses gown frock robe sundress",
    "water": "river canal puddle lake sea ocean pond stream bodyofwater",
    "sky": "skies heaven heavens",
    "light": "lights lamp lamps lantern lanterns streetlight streetlamp lamppost lightsource neon glow",
    "shelf": "shelves shelfs rack racks bookshelf counter",
    "house": "houses home homes apartment apartments flat flats residence cottage residentialcomplex",
    "window": "windows brightwindow pane",
    "trousers": "pants jeans leggings slacks",
    "hair": "haired hairstyle",
    "sun": "sunny sunlight sunshine",
    "moon": "moonlight moonlit crescent",
    "morning": "dawn sunrise daybreak",
    "day": "daytime noon midday afternoon daylight",
    "sunset": "dusk evening twilight sundown",
    "night": "midnight nighttime nocturnal nightfall",
    "clear": "cloudless bright",
    "cloudy": "cloud clouds overcast",
    "starry": "star stars starlit",
    "calm": "still tranquil",
    "rippled": "ripples rippling waves wavy",
    "girl": "girls woman women lady female she 1girl",
    "boy": "boys man men male guy he 1boy",
    "two": "2 both couple pair",
    "people": "person persons human humans",
    "full": "fullbody",
    "upper": "portrait closeup bust halfbody",
    "city": "town street urban cityscape downtown alley road",
    "background": "backdrop scenery scene",
    "walking": "walk walks strolling stroll running run",
    "standing": "stand stands posing pose",
}

# Words that say something about people, but in more than one of ours.
_PHRASES: Mapping[str, tuple[str, ...]] = {
    "2girls": ("two", "girl"), "2boys": ("two", "boy"), "nobody": ("no", "people"), "empty": ("no", "people"),
    "polkadot": ("dotted",), "brownhair": ("brown", "hair"), "nightsky": ("night", "sky"),
}  # fmt: skip

# Words that end a tag, as a comma does.
_BREAKS = frozenset(
    re.split(" ", "with and in on at by near under over wearing holding carrying behind beside from or")
)
# Grammar: said often, meaning nothing here, so not worth reporting as unknown.
_SILENT = _BREAKS | frozenset(
    re.split(
        " ",
        "a an the of her his their its my your this that some very is are be has have wears s it to for",
    )
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A prompt as the model will read it."""

    tags: tuple[tuple[str, ...], ...]  # known words, tag by tag
    ignored: tuple[str, ...]  # what was said and not understood, as the member spelled it, each once


class Vocabulary:
    """The words a model knows, and what other words are taken for."""

    def __init__(
        self, words: Sequence[str] = WORDS, aliases: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.words = tuple(words)
        self._numbers = {word: index + 1 for index, word in enumerate(self.words)}
        known = default_aliases() if aliases is None else aliases
        self.aliases = {
            name: tuple(meant) for name, meant in known.items() if all(w in self._numbers for w in meant)
        }

    def __len__(self) -> int:
        return len(self.words)

    def lookup(self, word: str) -> tuple[str, ...]:
        """Give the known words that one word stands for; none for an unknown one."""
        folded = unicodedata.normalize("NFKC", word).casefold()
        if folded in self._numbers:
            return (folded,)
        return self.aliases.get(folded, ())

    def parse(self, prompt: str) -> Parsed:
        """Read a prompt: tags parted by commas, full stops, lines, or joining words. Any text is allowed."""
        tags: dict[tuple[str, ...], None] = {}
        ignored: dict[str, str] = {}
        # "(red:1.3)" is how other tools weight a word: the number is no word.
        text = re.sub(r":\s*[\d.]+", " ", unicodedata.normalize("NFKC", prompt))
        for piece in re.split(r"[,;.|\n\r、。]+", text):
            words: list[str] = []
            for raw in re.findall(r"[^\W_]+", piece):
                folded = raw.casefold()
                if folded in _BREAKS:
                    _finish(tags, words)
                    words = []
                found = self.lookup(folded)
                words.extend(found)
                if not found and folded not in _SILENT and not folded.isdigit():
                    ignored.setdefault(folded, raw)
            _finish(tags, words)
        return Parsed(tuple(tags), tuple(ignored.values()))

    def tokens(self, tags: Sequence[Sequence[str]], config: DenoiserConfig) -> NDArray[np.int32]:
        """Number the words: int32 [tags, words], 0 for none; what does not fit is cut off."""
        out = np.zeros((config.tokens, config.words), np.int32)
        for row, tag in zip(out, tags, strict=False):
            numbers = [self._numbers[word] for word in tag if word in self._numbers][: config.words]
            row[: len(numbers)] = numbers
        return out


def default_aliases() -> dict[str, tuple[str, ...]]:
    """Give what other words are taken for, by word."""
    table: dict[str, tuple[str, ...]] = {}
    for word, others in _ALIASES.items():
        for other in others.split():
            table.setdefault(other, (word,))
    return table | dict(_PHRASES)


def _finish(tags: dict[tuple[str, ...], None], words: Sequence[str]) -> None:
    """Store a tag, cut after each thing when it names several: "red jacket blue skirt" is two tags."""
    words = list(dict.fromkeys(words)) if len(set(words) & _THINGS) < 2 else list(words)
    start = 0
    for index, word in enumerate(words):
        later = any(w in _THINGS for w in words[index + 1 :])
        if word in _THINGS and later:
            tags.setdefault(tuple(words[start : index + 1]))
            start = index + 1
    if words[start:]:
        tags.setdefault(tuple(words[start:]))
