"""Every sentence for members is there in every language, and is said in the reader's."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import discord
import pytest

from bot.translations import (
    FOLDER,
    Catalogue,
    catalogue,
    languages,
    read_in,
    reader,
    split,
    tr,
    translated,
)
from bot.translations.__main__ import main
from bot.translations.sources import bare, sources, strings
from pipeline.errors import InvalidRequest
from playground import Playground
from tests.bot.conftest import House

LANGUAGES = languages()


def known(language: str) -> Catalogue:
    found = catalogue(language)
    assert found is not None
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_in_the_code_has_a_translation(
    language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([language])
    lacking = capsys.readouterr().out.splitlines()
    assert lacking == [], "add these to the catalogue"
    assert len(sources()) > 60  # and they were looked for


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_are_the_same(language: str) -> None:
    for english, other in known(language).said.items():
        ours, theirs = split(english)[1], split(other)[1]
        assert set(theirs) <= set(ours), english
        assert {name for name in set(ours) - set(theirs) if not name.startswith("_")} == set(), english
        assert all(name.isidentifier() for name in ours), english
        if english in known(language).texts:  # what is recognised needs something to be recognised by
            assert len(re.findall(r"[A-Za-z]", "".join(split(english)[0]))) >= 4, english
    assert set(known(language).texts).isdisjoint(known(language).labels)


def test_nothing_is_shown_past_the_translation(tmp_path: Path) -> None:
    assert bare() == []
    code = (
        'Button(label="Press", custom_id="a")\nButton(label=tr("Press"))\nlines.append(f"{count} waiting")\n'
    )
    (tmp_path / "some.py").write_text(code)
    assert bare(tmp_path) == ["some.py:1: Press", "some.py:3: {} waiting"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_translated_that_is_not_said(language: str) -> None:
    said = strings()
    for english in known(language).said:
        for words in split(english)[0]:
            assert words.strip() in said, f"{english!r} is in no string of the code any more"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_is_made_of_what_is_known_and_nothing_is_empty(language: str) -> None:
    content = tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8"))
    assert set(content) <= {"names", "texts", "words", "labels"}
    assert all(value.strip() for table in content.values() for value in table.values())
    assert language in {locale.value for locale in discord.Locale}
    for english, other in known(language).said.items():
        # White space around a sentence is what joins it to others.
        assert (english[:1] == " ", english[-1:] == " ") == (other[:1] == " ", other[-1:] == " "), english


def test_what_is_lacking_is_listed_as_lines_for_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xx"]) == 2
    assert "xx.toml is not there" in capsys.readouterr().err


async def test_every_command_option_and_choice_is_registered_in_every_language(house: House) -> None:
    def walk(entries: list[dict], path: str = "") -> list[str]:
        lacking: list[str] = []
        for entry in entries:
            here = f"{path}/{entry['name']}"
            for language in LANGUAGES:
                name = (entry.get("name_localizations") or {}).get(language)
                text = (entry.get("description_localizations") or {}).get(language)
                if not name:
                    lacking.append(f"[names] {entry['name']} = ({language}, {here})")
                elif entry.get("description"):  # all but context menus, whose names may have spaces
                    assert re.fullmatch(r"[-_\w]{1,32}", name), here
                    assert name == name.lower(), here
                if entry.get("description") and not text:
                    lacking.append(f"[texts] {entry['description']} = ({language}, {here})")
                assert len(text or "") <= 100, here
            lacking += walk(entry.get("options") or [], here)
            for choice in entry.get("choices") or []:
                if not set(LANGUAGES) <= set(choice.get("name_localizations") or {}):
                    lacking.append(f"[names] {choice['name']} = ({here})")
        return lacking

    commands = list(house.discord.world.application.commands[None].values())
    assert {"imagine", "status"} <= {command["name"] for command in commands}
    assert walk(commands) == []


async def test_a_new_catalogue_registers_the_commands_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def registered() -> str:
        commands = house.discord.world.application.commands[None].values()
        return next(c for c in commands if c["name"] == "imagine")["name_localizations"]["ko"]

    assert registered() == "그리기"
    await house.stop()
    monkeypatch.setitem(known("ko").names, "imagine", "그려줘")  # type: ignore[arg-type]
    await house.start()
    assert registered() == "그려줘"


def test_a_finished_sentence_is_recognised() -> None:
    with read_in("ko"):
        assert translated("The depth must be from 0 to 8.") == "깊이는 0부터 8까지 지정할 수 있습니다."
        assert tr("Recursion {depth}", depth=3) == "재귀 3"
        # Lists of known words, and sentences in sentences.
        assert "제게 없는 권한: 채널 보기, 링크 첨부." in translated(
            "I cannot show pictures here: I lack View Channel, Embed Links. "
            "Someone who manages this channel can give me that; then ask again."
        )
        assert translated(
            "Finding objects failed: "
            "The work lost its worker process twice and was given up; try again later."
        ).endswith("(작업 프로세스가 종료됨, 두 번 시도함). 나중에 다시 시도해 주세요.")
        # What is not known stays; so do a member's own words.
        assert translated("A hat.") == "A hat."
        assert tr("{name}: not working at the moment", name="{depth}").startswith("{depth}: ")
    assert translated("The depth must be from 0 to 8.") == "The depth must be from 0 to 8."
    with read_in("xx"):
        assert tr("Recursion {depth}", depth=3) == "Recursion 3"


def test_the_more_telling_sentence_is_meant() -> None:
    made = Catalogue(
        texts={"{a} is {b}.": "1 {a} {b}", "{a} is not {b}.": "2 {a} {b}", "Braces {{}} {a}": "{{}} {a}"}
    )
    assert made.translate("This is not that.") == "2 This that"
    assert made.translate("This is that.") == "1 This that"
    assert made.translate("Braces {} here") == "{} here"
    assert made.translate("This is that") is None
    assert made.translate("x" * 100_000 + " is not" * 1_000) is None


async def test_tasks_and_threads_speak_as_who_started_them() -> None:
    with read_in("ko"):
        task = asyncio.create_task(asyncio.to_thread(tr, "First picture"))
    assert await task == "첫 그림"
    assert reader() == "en-US"


async def test_an_error_is_said_in_the_language_of_who_asked(house: House, discord: Playground) -> None:
    ada, bob = discord.member("ada"), discord.member("bob")
    discord.world.users[ada.id].locale = "ko"
    with pytest.MonkeyPatch.context() as patch:

        async def refuse(*_: object, **__: object) -> None:
            raise InvalidRequest("The depth must be from 0 to 8.")

        patch.setattr(house.pipeline, "imagine", refuse)
        asked = await ada.slash(discord.general, "imagine", prompt="a hat")
        other = await bob.slash(discord.general, "imagine", prompt="a hat")
    assert asked.messages[-1].content == "깊이는 0부터 8까지 지정할 수 있습니다."
    assert other.messages[-1].content == "The depth must be from 0 to 8."
