"""Stories and tags by the small language model that we ship: asked little at a time, and held to it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ValidationError

from pipeline.context.chat import Chat, Message, closed, json_values
from pipeline.context.template import TemplateContextWriter, phrase, said_of, tell
from pipeline.context.vocabulary import kinds_of, looks
from pipeline.context.words import MAX_STORY, clean, clean_tags, clip, key, names_of, spoken, tokens
from pipeline.domain import Detection, ObjectContext, SceneContext, Vocabulary
from pipeline.errors import WriterError
from pipeline.language_server import LanguageServer

log = logging.getLogger(__name__)

MAX_TOKENS = 400
# Less, and it says the same sentence for ever; more, and it no longer names the things it was given.
OPTIONS = {"repeat_penalty": 1.1}
# Without this it pads its answer with white space up to the last token.
GUIDANCE = {"x-guidance": {"whitespace_flexible": False}}
# What is left of another question's words in the cache changes the last bits, and with them the answer: each
# conversation is read from its beginning, and goes on from there with the cache. A second, for equal notes.
AFRESH = {"cache_prompt": False}
OFFERED = 12  # looks an object: drawn anew for each, because left alone it takes red and striped for all
TOLD = 6  # things that the story is asked for, at most
PROMPT = 300  # characters of a prompt that it is shown
STORY = 420  # characters

_SYSTEM = (
    "You look at a picture and choose a look for each thing in it. "
    "Then you tell a very short story about these things."
)
# (prompt, the things, their looks, the story): short, because they are read before every answer.
_EXAMPLES = (
    (
        "1girl, walking, green hat, sunset",
        ("hat", "sky", "car"),
        ("green plaid hat", "cloudy sunset sky", "white car"),
        "The green plaid hat is all that one sees of the girl, for she is running. "
        "The white car at the corner has waited for her since noon, and its driver is asleep.",
    ),
    (
        "old shop by a canal, night",
        ("alley shop", "body of water", "bag"),
        ("pink floral alley shop", "teal rippled body of water", "brown dotted bag"),
        "The pink floral alley shop is closed, but somebody is singing behind the door. "
        "The brown dotted bag on the step begins to move when a boat comes by.",
    ),
)


# A sentence that was ended by its limit, not by its sense.
_UNFINISHED = re.compile(
    r"(?:[\s,'-]|\b(?:an?|the|and|or|but|to|of|with|in|on|at|for|as|by|from|that|is|was|her|his|its))[.!]",
    re.I,
)


class EmbeddedContextWriter:
    """Write with a small model on our own server; where it fails, with the template, and say so in `source`.

    It first chooses a look for each object, out of those that a class can have, and then tells of these.
    What a reply means is read without it: it would guess. `timeout` is in seconds for an answer as a whole,
    without the start of the server. Closes the server in `aclose`.
    """

    def __init__(
        self, server: LanguageServer, *, vocabulary: Vocabulary | None = None, timeout: float = 60
    ) -> None:
        self._server = server
        self._timeout = timeout
        self._vocabulary = vocabulary
        self._template = TemplateContextWriter(vocabulary)
        self._chat: Chat | None = None
        self._url = ""
        # One at a time, as the server does it: who waits for another does not use up its own time.
        self._turn = asyncio.Lock()

    async def describe(
        self, prompt: str, detections: Sequence[Detection], *, picture: bytes, seed: int
    ) -> SceneContext:
        draft = await self._template.describe(prompt, detections, picture=picture, seed=seed)
        async with self._turn:
            try:
                async with self._server.running() as url:
                    scene = await self._write(url, prompt, detections, draft, seed)
                if scene.source == self._server.name:
                    return scene
                async with self._server.running() as now:
                    if now == url:
                        return scene
                    log.warning("The embedded language model died and was started again.")
                    return await self._write(now, prompt, detections, draft, seed)
            except WriterError as err:
                return replace(draft, source=f"template ({err})")

    async def revise(
        self, reply: str, objects: Sequence[ObjectContext], *, prompt: str, story: str, seed: int
    ) -> tuple[ObjectContext, ...]:
        return await self._template.revise(reply, objects, prompt=prompt, story=story, seed=seed)

    async def aclose(self) -> None:
        if self._chat is not None:
            await self._chat.aclose()
        await self._server.aclose()

    async def _write(
        self, url: str, prompt: str, detections: Sequence[Detection], draft: SceneContext, seed: int
    ) -> SceneContext:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(await self._at(url), prompt, detections, draft, seed)
        except TimeoutError as err:
            raise WriterError("the language model did not answer", retryable=True) from err

    async def _ask(
        self, chat: Chat, prompt: str, detections: Sequence[Detection], draft: SceneContext, seed: int
    ) -> SceneContext:
        """Ask for the looks, then for the story of them; whatever fails is the draft's."""
        shown = clip(clean(prompt, 4000), PROMPT) or "a picture"
        messages = _opening(shown, [thing.name for thing in draft.objects])
        objects, lacking = draft.objects, list[str]()
        if draft.objects:
            try:
                objects, answer = await self._choose(chat, messages, prompt, detections, draft, seed)
                messages += [{"role": "assistant", "content": answer}]
            except WriterError:
                lacking.append("the tags")
        try:
            story = await self._tell(chat, messages, objects, seed)
        except WriterError:
            lacking.append("the story")
            story = tell(prompt, objects, seed)
        if len(lacking) == 2 or (lacking and not draft.objects):
            return replace(draft, source="template (the language model's answer could not be used)")
        source = f"{chat.model}; template for {lacking[0]}" if lacking else chat.model
        return SceneContext(story, objects, source)

    async def _choose(
        self,
        chat: Chat,
        messages: Sequence[Message],
        prompt: str,
        detections: Sequence[Detection],
        draft: SceneContext,
        seed: int,
    ) -> tuple[tuple[ObjectContext, ...], str]:
        """Let it choose each object's look; return the objects and its own words."""
        offers: dict[str, Mapping[str, tuple[str, ...]]] = {}  # by number: the words for a look, its tags
        for thing, detection in zip(draft.objects, detections, strict=True):
            said = said_of(detection.label, prompt, self._vocabulary)
            every = looks(said, kinds_of(detection.label, self._vocabulary))
            chance = random.Random(f"{seed}/{thing.number}/offer")
            some = chance.sample(every, min(OFFERED, len(every)))
            cleaned = [clean_tags(tags) or thing.tags for tags in some]
            offers[str(thing.number)] = {phrase(thing.name, tags): tags for tags in cleaned}
        schema = closed({number: {"type": "string", "enum": list(of)} for number, of in offers.items()})

        def read(text: str) -> tuple[tuple[ObjectContext, ...], str] | None:
            chosen: dict[str, str] = next((v for v in json_values(text) if isinstance(v, dict)), {})
            if any(chosen.get(number) not in offer for number, offer in offers.items()):
                return None
            tags = {number: offer[chosen[number]] for number, offer in offers.items()}
            # Shoes are worn in pairs.
            shoes = [number for number, one in zip(offers, detections, strict=True) if _is_shoe(one)]
            tags |= dict.fromkeys(shoes, tags[shoes[0]] if shoes else ())
            return tuple(replace(thing, tags=tags[str(thing.number)]) for thing in draft.objects), text

        return await chat.converse(messages, schema | GUIDANCE, seed, read, mend=False, options=AFRESH)

    async def _tell(
        self, chat: Chat, messages: Sequence[Message], objects: Sequence[ObjectContext], seed: int
    ) -> str:
        told = objects[:TOLD]
        phrases = [phrase(thing.name, thing.tags) for thing in told]
        question: Message = {"role": "user", "content": _request(phrases)}
        schema = closed({"story": {"type": "string", "pattern": _pattern(phrases)}})
        names = [thing.name for thing in told]

        def read(text: str) -> str | None:
            for value in json_values(text):
                try:
                    return sound(_Told.model_validate(value).story, names)
                except ValidationError:
                    continue
            return None

        options = {} if objects else AFRESH
        asked = [*messages, question]
        return await chat.converse(asked, schema | GUIDANCE, seed, read, mend=False, options=options)

    async def _at(self, url: str) -> Chat:
        if self._chat is None or url != self._url:
            if self._chat is not None:
                await self._chat.aclose()
            self._chat = Chat(
                model=self._server.name,
                api_key=self._server.key,
                base_url=url,
                timeout=self._timeout,
                retries=0,
                max_tokens=MAX_TOKENS,
                options=OPTIONS,
            )
            self._url = url
        return self._chat


class _Told(BaseModel):
    story: str


def sound(story: str, names: Sequence[str]) -> str | None:
    """Clean a story; None if it is broken: empty, code, going round in circles, or about none of the objects.

    A last sentence that was cut off is left out, and so is what comes after the fourth.
    """
    story = clip(clean(story, MAX_STORY), STORY)
    if re.search(r"[{}\[\]\\_|#=`]|:\s*\"", story) or _UNFINISHED.search(story):
        return None
    sentences = re.findall(r"[^.!?]+[.!?]+[\"'”’]?", story)[:4]
    words = tokens(" ".join(sentences))
    fours = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    # Four words in the same order may come again once: "the red striped hat".
    if len(words) < 5 or len(fours) - len(set(fours)) > 2:
        return None
    if names and not named(story, names):
        return None
    return " ".join(sentence.strip() for sentence in sentences)


def named(story: str, names: Sequence[str]) -> set[str]:
    """Find the names whose object a text speaks of, by its name or by another word for it."""
    words = tokens(re.sub(r"[’']s\b", "", story))
    keys = {key(" ".join(words[i : i + n])) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
    return {name for name in names if not keys.isdisjoint(frozenset().union(*names_of(name)))}


def _is_shoe(detection: Detection) -> bool:
    return spoken(detection.label) == "shoe"


def _opening(prompt: str, names: Sequence[str]) -> list[Message]:
    """Open a conversation with the examples and the question for the looks."""
    messages: list[Message] = [{"role": "system", "content": _SYSTEM}]
    for example, things, chosen, story in _EXAMPLES:
        answer = {str(number): look for number, look in enumerate(chosen, start=1)}
        messages += [
            {"role": "user", "content": _question(example, things)},
            {"role": "assistant", "content": _json(answer)},
            {"role": "user", "content": _request(chosen)},
            {"role": "assistant", "content": _json({"story": story})},
        ]
    return [*messages, {"role": "user", "content": _question(prompt, names)}]


def _question(prompt: str, names: Sequence[str]) -> str:
    return f"Picture: {prompt}\nThings: {', '.join(names) or 'none'}"


def _request(phrases: Sequence[str]) -> str:
    listed = ", ".join(f"the {words}" for words in phrases)
    return f"Tell a story in two sentences{f' with {listed}' if listed else ''}."


def _pattern(phrases: Sequence[str]) -> str:
    """Write the shape of a story: plain sentences, of which the first two begin with things of the picture.

    Left alone the model names two of the things in half of its stories. Where a sentence begins is the one
    place at which it takes a word that it is given without stumbling over it.
    """
    rest = r"[a-zA-Z ,'-]{15,150}[.]"
    halves = [list(dict.fromkeys(phrases[start::2])) for start in (0, 1) if phrases[start::2]]
    starts = [f"(The|A) ({'|'.join(map(_literal, half))}) " for half in halves]
    starts += ["[A-Z][a-z]*,? "] * (2 - len(starts))
    return "^" + " ".join(start + rest for start in starts) + "$"


def _literal(words: str) -> str:
    """Escape what has a meaning in a pattern, and no more: a pattern with "\\ " is not obeyed at all."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", words)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
