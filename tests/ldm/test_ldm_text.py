import numpy as np
import pytest

from ldm.config import DenoiserConfig
from ldm.text import WORDS, Vocabulary

WORDS_KNOWN = Vocabulary()


@pytest.mark.parametrize(
    ("prompt", "tags"),
    [
        ("1girl, red jacket, night sky", [("girl",), ("red", "jacket"), ("night", "sky")]),
        ("a crimson coat and blue jeans", [("red", "jacket"), ("blue", "trousers")]),
        ("red jacket blue skirt", [("red", "jacket"), ("blue", "skirt")]),
        ("(Red:1.3) STRIPED hat", [("red", "striped", "hat")]),
        ("dusk sky\nteal river", [("sunset", "sky"), ("teal", "water")]),
        ("2girls, full body", [("two", "girl"), ("full", "body")]),
        ("red hat, red hat", [("red", "hat")]),
        ("ｒｅｄ　hat", [("red", "hat")]),
        ("", []),
        (" , ,, ", []),
    ],
)
def test_prompts_become_tags(prompt: str, tags: list[tuple[str, ...]]) -> None:
    parsed = WORDS_KNOWN.parse(prompt)
    assert list(parsed.tags) == tags
    assert parsed.ignored == ()


def test_what_is_not_understood_is_said_once_as_spelled() -> None:
    parsed = WORDS_KNOWN.parse("Dragon, red hat of a DRAGON, 東京, город ночью, sparkling eyes, قبعة حمراء")
    assert ("red", "hat") in parsed.tags
    assert parsed.ignored == ("Dragon", "東京", "город", "ночью", "sparkling", "eyes", "قبعة", "حمراء")


@pytest.mark.parametrize(
    "prompt",
    [
        "x" * 4000,
        "red hat, " * 444,
        ",".join(f"word{n}" for n in range(600))[:4000],
        "\x00\x07\x1b[31mred\x1b[0m hat\u202e\u200b\ufeff",
        "@everyone <@123> **red** ||hat|| `code` https://example.org/?a=b",
        "🟥🎩" * 1000,
        "((((((((((" * 400,
        "\ud800 red",
    ],
)
def test_no_text_does_harm(prompt: str) -> None:
    parsed = WORDS_KNOWN.parse(prompt)
    tokens = WORDS_KNOWN.tokens(parsed.tags, DenoiserConfig())
    assert tokens.shape == (24, 6)
    assert tokens.min() >= 0
    assert tokens.max() <= len(WORDS)


def test_tokens_number_words_and_cut_what_does_not_fit() -> None:
    config = DenoiserConfig(tokens=2, words=2)
    tags = WORDS_KNOWN.parse("red striped hat, blue bag, green shoes").tags
    tokens = WORDS_KNOWN.tokens(tags, config)
    number = {word: index + 1 for index, word in enumerate(WORDS)}
    assert np.array_equal(tokens, [[number["red"], number["striped"]], [number["blue"], number["bag"]]])


def test_aliases_lead_to_known_words_and_hide_none() -> None:
    assert all(word in WORDS for meant in WORDS_KNOWN.aliases.values() for word in meant)
    assert not set(WORDS_KNOWN.aliases) & set(WORDS)
    assert Vocabulary(["red"], {"crimson": ["red"], "coat": ["jacket"]}).aliases == {"crimson": ("red",)}
