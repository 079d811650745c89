"""README's table, .env.example and the code say the same."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from pipeline.settings import Settings, explain

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name.upper() for name in Settings.model_fields]


def shown_default(name: str) -> str:
    """Write a default as one would in `.env`."""
    default = Settings.model_fields[name.lower()].default
    if default is None or default == "" or isinstance(default, SecretStr):
        return ""
    if name == "SEGMENTERS":
        return ",".join(f"{depth}:{path}" for depth, path in default.items())
    if isinstance(default, bool | dict):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_readme_table_lists_every_setting_with_its_default_and_meaning():
    rows = re.findall(
        r"^\| `([A-Z0-9_]+)` \| (?:`(.*?)`)? ?\| (.*?) \|$", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    assert [row[0] for row in rows] == NAMES
    for name, default, meaning in rows:
        assert default == shown_default(name), name
        assert meaning == Settings.model_fields[name.lower()].description, name


def test_env_example_lists_every_setting_with_its_default():
    lines = re.findall(r"^#? ?([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.M)
    assert lines == [(name, shown_default(name)) for name in NAMES]


def test_env_example_is_read_as_the_defaults(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    example = Settings(_env_file=ROOT / ".env.example")  # type: ignore[call-arg]
    assert example == Settings(_env_file=None)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SEGMENTERS", "weights/a.h5", "DEPTH:FILE"),
        ("SEGMENTERS", "1:weights/a.h5", "depth 0"),
        ("CLASS_PARAMS", '{"Sky": {"strenght": 1}}', "strength"),
        ("MAX_OBJECTS", "0", "greater than or equal to 1"),
        ("INSTANCES", "both", "separate"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None)  # type: ignore[call-arg]
    text = explain(caught.value)
    assert text.startswith(f"Setting {name}: ")
    assert words in text


def test_segmenters_are_read_by_depth(monkeypatch):
    monkeypatch.setenv("SEGMENTERS", "0:a.h5, 2:dir/b.h5")
    assert Settings(_env_file=None).segmenters == {0: "a.h5", 2: "dir/b.h5"}  # type: ignore[call-arg]


def test_secrets_are_not_printed(monkeypatch):
    monkeypatch.setenv("DISCORD_TOKEN", "very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    assert "very-secret" not in repr(Settings(_env_file=None))  # type: ignore[call-arg]
