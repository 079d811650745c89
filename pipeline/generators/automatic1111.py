"""Paint with an AUTOMATIC1111, Forge or SD.Next server over its HTTP API."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp
import numpy as np
from PIL import Image
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)
from yarl import URL

from pipeline.domain import (
    Choices,
    GeneratedImage,
    GenerationRequest,
    GeneratorInfo,
    InpaintRequest,
    Mask,
    ProgressCallback,
)
from pipeline.errors import ConfigurationError, GeneratorError, InvalidRequest

log = logging.getLogger(__name__)

Listed = TypeVar("Listed")

_CELL = 8  # side in pixels of a latent cell
_MIN_SIDE, _MAX_SIDE = 64, 2048
_ASIDE = aiohttp.ClientTimeout(total=5)  # progress and interrupt: never worth a long wait
_SETTLE = 30.0  # seconds to wait for a server to let go of a picture that nobody waits for
_FORMATS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")  # PNG, JPEG, WebP


class _Answer(BaseModel):
    images: list[str] | None = None  # base64, with or without "data:image/png;base64,"
    info: str = ""  # JSON, see _Info


class _Info(BaseModel):
    """What the server says it painted with."""

    seed: int | None = None
    sampler_name: str | None = None
    sd_model_name: str | None = None
    sd_model_hash: str | None = None
    index_of_first_image: int = 0  # 1 where a grid precedes the pictures
    infotexts: list[str] = []


class _State(BaseModel):
    job: str = ""
    job_count: int = 0  # 0 = idle
    interrupted: bool = False

    @property
    def idle(self) -> bool:
        return self.job_count == 0

    @property
    def foreign(self) -> bool:
        """Whether the job was started on the server's own page, which names its jobs so."""
        return self.job.startswith("task(")


class _Checkpoint(BaseModel):
    title: str


class _Sampler(BaseModel):
    name: str


class _Progress(BaseModel):
    progress: float = 0
    current_image: str | None = None
    state: _State = Field(default_factory=_State)


class Automatic1111:
    """Paint pictures on one server, one at a time.

    `url` is http(s)://[user:password@]host[:port][/path]. `timeout` bounds one picture, retries included.
    `attempts` and `backoff` (seconds before the first retry, doubled after each) bound the retries.
    `poll_every` is the seconds between two looks at the progress.
    """

    def __init__(
        self,
        *,
        url: str,
        native_size: int = 512,
        checkpoint: str = "",
        sampler: str = "",
        timeout: float = 600,
        connect_timeout: float = 10,
        attempts: int = 4,
        backoff: float = 1,
        poll_every: float = 1,
    ) -> None:
        self._base, self._authorization, self._password = _read_url(url)
        self._checkpoint = checkpoint
        self._sampler = sampler
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._attempts = attempts
        self._backoff = backoff
        self._poll_every = poll_every
        self._info = GeneratorInfo(
            name="Stable Diffusion server",
            native_size=native_size,
            default_width=native_size,
            default_height=native_size,
            multiple=_CELL,
            min_side=_MIN_SIDE,
            max_side=_MAX_SIDE,
            guidance=7.0,
        )
        # Forge has mixed up masked requests that ran at the same time, and progress and interrupt name
        # no request: they mean whatever is running. So one at a time.
        self._turn = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._unanswered = False  # the server may still be painting a picture that nobody waits for

    @property
    def info(self) -> GeneratorInfo:
        return self._info

    async def generate(
        self, request: GenerationRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        """Paint a picture from text, or from text over the request's image."""
        _check_sides(request.width, request.height)
        body = self._body(request, request.width, request.height)
        if request.image is None:
            return await self._paint("txt2img", body, progress)
        # Without a mask all of it is painted. The image has the request's size: `resize_mode` has no work.
        body |= {
            "init_images": [base64.b64encode(request.image).decode()],
            "denoising_strength": request.strength,
            "resize_mode": 0,
        }
        return await self._paint("img2img", body, progress)

    async def inpaint(
        self, request: InpaintRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        """Repaint a crop where its mask is True; a few pixels around it may change too.

        Raises ValueError where the crop's sides are no multiples of 8 or not the mask's.
        """
        height, width = request.mask.shape
        if not request.mask.any():
            raise InvalidRequest("There is nothing to repaint: the object's mask is empty.")
        image, mask = await asyncio.to_thread(_encode_crop, request.image, request.mask)
        body = self._body(request, width, height) | {
            "init_images": [image],
            "mask": mask,  # white = repaint
            "inpainting_mask_invert": 0,
            "denoising_strength": request.strength,
            # The crop is the object's window already, at the size the model paints best. "Only masked"
            # (AUTOMATIC1111's default) would crop again, tighter, and lose the scene around the object
            # that the model should see; SD.Next's default is the other one. So it is said.
            "inpaint_full_res": False,
            "resize_mode": 0,
            # A blurred mask is rounded in latent cells after it is shrunk: at 20 px, objects up to 22 px in
            # radius vanish and are silently not painted. Our own feathered composite makes the soft border,
            # so no blur here. (`mask_blur` sets both axes; SD.Next has no mask_blur_x and _y.)
            "mask_blur": 0,
            # Start from what is there, so that `strength` is how far it may change. Filling with the colours
            # around, noise or nothing is for a strength near 1 and leaves smears below it.
            "inpainting_fill": 1,
        }
        return await self._paint("img2img", body, progress)

    async def choices(self) -> Choices:
        """Ask the server for its checkpoints and samplers. Raises GeneratorError."""
        models = await self._list("sd-models", TypeAdapter(list[_Checkpoint]))
        samplers = await self._list("samplers", TypeAdapter(list[_Sampler]))
        return Choices(tuple(item.title for item in models), tuple(item.name for item in samplers))

    async def aclose(self) -> None:
        """Close the connections; paint nothing after this."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def survey(self, *, timeout: float = 10) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the server's checkpoints and samplers; paints nothing. Raises GeneratorError."""
        checkpoints = await self._names("sd-models", ("title", "model_name"), timeout)
        return checkpoints, await self._names("samplers", ("name",), timeout)

    async def _names(self, endpoint: str, keys: tuple[str, ...], timeout: float) -> tuple[str, ...]:
        try:
            async with self._open().get(
                self._base / endpoint, timeout=aiohttp.ClientTimeout(total=timeout), allow_redirects=False
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, OSError) as err:  # TimeoutError is one
            raise GeneratorError(
                "The Stable Diffusion server cannot be reached: check that it is running and that "
                "DIFFUSION_URL is right, then try again.",
                retryable=True,
            ) from err
        if response.status != 200:
            raise self._refusal(response.status, data)
        try:
            entries: list[dict[str, object]] = TypeAdapter(list[dict[str, object]]).validate_json(data)
        except ValidationError as err:
            raise GeneratorError(
                "What answers at DIFFUSION_URL is not a Stable Diffusion server: check the address."
            ) from err
        return tuple(dict.fromkeys(str(entry[key]) for entry in entries for key in keys if entry.get(key)))

    # -- one picture ------------------------------------------------------------------------------------

    def _body(self, request: GenerationRequest | InpaintRequest, width: int, height: int) -> dict[str, Any]:
        """Return the fields common to both endpoints; only such as all three servers know."""
        checkpoint = request.model or self._checkpoint
        body: dict[str, Any] = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
            "steps": request.steps,
            "cfg_scale": request.guidance,
            "width": width,
            "height": height,
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
            # Always sent: releases of Forge fail without it. The server's own settings come back afterwards.
            "override_settings": {"sd_model_checkpoint": checkpoint} if checkpoint else {},
        }
        if sampler := request.sampler or self._sampler:
            body["sampler_name"] = sampler
        return body

    async def _paint(
        self, endpoint: str, body: dict[str, Any], progress: ProgressCallback | None
    ) -> GeneratedImage:
        async with self._turn:
            deadline = time.monotonic() + self._timeout
            # The same body again is the same seed: a retry cannot change the picture.
            retrying = AsyncRetrying(
                retry=retry_if_exception(lambda err: isinstance(err, GeneratorError) and err.retryable),
                stop=stop_after_attempt(self._attempts) | stop_before_delay(self._timeout),
                wait=wait_exponential_jitter(multiplier=self._backoff, max=30, jitter=self._backoff),
                before_sleep=_log_retry,
                reraise=True,
            )
            watch = asyncio.create_task(self._watch(progress)) if progress else None
            try:
                image = await retrying(self._attempt, endpoint, body, deadline)
            finally:
                if watch is not None:
                    watch.cancel()
                    (ended,) = await asyncio.gather(watch, return_exceptions=True)
                    if isinstance(ended, Exception):
                        log.error("Showing the progress failed", exc_info=ended)
            await self._check_not_stopped()
        if progress:
            progress(1.0, None)
        return image

    async def _attempt(self, endpoint: str, body: dict[str, Any], deadline: float) -> GeneratedImage:
        await self._settle()
        data = await self._post(endpoint, body, deadline - time.monotonic())
        picture, info, notes = await asyncio.to_thread(_read_answer, data, body["width"], body["height"])
        checkpoint = body["override_settings"].get("sd_model_checkpoint", "")
        notes += _differences(info, body["seed"], body.get("sampler_name", ""), checkpoint)
        return GeneratedImage(
            png=picture,
            seed=body["seed"] if info.seed is None else info.seed,
            model=_model(info),
            sampler=info.sampler_name or "unknown",
            notes=notes,
        )

    async def _post(self, endpoint: str, body: dict[str, Any], seconds: float) -> bytes:
        """Return the answer's body; raise GeneratorError, and stop the server where it may still paint."""
        timeout = aiohttp.ClientTimeout(total=max(seconds, 0.001), sock_connect=self._connect_timeout)
        self._unanswered = True
        try:
            async with self._open().post(
                self._base / endpoint, json=body, timeout=timeout, allow_redirects=False
            ) as response:
                # The proxy gave up (504); the server behind it has not.
                self._unanswered = response.status == 504
                data = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as err:
            self._unanswered = False
            raise GeneratorError(
                "The Stable Diffusion server cannot be reached: check that it is running and that "
                "DIFFUSION_URL is right, then try again.",
                retryable=True,
            ) from err
        except TimeoutError as err:
            raise GeneratorError(
                f"The Stable Diffusion server did not finish the picture in {self._timeout:g} seconds: "
                "try again later, or ask for a smaller one.",
                retryable=True,
            ) from err
        except (aiohttp.ClientError, OSError) as err:
            raise GeneratorError(
                "The connection to the Stable Diffusion server broke off before the picture had arrived: "
                "try again.",
                retryable=True,
            ) from err
        finally:
            # Also when this task was cancelled: a second cancellation in here only skips the courtesy.
            if self._unanswered:
                await self._interrupt()
        if response.status != 200:
            raise self._refusal(response.status, data)
        if response.content_type != "application/json":
            raise GeneratorError(
                "What answers at DIFFUSION_URL is not a Stable Diffusion server: check the address."
            )
        return data

    def _refusal(self, status: int, data: bytes) -> GeneratorError:
        words = _words(data)
        if self._password:
            words = words.replace(self._password, "…")
        said = f" It said: {words}" if words else ""
        if status in (401, 403):
            if self._authorization:
                text = (
                    "The Stable Diffusion server does not accept the user name and password in DIFFUSION_URL."
                )
            else:
                text = (
                    "The Stable Diffusion server wants a user name and password: set them in DIFFUSION_URL, "
                    "as in a1111+http://user:password@host:7860."
                )
            return GeneratorError(text)
        # A server without --api knows no such address; with it, a 404 names what it could not find.
        if status in (404, 405) and words in ("", "Not Found", "Method Not Allowed"):
            return GeneratorError(
                "The Stable Diffusion server's API is not enabled: start it with --api, "
                "and check the address in DIFFUSION_URL."
            )
        if status == 422:
            return GeneratorError(f"The Stable Diffusion server does not accept the request.{said}")
        if status in (429, 502, 503, 504):
            return GeneratorError(
                "The Stable Diffusion server is busy or not ready: try again in a minute.", retryable=True
            )
        if re.search(r"out ?of ?memory", words, re.IGNORECASE):
            return GeneratorError(
                f"The Stable Diffusion server ran out of memory: ask for a smaller picture.{said}"
            )
        return GeneratorError(f"The Stable Diffusion server failed with error {status}.{said}")

    # -- what runs on the server ------------------------------------------------------------------------

    async def _watch(self, progress: ProgressCallback) -> None:
        """Report share and preview until cancelled."""
        reached = 0.0
        while True:
            await asyncio.sleep(self._poll_every)
            seen = await self._look(preview=True)
            if seen is None or seen.state.idle or seen.state.foreign:
                continue
            reached = max(reached, min(seen.progress, 1.0))
            progress(reached, _read_preview(seen.current_image))

    async def _check_not_stopped(self) -> None:
        """Raise where somebody's interrupt cut our picture short: it is sent as if it were done."""
        seen = await self._look(preview=False)
        if seen is not None and seen.state.interrupted:
            raise GeneratorError(
                "The picture was stopped on the Stable Diffusion server before it was finished: ask again.",
                retryable=True,
            )

    async def _settle(self) -> None:
        """Wait until the server has let go of a picture that nobody waits for any more."""
        if not self._unanswered:
            return
        give_up = time.monotonic() + _SETTLE
        while (seen := await self._look(preview=False)) and not (seen.state.idle or seen.state.foreign):
            if time.monotonic() > give_up:
                log.warning("The Stable Diffusion server is still painting an abandoned picture")
                break
            # Again: a job that begins forgets an interrupt that came before it.
            await self._interrupt()
            await asyncio.sleep(self._poll_every)
        self._unanswered = False

    async def _look(self, *, preview: bool) -> _Progress | None:
        """Return the server's progress, or None where it does not say."""
        skip = "false" if preview else "true"
        try:
            async with self._open().get(
                self._base / "progress", params={"skip_current_image": skip}, timeout=_ASIDE
            ) as response:
                if response.status != 200:
                    return None
                return _Progress.model_validate_json(await response.read())
        except (aiohttp.ClientError, OSError, ValidationError, GeneratorError) as err:
            log.debug("No progress from the Stable Diffusion server: %s", type(err).__name__)
            return None

    async def _list(self, name: str, kind: TypeAdapter[Listed]) -> Listed:
        try:
            async with self._open().get(self._base / name, timeout=_ASIDE) as response:
                if response.status != 200:
                    raise self._refusal(response.status, await response.read())
                return kind.validate_json(await response.read())
        except (aiohttp.ClientError, OSError, ValidationError) as err:
            raise GeneratorError(
                "The Stable Diffusion server does not say what it has; try again.", retryable=True
            ) from err

    async def _interrupt(self) -> None:
        """Ask the server to stop what it paints for us."""
        seen = await self._look(preview=False)
        if seen is not None and seen.state.foreign:
            return
        try:
            async with self._open().post(self._base / "interrupt", timeout=_ASIDE):
                pass
        except (aiohttp.ClientError, OSError, GeneratorError) as err:
            log.debug("The Stable Diffusion server could not be interrupted: %s", type(err).__name__)

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise GeneratorError("The connection to the Stable Diffusion server is closed.")
        if self._session is None:
            headers = {"Authorization": self._authorization} if self._authorization else {}
            self._session = aiohttp.ClientSession(
                headers=headers,
                # The server closes idle connections while a picture is looked at; a new one for every request
                # means that a dropped connection is never just a stale one.
                connector=aiohttp.TCPConnector(force_close=True),
            )
        return self._session


def _log_retry(state: RetryCallState) -> None:
    err = state.outcome.exception() if state.outcome else None
    log.warning("Stable Diffusion attempt %d failed, trying again: %s", state.attempt_number, err)


def _read_url(url: str) -> tuple[URL, str, str]:
    """Return the API's address without credentials, the Authorization header, the password."""
    try:
        parsed = URL(url)
        host = parsed.host
    except ValueError:
        parsed, host = None, None
    if parsed is None or parsed.scheme not in ("http", "https") or not host:
        # Not the URL itself, nor what yarl says of it: a password with a / or # in it ends up in there.
        raise ConfigurationError(
            "DIFFUSION_URL is not an address of a server, as in a1111+http://user:password@host:7860 "
            "(with special characters in the password percent-encoded)."
        )
    password = parsed.password or ""
    authorization = ""
    if parsed.user is not None or password:
        authorization = aiohttp.encode_basic_auth(parsed.user or "", password)
    base = parsed.with_user(None).with_query(None).with_fragment(None)
    return base / "sdapi" / "v1", authorization, password


def _check_sides(width: int, height: int) -> None:
    for side in (width, height):
        if side % _CELL or not _MIN_SIDE <= side <= _MAX_SIDE:
            raise InvalidRequest(
                f"A picture's sides must be multiples of {_CELL} from {_MIN_SIDE} to {_MAX_SIDE} pixels; "
                f"{width}×{height} is not possible."
            )


def _encode_crop(image: bytes, mask: Mask) -> tuple[str, str]:
    """Return the crop and its mask, grown to whole latent cells, in base64."""
    height, width = mask.shape
    with Image.open(io.BytesIO(image)) as opened:
        if opened.size != (width, height) or width % _CELL or height % _CELL:
            raise ValueError(f"image is {opened.size[0]}x{opened.size[1]}, its mask {width}x{height}")
    # The server paints whole cells, those at least half covered: a strap 3 px wide would not be painted.
    # With every cell the mask touches wholly white, each of its pixels is painted; what is painted beyond
    # the mask, 7 px at most, is cut off by the engine's composite.
    touched = mask.reshape(height // _CELL, _CELL, width // _CELL, _CELL).any(axis=(1, 3))  # [H/8, W/8]
    cells = touched.repeat(_CELL, axis=0).repeat(_CELL, axis=1)  # [H, W]
    buffer = io.BytesIO()
    Image.fromarray(np.where(cells, 255, 0).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(image).decode(), base64.b64encode(buffer.getvalue()).decode()


def _read_answer(data: bytes, width: int, height: int) -> tuple[bytes, _Info, tuple[str, ...]]:
    """Return the picture (PNG, RGB, width x height), what the server says of it, and notes."""
    try:
        answer = _Answer.model_validate_json(data)
    except ValidationError as err:
        raise GeneratorError(
            "The Stable Diffusion server's answer was cut off or garbled: try again.", retryable=True
        ) from err
    notes: tuple[str, ...] = ()
    try:
        info = _Info.model_validate_json(answer.info)
    except ValidationError:
        info = _Info()
        notes = ("The server did not say what it painted with.",)
    images = answer.images or []
    if not images:
        raise GeneratorError(
            "The Stable Diffusion server answered without a picture: try again.", retryable=True
        )
    chosen = images[info.index_of_first_image if 0 <= info.index_of_first_image < len(images) else 0]
    picture, more = _read_picture(chosen, width, height)
    return picture, info, notes + more


def _read_picture(text: str, width: int, height: int) -> tuple[bytes, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    try:
        data = _decode(text)
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            picture, as_asked = opened, (opened.format, opened.mode, opened.size)
    # Pillow tells broken files in many ways, among them SyntaxError, EOFError, struct.error, zlib.error.
    except Exception as err:
        raise GeneratorError(
            "The Stable Diffusion server answered with a broken picture: try again.", retryable=True
        ) from err
    if picture.convert("L").getextrema() == (0, 0):
        notes += ("The server's picture is wholly black: a content filter or a fault of its model.",)
    if as_asked == ("PNG", "RGB", (width, height)):
        return data, notes
    picture = picture.convert("RGB")
    if picture.size != (width, height):
        notes += (
            f"The server painted {picture.width}×{picture.height} instead of {width}×{height}: "
            "the picture was resized.",
        )
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue(), notes


def _decode(text: str) -> bytes:
    return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)


def _read_preview(text: str | None) -> bytes | None:
    try:
        data = _decode(text or "")
    except ValueError:
        return None
    return data if data.startswith(_FORMATS) else None


def _differences(info: _Info, seed: int, sampler: str, checkpoint: str) -> tuple[str, ...]:
    """Return a note for each thing the server silently replaced."""
    notes: list[str] = []
    if info.seed is not None and info.seed != seed:
        notes.append(f"The server used the seed {info.seed} instead of {seed}.")
    used = info.sampler_name
    if sampler and used:
        # Newer servers split "DPM++ 2M Karras" into a sampler and a schedule.
        schedule = _infotext(info, "Schedule type")
        if sampler.casefold() not in (used.casefold(), f"{used} {schedule}".casefold()):
            notes.append(f"The server used the sampler {used} instead of {sampler}.")
    name, short_hash = _checkpoint(info)
    if checkpoint and name:
        asked, asked_hash = _split_checkpoint(checkpoint)
        same = asked == _split_checkpoint(name)[0] or (short_hash and short_hash in (asked, asked_hash))
        if not same:
            notes.append(f"The server used the checkpoint {name} instead of {checkpoint}.")
    return tuple(notes)


def _model(info: _Info) -> str:
    name, short_hash = _checkpoint(info)
    return f"{name or 'unknown'} [{short_hash}]" if short_hash else name or "unknown"


def _checkpoint(info: _Info) -> tuple[str, str]:
    """Return the name and the short hash of the checkpoint that painted; "" where the server did not say."""
    name = info.sd_model_name or _infotext(info, "Model")
    return name, (info.sd_model_hash or _infotext(info, "Model hash")).casefold()


def _split_checkpoint(title: str) -> tuple[str, str]:
    """Return name and hash of `folder/name.safetensors [hash]`, in lower case."""
    match = re.fullmatch(
        r"(?:.*[/\\])?(.*?)(?:\.(?:safetensors|ckpt|pt|gguf))?(?: \[(\w+)\])?", title.casefold()
    )
    return (match[1], match[2] or "") if match else (title.casefold(), "")


def _infotext(info: _Info, key: str) -> str:
    """Return a value from the last line of the picture's `parameters` text: `Steps: 20, Model: …`."""
    last = info.infotexts[0].rpartition("\n")[2] if info.infotexts else ""
    match = re.search(rf"(?:^|, ){re.escape(key)}: ([^,]*)", last)
    return match[1].strip() if match else ""


def _words(data: bytes) -> str:
    """Return what an error answer says, as one short line; "" where it says nothing in JSON."""
    try:
        body = json.loads(data)
    except ValueError:
        return ""
    if not isinstance(body, Mapping):
        return ""
    detail = body.get("detail")
    if isinstance(detail, list):  # FastAPI: [{"loc": ["body", "width"], "msg": "…", "type": "…"}]
        text = "; ".join(_field(item) for item in detail)
    else:
        # "errors" is the exception's text; "error" its class, which alone names some: OutOfMemoryError
        parts = dict.fromkeys(str(part) for part in (body.get("error"), detail, body.get("errors")) if part)
        parts.pop("HTTPException", None)
        text = ": ".join(part for part in parts if not any(part in other for other in parts if other != part))
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 300 else line[:299] + "…"


def _field(item: object) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    where = item.get("loc")
    names = [str(part) for part in where if part != "body"] if isinstance(where, list) else []
    return f"{'.'.join(names)}: {item.get('msg', '')}"
