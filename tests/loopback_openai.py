"""A loopback OpenAI: checks chat completion requests as the real API does, answers what a test says.

Without a script it answers obediently, out of the schema of the request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from PIL import Image

KEY = "sk-loopback-0123456789abcdef"
KNOWN = frozenset(
    """
    model messages temperature top_p n seed stop stream response_format user max_tokens max_completion_tokens
    presence_penalty frequency_penalty logprobs metadata reasoning_effort store tools tool_choice verbosity
    """.split()  # noqa: SIM905
)
SCHEMA_WORDS = frozenset(
    """
    type properties required additionalProperties items enum const anyOf description title $defs $ref minItems
    maxItems minimum maximum pattern format
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answers once: a body as it is, with a status; or no body at all."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # drop the connection after so many bytes of the body
    hang: bool = False  # never answer


def says(content: object, *, finish_reason: object = "stop", refusal: object = None) -> Answer:
    """Answer with a completion whose message has this content."""
    message = {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}
    return completion([{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}])


def completion(choices: object) -> Answer:
    """Answer with a completion that has these choices."""
    body = {
        "id": "chatcmpl-loopback",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "loopback",
        "choices": choices,
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "system_fingerprint": None,
    }
    return Answer(json.dumps(body).encode())


def fails(status: int, message: str, *, param: str | None = None, **headers: str) -> Answer:
    """Answer with an error in OpenAI's shape."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return Answer(json.dumps({"error": error}).encode(), status, headers=headers)


class Wrong(Exception):
    """A request that the real API would refuse."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class LoopbackOpenAI:
    """Serve on a free port of 127.0.0.1 while it is entered; `answers` are given in order."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.unsupported: set[str] = set()  # request fields that this model refuses
        self.extensions: set[str] = set()  # fields of requests and schemas that only this server knows
        self.requests: list[dict[str, Any]] = []  # those that were as the real API wants them
        self.refused: list[str] = []  # why others were not
        self.asked = asyncio.Event()  # set by every request that is good
        self.url = ""

    async def __aenter__(self) -> LoopbackOpenAI:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._complete)
        # Cancelled handlers end a hanging answer when its client leaves, and when the server closes.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return await _send(request, fails(401, f"Incorrect API key provided: {given}."))
        try:
            body = check(await request.read(), self.unsupported, self.extensions)
        except Wrong as err:
            self.refused.append(str(err))
            return await _send(request, fails(400, str(err), param=err.param))
        self.requests.append(body)
        self.asked.set()
        return await _send(request, self.answers.popleft() if self.answers else obey(body))


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    if answer.hang:
        await asyncio.Event().wait()
    if answer.cut_after is None:
        return web.Response(
            body=answer.body,
            status=answer.status,
            content_type=answer.content_type,
            headers=dict(answer.headers),
        )
    response = web.StreamResponse(status=answer.status)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: answer.cut_after])
    assert request.transport
    request.transport.close()
    return response


# -- what the real API checks --------------------------------------------------------------------


def check(body: bytes, unsupported: set[str], extensions: set[str]) -> dict[str, Any]:
    """Read a request as the real API does; raise Wrong for what it would refuse."""
    try:
        request = json.loads(body)
    except ValueError as err:
        raise Wrong("We could not parse the JSON body of your request.") from err
    if not isinstance(request, dict):
        raise Wrong("The body must be an object.")
    for name in request:
        if name not in KNOWN | extensions:
            raise Wrong(f"Unrecognized request argument supplied: {name}", name)
        if name in unsupported:
            raise Wrong(f"Unsupported parameter: '{name}' is not supported with this model.", name)
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise Wrong("you must provide a model parameter", "model")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Wrong("Missing required parameter: 'messages'.", "messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    _check_number(request, "temperature", 0, 2, float)
    _check_number(request, "seed", -(2**63), 2**63 - 1, int)
    _check_number(request, "max_completion_tokens", 1, 128_000, int)
    if (wanted := request.get("response_format")) is not None:
        _check_format(wanted, extensions)
    return request


def _check_number(request: dict[str, Any], name: str, low: float, high: float, kind: type) -> None:
    value = request.get(name)
    good = isinstance(value, int | kind) and not isinstance(value, bool)
    if value is not None and not (good and low <= value <= high):
        raise Wrong(f"Invalid '{name}': {value!r}", name)


def _check_message(message: object, where: str) -> None:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        raise Wrong(f"Invalid '{where}'", where)
    if message["role"] not in ("system", "developer", "user", "assistant", "tool"):
        raise Wrong(f"Invalid value: '{where}.role'", where)
    parts = message["content"]
    if isinstance(parts, str):
        return
    if not isinstance(parts, list) or message["role"] != "user":
        raise Wrong(f"Invalid type for '{where}.content'", where)
    for part in parts:
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            continue
        url = part.get("image_url", {}).get("url", "") if part.get("type") == "image_url" else ""
        if not (match := re.fullmatch(r"data:image/(png|jpeg|webp|gif);base64,([A-Za-z0-9+/=]+)", url)):
            raise Wrong(f"Invalid '{where}.content'", where)
        try:
            with Image.open(io.BytesIO(base64.b64decode(match[2], validate=True))) as image:
                image.verify()
        except (binascii.Error, OSError) as err:
            raise Wrong("The image data you provided does not represent a valid image.", where) from err


def _check_format(wanted: dict[str, Any], extensions: set[str]) -> None:
    if wanted.get("type") in ("text", "json_object"):
        return
    if wanted.get("type") != "json_schema":
        raise Wrong("Invalid value: 'response_format.type'", "response_format")
    schema = wanted.get("json_schema") or {}
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(schema.get("name", ""))):
        raise Wrong("Invalid 'response_format.json_schema.name'", "response_format")
    if schema.get("strict"):
        if schema.get("schema", {}).get("type") != "object":
            raise Wrong("schema must be a JSON Schema of 'type: \"object\"'", "response_format")
        root = {word: value for word, value in schema["schema"].items() if word not in extensions}
        _check_schema(root, ())


def _check_schema(schema: dict[str, Any], path: tuple[str, ...]) -> None:
    """Check the rules of structured outputs: closed objects, everything required, nothing exotic."""

    def wrong(why: str) -> Wrong:
        return Wrong(
            f"Invalid schema for response_format 'answer': In context={path}, {why}", "response_format"
        )

    if odd := set(schema) - SCHEMA_WORDS:
        raise wrong(f"{sorted(odd)} is not permitted.")
    if "enum" in schema and not schema["enum"]:
        raise wrong("enum value must have at least one item.")
    if "anyOf" in schema:
        for index, inner in enumerate(schema["anyOf"]):
            _check_schema(inner, (*path, "anyOf", str(index)))
        return
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            raise wrong("'additionalProperties' is required to be supplied and to be false.")
        if sorted(schema.get("required", [])) != sorted(properties):
            raise wrong("'required' is required to be an array including every key in properties.")
        for name, inner in properties.items():
            _check_schema(inner, (*path, name))
    elif kind == "array":
        if "items" not in schema:
            raise wrong("array schema missing items.")
        _check_schema(schema["items"], (*path, "items"))
    elif kind not in ("string", "integer", "number", "boolean", "null"):
        raise wrong("schema must have a 'type' key.")


def obey(request: dict[str, Any]) -> Answer:
    """Answer as a good model does: all that the schema asks for."""
    wanted = request.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties", {})
    answer: dict[str, object] = {}
    if "story" in wanted:
        answer["story"] = "A quiet street waits for the rain. Everything in it has a colour of its own."
        if "pattern" in wanted["story"]:
            answer["story"] = _told(request["messages"][-1]["content"])
    if "objects" in wanted:
        items = wanted["objects"]["items"]
        for entry in items.get("anyOf", [items]):
            tag = entry["properties"]["tags"]["items"]
            for number in entry["properties"]["id"]["enum"]:
                tags = [tag["enum"][0], tag["enum"][-1]] if "enum" in tag else ["teal", f"number {number}"]
                answer.setdefault("objects", []).append({"id": number, "tags": tags})  # type: ignore[attr-defined]
    for name, schema in wanted.items():
        if name not in answer:
            answer[name] = schema["enum"][0]
    return says(json.dumps(answer))


def _told(question: str) -> str:
    """Tell two sentences that begin with the first two things which are asked for."""
    things = [*question.rstrip(".").partition(" with the ")[2].split(", the "), "", ""]
    first, second = things[0] or "Somewhere", things[1] or things[0] or "Everywhere"
    starts = [
        f"The {thing}" if thing[0].islower() or thing in question else thing for thing in (first, second)
    ]
    return f"{starts[0]} waits for the rain to come. {starts[1]} has seen it all before."
