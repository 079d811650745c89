"""Ask an OpenAI-compatible server for JSON, bounded in time and in turns, whatever it answers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, TypeVar

import httpx2
import openai
from pydantic import BaseModel, BeforeValidator, ValidationError

from pipeline.context.words import clean
from pipeline.errors import ConfigurationError, WriterError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Message = Mapping[str, object]

TURNS = 2  # one answer, and one attempt at mending it
TEMPERATURE = 0.7
MAX_TOKENS = 4000  # room for a story, 24 objects and a little thought; a bound for a model that babbles
MAX_ANSWER = 200_000  # characters that are looked at


class Chat:
    """A chat model on a server. `base_url` "" is OpenAI's own.

    `timeout` is in seconds for all turns and retries of a conversation together. `options` go into every
    request as they are: what only this server knows. Close it with `aclose`.
    """

    def __init__(
        self,
        *,
        model: str,
        api_key: str = "",
        base_url: str = "",
        timeout: float = 60,
        retries: int = 2,
        max_tokens: int = MAX_TOKENS,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.model = model
        self._key = api_key.strip()
        # A header cannot hold other characters, and the client's log would show what it could not send.
        if not re.fullmatch(r"[!-~]*", self._key):
            raise ConfigurationError("OPENAI_API_KEY has characters that no key has; copy it again.")
        self._timeout = timeout
        self._max_tokens = max_tokens
        self._options = dict(options or {})
        # What this server turned out not to know: asked for no more.
        self._unknown: set[str] = set()
        try:
            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none", base_url=base_url or None, timeout=timeout, max_retries=retries
            )
        except httpx2.InvalidURL as err:
            raise ConfigurationError("OPENAI_BASE_URL is not a URL, as in http://127.0.0.1:8080/v1.") from err

    @property
    def sees(self) -> bool:
        """Whether pictures may be sent, as far as is known."""
        return "picture" not in self._unknown

    async def aclose(self) -> None:
        await self._client.close()

    async def converse(
        self,
        messages: Sequence[Message],
        schema: dict[str, object],
        seed: int,
        read: Callable[[str], Result | None],
        *,
        picture: str | None = None,
        mend: bool = True,
        options: Mapping[str, object] | None = None,
    ) -> Result:
        """Ask, and ask once more where `read` makes nothing of the answer; WriterError says why for members.

        `picture` is a data URL that goes with the second message. With `mend` the model is shown what it
        said and told to do better; otherwise it is asked the same with another seed. `options` are added to
        those of every request.
        """
        messages = list(messages)
        try:
            async with asyncio.timeout(self._timeout):
                for turn in range(TURNS):
                    text, problem = await self._ask(messages, schema, seed + turn, picture, options or {})
                    result = read(text)
                    if result is not None:
                        return result
                    log.warning("%s gave an answer of no use (%s).", self.model, problem)
                    if mend:
                        messages += [
                            {"role": "assistant", "content": clean(text, 2000) or "(nothing)"},
                            {"role": "user", "content": f"{problem} Answer again: only the JSON, and short."},
                        ]
        except TimeoutError as err:
            log.warning("%s did not answer within %g s.", self.model, self._timeout)
            raise WriterError("the language model did not answer", retryable=True) from err
        raise WriterError("the language model's answer could not be used")

    async def _ask(
        self,
        messages: Sequence[Message],
        schema: dict[str, object],
        seed: int,
        picture: str | None,
        options: Mapping[str, object],
    ) -> tuple[str, str]:
        """Get the text of an answer, and what to say if it cannot be used; WriterError if there is none."""
        while True:
            request = self._request(messages, schema, seed, picture, options)
            try:
                answer = await self._client.chat.completions.with_raw_response.create(**request)
                return _content(answer.content)
            except openai.APIStatusError as err:
                if not self._give_up_on(err, request, picture):
                    raise _failure(err, self.model, self._key) from err
            except openai.OpenAIError as err:
                log.warning("%s could not be asked: %s.", self.model, type(err.__cause__ or err).__name__)
                raise WriterError("the language model did not answer", retryable=True) from err
            except WriterError:
                raise
            except Exception as err:
                # A server may answer with anything, and the client reads it before we do. Only the type
                # is logged: the text may hold the key (a header that cannot be sent, for one).
                log.warning("%s gave what the client cannot read: %s.", self.model, type(err).__name__)
                raise WriterError("the language model's answer could not be used") from err

    def _request(
        self,
        messages: Sequence[Message],
        schema: dict[str, object],
        seed: int,
        picture: str | None,
        options: Mapping[str, object],
    ) -> dict[str, Any]:
        sent = list(messages)
        if picture is not None and self.sees:
            parts = [
                {"type": "text", "text": sent[1]["content"]},
                {"type": "image_url", "image_url": {"url": picture}},
            ]
            sent[1] = {"role": "user", "content": parts}
        optional = {
            "temperature": TEMPERATURE,
            "seed": seed & 0x7FFFFFFF,  # some servers keep it in 32 bits with a sign
            "max_completion_tokens": self._max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            },
        }
        known = {name: value for name, value in optional.items() if name not in self._unknown}
        own = {**self._options, **options}
        extra = {"extra_body": own} if own else {}
        return {"model": self.model, "messages": sent, **known, **extra}

    def _give_up_on(self, err: openai.APIStatusError, request: dict[str, Any], picture: str | None) -> bool:
        """Leave out what a server says it does not know; False if it names nothing that can be left out."""
        if err.status_code not in (400, 415, 422, 500):
            return False
        said = f"{err.param or ''} {_message(err)}"
        named = {name for name in request if name in said and name not in ("model", "messages")}
        shown = picture is not None and self.sees
        if shown and re.search(r"image|vision|modal|content type", said, re.IGNORECASE):
            named.add("picture")
        if named:
            log.warning("%s does not know %s: left out from now on.", self.model, ", ".join(sorted(named)))
        self._unknown |= named
        return bool(named)


# -- what a server answers ------------------------------------------------------------------------


def as_text(value: object) -> str:
    """Make text of what should be text."""
    if isinstance(value, list):  # content in parts
        return "".join(as_text(part.get("text")) for part in value if isinstance(part, dict))
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


Text = Annotated[str, BeforeValidator(as_text)]


class _Message(BaseModel):
    content: Text = ""
    refusal: Text = ""


class _Choice(BaseModel):
    message: _Message
    finish_reason: Text = ""


class _Completion(BaseModel):
    choices: list[_Choice]


def _content(body: bytes) -> tuple[str, str]:
    """Read the text of a completion, and what is wrong with it if it cannot be used."""
    try:
        choices = _Completion.model_validate_json(body).choices
    except ValidationError as err:
        raise WriterError("the language model's answer could not be used") from err
    if not choices:
        raise WriterError("the language model's answer could not be used")
    choice = choices[0]
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise WriterError("the language model refused")
    cut = choice.finish_reason == "length"
    return choice.message.content, "That was cut off." if cut else "That is not the JSON that was asked for."


def json_values(text: str) -> Iterator[object]:
    """Find JSON in a text: plain, in a fence, or with prose around it."""
    text = re.sub(r"<think>.*?</think>", "", text[:MAX_ANSWER], flags=re.DOTALL)
    decoder = json.JSONDecoder()
    fenced = (match.start(1) for match in re.finditer(r"```(?:json)?\s*([\[{])", text))
    braces = (match.start() for match in re.finditer(r"[\[{]", text))
    # A text of nothing but braces must not cost more than a few attempts.
    for start in [*islice(fenced, 5), *islice(braces, 30)]:
        try:
            yield decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue


def _failure(err: openai.APIStatusError, model: str, secret: str) -> WriterError:
    said = _message(err)[:300]
    if secret:
        said = said.replace(secret, "***")
    log.warning("%s answered %d: %s", model, err.status_code, re.sub(r"\bsk-[\w*.-]+", "sk-***", said))
    if err.status_code in (401, 403):
        return WriterError("the language model refused the key")
    if err.status_code == 404:
        return WriterError("the language model was not found")
    if err.status_code == 429:
        return WriterError("the language model had no time", retryable=True)
    return WriterError("the language model did not answer", retryable=err.status_code >= 500)


def _message(err: openai.APIStatusError) -> str:
    body = err.body
    if isinstance(body, dict):
        return clean(str(body.get("message") or body), 2000)
    return clean(str(body or ""), 2000)


def closed(properties: Mapping[str, object]) -> dict[str, object]:
    """Make the JSON schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
