"""A session speaks the language that it was begun in; answers to buttons speak that of who presses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.domain import StepState
from pipeline.errors import GeneratorError
from playground import Channel, Message, SentInteraction
from playground.validate import walk
from tests.bot.conftest import House, MakeHouse
from tests.bot.test_actions import choose, picture, press, restart, told
from tests.bot.test_queue import hang, waiting_message
from tests.bot.test_session import AGAIN, begin, said_to, shown_is_what_is_stored
from tests.fakes import PaintingGenerator, Pause

# Members' and models' own words, names of things, addresses, times and mentions stay as they are.
OWN = re.compile(
    r"⁨[^⁩]*⁩|https?://\S+?(?=[\s)]|$)|<[@#t&][^>]*>|`[^`]*`|/[a-z]+|a red jacket"
    r"|\b(jacket|bag|hat|pastel|soft light)\b|WebP|PNG|DM|[KM]iB|Discord|DPM|Euler",
    re.DOTALL | re.IGNORECASE,
)


def words(message: Message) -> Iterator[str]:
    """Yield all that a message says but its footers, which the bot reads itself."""
    yield message.content
    for embed in message.embeds:
        yield embed.get("title", "")
        yield embed.get("description", "")
        for field in embed.get("fields", []):
            yield field["name"]
            yield field["value"]
    for file in message.attachments:
        yield file.description or ""
    yield from labels(message)


def labels(message: Message) -> list[str]:
    """Return what stands on a message's buttons and menus."""
    found: list[str] = []
    for item in walk(message.components):
        found += [item.get("label", ""), item.get("placeholder", "")]
        for option in item.get("options", []):
            found += [option["label"], option.get("description", "")]
    return [text for text in found if text]


def english(message: Message) -> list[str]:
    """List what a message says in English."""
    return [text for text in words(message) if re.search(r"[A-Za-z]{2}", OWN.sub("", text))]


def all_messages(house: House) -> list[Message]:
    places = [house.discord.general, *house.discord.threads()]
    return [
        m for place in places for m in house.discord.messages(place) if m.author.bot and m.visible_to is None
    ]


async def korean_house(make_house: MakeHouse, **changes: object) -> House:
    """Start a bot in a server that has chosen Korean."""
    house = make_house(**changes)
    house.discord.guild.locale = "ko"
    house.discord.guild.features = ["COMMUNITY"]
    await house.start()
    return house


async def test_in_a_korean_server_all_that_a_session_shows_is_korean(make_house: MakeHouse) -> None:
    house = await korean_house(make_house)
    ada, bob = house.discord.member("ada"), house.discord.member("bob")
    house.generator.notes = ("The server used the sampler Euler instead of DPM.",)
    painting = hang(house)
    await begin(house, depth=1, negative="fog")
    await painting.reached.wait()
    thread: Channel = await house.thread()
    seen = [await house.shown(thread, "step 1 · progress 1")]
    assert seen[0].embeds[0]["title"] == "첫 그림"
    assert labels(seen[0]) == ["취소"]
    # Another one waits behind it, and is told so.
    await bob.slash(house.discord.general, "imagine", prompt="a red jacket", depth=0)
    waits = await waiting_message(house, "step 3 · progress 1", "대기 중")
    assert waits.embeds[0]["description"].startswith("다음 차례입니다.\n언제 시작할지는")
    assert english(waits) == english(seen[0]) == []
    painting.go_on.set()
    await house.delivered(1, 2, 3)
    first, second = await picture_in(house, thread, 1), await picture_in(house, thread, 2)
    assert labels(first)[:5] == ["더 깊이", "바꾸기", "다시", "되돌리기", "살펴보기"]
    assert second.embeds[0]["title"] == "재귀 1"

    # A tweak by a reply, another try, a branch, undo with something being painted, a failure.
    await ada.send(thread, "2: yellow", reply_to=second)
    await house.delivered(4)
    await press(bob, first, "again")
    await house.delivered(5)
    await choose(bob, first, "more", "branch")
    await press(bob, first, "deeper")
    await house.delivered(6)
    sent = await told(house, await choose(bob, second, "more", "keep"))
    await choose(bob, sent, "keep", "1")
    painting = hang(house)
    await press(bob, second, "deeper")
    await painting.reached.wait()
    await press(bob, second, "undo")
    await house.delivered(7)
    house.generator.turns.add(GeneratorError("The picture is broken.", retryable=False))
    await press(ada, second, "deeper")
    await house.delivered(8)

    own = {"The picture is broken."}  # an error that no catalogue has
    left = {text for m in all_messages(house) for text in english(m)}
    assert {
        line for text in left for line in text.splitlines() if line not in own and english_line(line)
    } == (set())
    told_of = "\n".join(text for m in all_messages(house) for text in words(m))
    for said in (
        "제외",
        "서버가 샘플러 DPM 대신 Euler",
        "확신도",
        "-# 글: ⁨멤버⁩",
        "갈라져 나온 그림: [첫 그림](https://",
        "같은 그림을 다른 시드로 다시",
        "님이 이 그림에서 이어 그립니다.",
        "님이 이 그림으로 되돌아왔습니다.",
        "님이 되돌렸습니다.",
        "재귀 2: 취소됨",
        "재귀 2: 완성하지 못함",
        f"{AGAIN} 반응: 여기서 재귀 한 단계 더",
    ):
        assert said in told_of, said
    assert "step 2 · notes 1 of 1" in house.footers(thread)
    await shown_is_what_is_stored(house)
    assert house.discord.violations == []


def english_line(line: str) -> bool:
    return re.search(r"[A-Za-z]{2}", OWN.sub("", line)) is not None


async def picture_in(house: House, thread: Channel, step_id: int) -> Message:
    return await house.shown(thread, f"step {step_id} · picture")


async def test_a_button_answers_in_the_language_of_who_presses(make_house: MakeHouse) -> None:
    house = await korean_house(make_house)
    ada, kim = house.discord.member("ada"), house.discord.member("kim")
    house.discord.world.users[kim.id].locale = "ko"
    await begin(house, depth=1)
    first = await picture(house, 1)
    second = await picture(house, 2)

    async def answer(sent: SentInteraction) -> Message:
        return await told(house, sent)

    for actor, title, which, form, looked in (
        (ada, "Recursion 2 is in the queue.", "Which object?", "What it should become", "Outlines"),
        (kim, "재귀 2: 대기열에 추가했습니다.", "어떤 사물인가요?", "바꿀 모습", "윤곽선"),
    ):
        assert (await answer(await press(actor, second, "deeper"))).content == title
        offered = await answer(await press(actor, second, "tweak"))
        assert labels(offered)[0] == which
        opened = await choose(actor, offered, "tweak", "2")
        assert opened.modal is not None
        assert opened.modal["components"][0]["label"] == form
        looking = await answer(await press(actor, second, "look"))
        assert labels(looking)[0] == looked
        # What all see is sent anew with the menu: it stays in the session's language.
        sent = await choose(actor, second, "more", "delete")
        assert labels(second)[:2] == ["더 깊이", "바꾸기"]
        sure = await answer(sent)
        assert sure.content.startswith("Delete [Recursion 1]" if actor is ada else "그림을 요청한 분이나")
        assert labels(sure) == (["Delete"] if actor is ada else [])
        refused = await answer(await choose(actor, first, "more", "film"))
        assert ("animation" in refused.content) is (actor is ada)
        assert english(offered) + english(looking) + english(refused) == [] or actor is ada
    bye = await answer(await choose(kim, second, "more", "dm"))
    assert bye.content == "사본을 보내 드렸습니다."
    assert english(house.discord.messages(kim.dm())[-1]) == []


async def test_the_cancel_button_answers_in_the_language_of_who_presses(make_house: MakeHouse) -> None:
    house = await korean_house(make_house)
    ada, kim = house.discord.member("ada"), house.discord.member("kim")
    house.discord.world.users[kim.id].locale = "ko"
    painting = hang(house)
    await begin(house)
    await painting.reached.wait()
    progress = await house.shown(await house.thread(), "step 1 · progress 1")
    refused = await kim.click(progress, "cancel:1")
    assert refused.messages[0].content == "그림을 요청한 분이나 관리자만 취소할 수 있습니다."
    assert (await ada.click(progress, "cancel:1")).messages[0].content == "Cancelled: 1 picture."
    said = await house.shown(await house.thread(), "step 1 · error 1")
    assert f"<@{ada.id}> 님이 취소했습니다." in said.embeds[0]["description"]
    assert english(said) == []


async def test_after_a_restart_a_session_goes_on_in_its_language_and_nothing_is_doubled(
    make_house: MakeHouse,
) -> None:
    house = await korean_house(make_house)
    # The bot dies when Discord has the picture, before it knows of it.
    gate = house.discord.faults.hold("POST", r"/channels/\d+/messages$", after=True)
    await begin(house, depth=1)
    await gate.reached.wait()
    gate.drop()
    await house.stop()
    house.discord.faults.clear()
    await house.start()
    await house.delivered(1, 2)
    thread = await house.thread()
    assert [mark.split(" · depth")[0] for mark in house.footers(thread)] == [
        "step 1 · picture",
        "step 2 · picture",
        "step 2 · notes 1 of 1",
    ]
    await restart(house)
    await press(house.discord.member("ada"), await picture(house, 2), "deeper")
    third = await picture(house, 3)
    assert third.embeds[0]["title"] == "재귀 2"
    assert [text for m in all_messages(house) for text in english(m)] == []
    await shown_is_what_is_stored(house)


async def test_replies_and_reactions_are_answered_in_the_sessions_language(make_house: MakeHouse) -> None:
    house = await korean_house(make_house, settings={"iterate_by": "requester"})
    await begin(house)
    first, thread = await picture(house, 1), await house.thread()
    bob = house.discord.member("bob")
    reply = await bob.send(thread, "1: blue", reply_to=first)
    assert (await said_to(house, reply)).content == "여기서는 그림을 요청한 분만 그림을 바꿀 수 있습니다."
    await bob.react(first, AGAIN)
    said = await said_to(house, first)
    assert said.content.startswith("여기서는 그림을 요청한 분이나 권한이 있는 역할을")


async def test_where_no_language_was_chosen_a_session_speaks_that_of_who_asked(house: House) -> None:
    kim = house.discord.member("kim")
    house.discord.world.users[kim.id].locale = "ko"
    await kim.slash(house.discord.general, "imagine", prompt="a red jacket", depth=0)
    await begin(house)
    await house.delivered(1, 2)
    await kim.slash(kim.dm(), "imagine", prompt="a red jacket", depth=0)
    await house.delivered(3)
    locales = [(await house.store.session(number)).meta["locale"] for number in (1, 2, 3)]
    assert locales == ["ko", "en-US", "ko"]
    korean, other = [int((await house.store.session(number)).place) for number in (1, 2)]
    assert house.discord.messages(korean)[0].embeds[0]["title"] == "첫 그림"
    assert house.discord.messages(other)[0].embeds[0]["title"] == "First picture"
    assert labels(house.discord.messages(kim.dm())[-1])[0] == "더 깊이"


async def test_the_queue_sessions_and_what_is_deleted_are_told_in_korean(house: House) -> None:
    kim = house.discord.member("kim")
    house.discord.world.users[kim.id].locale = "ko"
    await kim.slash(house.discord.general, "imagine", prompt="a red jacket", depth=1)
    second, thread = await picture(house, 2), await house.thread()
    painting = Pause()
    house.generator.turns.add(painting)
    await press(kim, second, "deeper")
    await painting.reached()
    answers = [
        (await kim.slash(thread, "queue")).messages[-1],
        await told(house, await kim.slash(thread, "session show")),
        (await kim.slash(thread, "session list")).messages[-1],
        await told(house, await kim.slash(thread, "session export")),
        (await kim.slash(thread, "privacy show")).messages[-1],
        (await kim.slash(thread, "settings show")).messages[-1],
        (await kim.slash(thread, "settings set", name="depth", value="1")).messages[-1],
        (await kim.slash(thread, "settings reset", name="depth")).messages[-1],
        (await kim.slash(thread, "privacy delete")).messages[-1],
        (await kim.slash(house.discord.general, "session delete", session="1")).messages[-1],
    ]
    assert {
        text for m in answers for line in words(m) for text in line.splitlines() if english_line(text)
    } <= {
        # The names of what can be set to what are typed as they are.
        "-# 클릭하기 전까지 그림을 가릴지 여부: on 또는 off",
        "-# 이어서 그릴 수 있는 사람: everyone(모두), requester(요청한 사람) 또는 역할",
        "-# 성인용 단어를 쓸 수 있는 곳: age-restricted(연령 제한 채널) 또는 never(없음)",
    }
    painting.go_on()
    await house.delivered(3)
    asked = answers[-1]
    assert labels(asked) == ["삭제하기", "그대로 두기"]
    await kim.click(asked, f"session:delete:{1}")
    await house.discord.wait_for(lambda: "세션을 삭제했습니다(그림 3장)." in asked.content)


async def test_a_label_is_not_taken_for_a_sentence(make_house: MakeHouse) -> None:
    house = await korean_house(make_house, generator=PaintingGenerator())
    house.generator.notes = (
        "The embedded picture model does not know these words: from paris, a red picture.",
    )
    await begin(house)
    shown = (await picture(house, 1)).embeds[0]["description"]
    assert "모르는 단어입니다\\: from paris, a red picture." in shown
    assert (await house.store.step(1)).state is StepState.DONE
