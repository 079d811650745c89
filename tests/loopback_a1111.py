"""A loopback Stable Diffusion server with the real servers' fields, types, answers and mask arithmetic.

As its own process, `python -m tests.loopback_a1111 --port 0` prints its URL as JSON and serves until killed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import io
import json
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter, ImageOps, PngImagePlugin
from pydantic import BaseModel, ValidationError, create_model

log = logging.getLogger(__name__)

Flavour = Literal["a1111", "forge", "sdnext"]
Kind = Literal["txt2img", "img2img"]
Pixels = NDArray[np.uint8]  # [H, W, 3], RGB

# Paint what the model would paint, everywhere in a width x height picture, and return a PNG. The server lays
# the unmasked cells and pixels of the original over it. For img2img, payload["init_images"][0] and
# payload["mask"] (or None) are what the model sees: the frame after cropping, and the mask in whole cells.
Paint = Callable[[Kind, dict[str, Any]], Awaitable[bytes]]

_CELL = 8
_MASK_FIELDS = ("mask_blur_x", "mask_blur_y", "mask_round")

# how -> status, content type, body; sent instead of painting (504: before it)
_REFUSALS: dict[str, tuple[int, str, str]] = {
    "401": (401, "application/json", '{"detail": "Not authenticated"}'),
    "404": (404, "application/json", '{"detail": "Not Found"}'),
    "405": (405, "application/json", '{"detail": "Method Not Allowed"}'),
    "422": (
        422,
        "application/json",
        '{"detail": [{"loc": ["body", "width"], "msg": "value is not a valid integer",'
        ' "type": "type_error.integer"}]}',
    ),
    "422_script": (
        422,
        "application/json",
        '{"error": "HTTPException", "detail": "Script \'loopback\' not found", "body": "", "errors": ""}',
    ),
    "500": (
        500,
        "application/json",
        '{"error": "RuntimeError", "detail": "", "body": "", "errors": "mat1 and mat2 have other dtypes"}',
    ),
    "oom": (
        500,
        "application/json",
        '{"error": "OutOfMemoryError", "detail": "", "body": "",'
        ' "errors": "CUDA out of memory. Tried to allocate 4.50 GiB (GPU 0; 7.79 GiB total capacity)"}',
    ),
    "500_html": (500, "text/html", "<html><body>Internal Server Error</body></html>"),
    "502": (502, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "503": (503, "text/html", "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"),
    "504": (504, "text/html", "<html><body><h1>504 Gateway Time-out</h1></body></html>"),
    "busy": (503, "application/json", '{"detail": "The queue is full"}'),
    "redirect": (302, "text/html", ""),
    "not_json": (200, "text/html", "<!doctype html><title>Welcome</title>"),
}
# how -> painted, then spoilt
_SPOILS = (
    *("slow", "drop", "half", "cut_json", "empty", "not_image", "data_url", "grid", "jpeg", "bad_info"),
    *("wrong_checkpoint", "wrong_sampler", "wrong_size", "wrong_seed"),
)
FAULTS = (*_REFUSALS, *_SPOILS, "progress_500", "interrupt_500")


class _Common(BaseModel):
    """Fields of txt2img and img2img, with AUTOMATIC1111's types and defaults."""

    prompt: str | None = ""
    negative_prompt: str | None = ""
    styles: list[str] | None = None
    seed: int | None = -1
    subseed: int | None = -1
    subseed_strength: float | None = 0
    seed_resize_from_h: int | None = -1
    seed_resize_from_w: int | None = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int | None = 1
    n_iter: int | None = 1
    steps: int | None = 50
    cfg_scale: float | None = 7.0
    width: int | None = 512
    height: int | None = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool | None = False
    do_not_save_grid: bool | None = False
    eta: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool | None = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool | None = False
    firstpass_image: str | None = None
    comments: dict[str, Any] | None = None
    sampler_index: str = "Euler"
    script_name: str | None = None
    script_args: list[Any] = []
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, Any] = {}
    force_task_id: str | None = None
    infotext: str | None = None


class _Txt2Img(_Common):
    enable_hr: bool | None = False
    denoising_strength: float | None = 0.75
    firstphase_width: int | None = 0
    firstphase_height: int | None = 0
    hr_scale: float | None = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = 0
    hr_resize_x: int | None = 0
    hr_resize_y: int | None = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str | None = ""
    hr_negative_prompt: str | None = ""


class _Img2Img(_Common):
    init_images: list[Any] | None = None
    resize_mode: int | None = 0
    denoising_strength: float | None = 0.75
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur_x: int | None = 4
    mask_blur_y: int | None = 4
    mask_blur: int | None = None
    mask_round: bool | None = True
    inpainting_fill: int | None = 0
    inpaint_full_res: bool | None = True
    inpaint_full_res_padding: int | None = 0
    inpainting_mask_invert: int | None = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    include_init_images: bool = False


@cache
def _schema(flavour: Flavour, kind: Kind) -> type[BaseModel]:
    """Return the request model of a server's endpoint."""
    base: type[BaseModel] = _Txt2Img if kind == "txt2img" else _Img2Img
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in base.model_fields.items()}
    if flavour == "forge":
        fields |= {
            "distilled_cfg_scale": (float | None, 3.5),
            "forge_additional_modules": (list[str] | None, None),
        }
        if kind == "txt2img":
            fields |= {"hr_additional_modules": (list[str] | None, None), "hr_cfg": (float | None, 1.0)}
    if flavour == "sdnext":
        for name in ("scheduler", "force_task_id", "infotext", *_MASK_FIELDS):
            fields.pop(name, None)
        defaults = {"width": 1024, "height": 1024, "steps": 20, "cfg_scale": 6.0, "sampler_index": "UniPC"}
        if kind == "img2img":
            defaults |= {"inpaint_full_res": False, "denoising_strength": 0.5, "mask_blur": 4}
        fields |= {name: (base.model_fields[name].annotation, value) for name, value in defaults.items()}
    return create_model(f"StableDiffusionProcessing{kind.title()}", **fields)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it came; `unknown` are the fields that this flavour's API does not have."""

    method: str
    path: str
    payload: dict[str, Any]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """Hold a picture half way: wait for `reached`, set `release` to let it go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _State:
    """What the server is doing, as /progress tells it."""

    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    sampling_step: int = 0
    sampling_steps: int = 0
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    picture: Image.Image | None = None  # what is being painted, once it is known

    def begin(self, job: str) -> None:
        self.job, self.job_count = job, -1
        self.job_timestamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        self.sampling_step = self.sampling_steps = 0
        self.picture = None
        self.interrupted.clear()

    def end(self) -> None:
        self.job, self.job_count = "", 0

    @property
    def share(self) -> float:
        return self.sampling_step / self.sampling_steps if self.sampling_steps else 0.0

    def snapshot(self) -> dict[str, Any]:
        return {
            "skipped": False,
            "interrupted": self.interrupted.is_set(),
            "stopping_generation": False,
            "job": self.job,
            "job_count": self.job_count,
            "job_timestamp": self.job_timestamp,
            "job_no": 0,
            "sampling_step": self.sampling_step,
            "sampling_steps": self.sampling_steps,
        }


class LoopbackA1111:
    """Serve the API on 127.0.0.1 while the context is open.

    `auth` is (user, password). `step_seconds` is the time a sampling step takes. `requests` records all of
    them; `interrupts` counts the interrupts; `most_in_flight` is how many pictures were asked for at once.
    """

    def __init__(
        self,
        *,
        flavour: Flavour = "a1111",
        auth: tuple[str, str] | None = None,
        paint: Paint | None = None,
        step_seconds: float = 0,
        slow_seconds: float = 30,
        checkpoints: tuple[str, ...] = ("pastel-streets_v2", "sd15/dreamy_8"),
        samplers: tuple[str, ...] = ("Euler a", "Euler", "DPM++ 2M", "DDIM"),
        port: int = 0,
    ) -> None:
        self.flavour: Flavour = flavour
        self.requests: list[Recorded] = []
        self.interrupts = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.checkpoint = checkpoints[0]
        self.state = _State()
        self._auth = auth
        self._paint = paint or paint_procedurally
        self._step_seconds = step_seconds
        self._slow_seconds = slow_seconds
        self._checkpoints = checkpoints
        self._samplers = samplers
        self._port = port
        self._faults: dict[str, deque[str]] = {}  # endpoint -> how, first in first out
        self._gates: deque[Gate] = deque()
        self._opened: list[Gate] = []
        self._queue = asyncio.Lock()
        self._news = asyncio.Event()
        self._jobs: set[asyncio.Task[dict[str, Any] | web.Response]] = set()
        app = web.Application(client_max_size=256 * 2**20, middlewares=[self._guard])
        for method, name, handler in (
            ("POST", "txt2img", self._txt2img),
            ("POST", "img2img", self._img2img),
            ("GET", "progress", self._progress),
            ("POST", "interrupt", self._interrupt),
            ("GET", "options", self._get_options),
            ("POST", "options", self._set_options),
            ("GET", "samplers", self._list_samplers),
            ("GET", "sd-models", self._list_checkpoints),
        ):
            app.router.add_route(method, f"/sdapi/v1/{name}", handler)
        self._runner = web.AppRunner(app, shutdown_timeout=2, access_log=None)

    async def __aenter__(self) -> LoopbackA1111:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.state.interrupted.set()
        for gate in self._opened:
            gate.release.set()
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        """The URL without user and password."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The URL with user and password, if it wants any."""
        if self._auth is None:
            return self.address
        user, password = (quote(part, safe="") for part in self._auth)
        return f"http://{user}:{password}@127.0.0.1:{self._port}"

    @property
    def painted(self) -> list[Recorded]:
        """The txt2img and img2img requests that came."""
        return [seen for seen in self.requests if seen.path in ("txt2img", "img2img")]

    def fail(self, *, how: str, next: int = 1) -> None:  # noqa: A002
        """Spoil the next requests for a picture (for progress_500 and interrupt_500: of that kind)."""
        if how not in FAULTS:
            raise ValueError(f"{how!r} is none of {', '.join(FAULTS)}")
        endpoint = how.removesuffix("_500") if how in ("progress_500", "interrupt_500") else "paint"
        self._faults.setdefault(endpoint, deque()).extend([how] * next)

    def count(self, path: str) -> int:
        """Return how many requests came to an endpoint, such as "progress"."""
        return sum(seen.path == path for seen in self.requests)

    async def asked(self, path: str, times: int) -> None:
        """Wait until so many requests came to an endpoint."""
        while self.count(path) < times:
            self._news.clear()
            await self._news.wait()

    def hold(self) -> Gate:
        """Stop the next picture half way until released or interrupted."""
        gate = Gate()
        self._gates.append(gate)
        self._opened.append(gate)
        return gate

    # -- endpoints --------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._auth is not None and request.path.startswith("/sdapi/"):
            given = request.headers.get("Authorization", "")
            if given != aiohttp.encode_basic_auth(*self._auth):
                words = "Incorrect username or password" if given else "Not authenticated"
                refusal = _error(401, "HTTPException", detail=words)
                refusal.headers["WWW-Authenticate"] = "Basic"
                return refusal
        try:
            return await handler(request)
        except web.HTTPException as err:
            return web.json_response({"detail": err.reason}, status=err.status)

    async def _txt2img(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("txt2img", request)

    async def _img2img(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("img2img", request)

    async def _progress(self, request: web.Request) -> web.StreamResponse:
        self._record(request, dict(request.query))
        if self._next_fault("progress"):
            return _error(500, "RuntimeError", errors="the live preview failed")
        state = self.state
        idle = state.job_count == 0
        preview = None
        if not idle and state.picture is not None and request.query.get("skip_current_image") != "true":
            preview = _b64(await asyncio.to_thread(_unfinished, state.picture, state.share))
        return web.json_response(
            {
                "progress": 0.0 if idle else min(0.01 + state.share, 1.0),
                "eta_relative": 0.0,
                "state": state.snapshot(),
                "current_image": preview,
                "textinfo": None,
            }
        )

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        self._record(request, {})
        if self._next_fault("interrupt"):
            return _error(500, "RuntimeError")
        self.interrupts += 1
        self.state.interrupted.set()
        return web.json_response({})

    async def _get_options(self, request: web.Request) -> web.StreamResponse:
        self._record(request, {})
        return web.json_response(
            {
                "samples_format": "png",
                "sd_model_checkpoint": _title(self.checkpoint),
                "sd_checkpoint_hash": hashlib.sha256(self.checkpoint.encode()).hexdigest(),
                "live_previews_enable": True,
                "show_progress_every_n_steps": 1,
                "CLIP_stop_at_last_layers": 1,
            }
        )

    async def _set_options(self, request: web.Request) -> web.StreamResponse:
        options = await request.json()
        self._record(request, options)
        wanted = options.get("sd_model_checkpoint")
        if wanted is not None:
            known = self._find_checkpoint(wanted)
            if known is None:
                return _error(500, "RuntimeError", errors=f"model {wanted!r} not found")
            self.checkpoint = known
        return web.json_response(None)

    async def _list_samplers(self, request: web.Request) -> web.StreamResponse:
        self._record(request, {})
        return web.json_response(
            [
                {"name": name, "aliases": ["k_" + name.lower().replace(" ", "_")], "options": {}}
                for name in self._samplers
            ]
        )

    async def _list_checkpoints(self, request: web.Request) -> web.StreamResponse:
        self._record(request, {})
        return web.json_response(
            [
                {
                    "title": _title(name),
                    "model_name": name.rpartition("/")[2],
                    "hash": _short_hash(name),
                    "sha256": hashlib.sha256(name.encode()).hexdigest(),
                    "filename": f"/models/Stable-diffusion/{name}.safetensors",
                    "config": None,
                }
                for name in self._checkpoints
            ]
        )

    # -- painting ---------------------------------------------------------------------------------------

    async def _answer(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        schema = _schema(self.flavour, kind)
        self._record(request, payload, tuple(sorted(set(payload) - set(schema.model_fields))))
        fault = self._next_fault("paint")
        if fault in _REFUSALS and fault != "504":
            return _refuse(fault)
        try:
            asked = schema.model_validate(payload).model_dump()
        except ValidationError as err:
            details = [
                {"loc": ["body", *item["loc"]], "msg": item["msg"], "type": item["type"]}
                for item in err.errors(include_url=False)
            ]
            return web.json_response({"detail": details}, status=422)
        if kind == "img2img" and asked["init_images"] is None:
            return _error(404, "HTTPException", detail="Init image not found")
        if asked["script_name"]:
            return _error(422, "HTTPException", detail=f"Script '{asked['script_name']}' not found")
        job = asyncio.create_task(self._job(kind, asked, fault))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await asyncio.sleep(0)  # the job begins
        if fault == "504":
            return _refuse(fault)  # and paint on, as the server behind a proxy does
        if fault == "drop" and request.transport is not None:
            request.transport.abort()  # and paint on, as the real one does
        answer = await job
        return answer if isinstance(answer, web.Response) else await self._send(request, answer, fault)

    async def _job(self, kind: Kind, asked: dict[str, Any], fault: str) -> dict[str, Any] | web.Response:
        """Wait for the turn, paint, return the answer's JSON or the error that an exception becomes."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with self._queue:
                self.state.begin(f"scripts_{kind}" if self.flavour != "sdnext" else f"api-{kind}")
                try:
                    return await self._run(kind, asked, fault)
                finally:
                    self.state.end()
        except _Refused as err:
            return _error(500, err.name, detail=err.detail, errors=err.words)
        except Exception as err:
            log.exception("Painting failed")
            return _error(500, type(err).__name__, errors=str(err))
        finally:
            self.in_flight -= 1

    async def _run(self, kind: Kind, asked: dict[str, Any], fault: str) -> dict[str, Any]:
        """Paint one request and return the answer's JSON."""
        settings = asked["override_settings"]
        if settings is None and self.flavour == "forge" and kind == "txt2img":
            raise _Refused("AttributeError", words="'NoneType' object has no attribute 'get'")
        checkpoint = self._choose_checkpoint(kind, settings or {})
        if self.flavour == "forge" and asked.get("enable_hr") and not asked["hr_additional_modules"]:
            raise _Refused("TypeError", words="argument of type 'NoneType' is not iterable")
        if fault == "wrong_checkpoint":
            checkpoint = next(name for name in self._checkpoints if name != checkpoint)
        sampler, schedule = self._choose_sampler(asked)
        if fault == "wrong_sampler":
            sampler = next(name for name in self._samplers if name != sampler)
        if fault == "wrong_size":
            asked["width"], asked["height"] = asked["width"] // 2, asked["height"] // 2
        seed = asked["seed"] if asked["seed"] not in (None, -1) else 1234567890
        asked["seed"] = seed + 1 if fault == "wrong_seed" else seed
        frame = None
        if kind == "img2img":
            frame = await asyncio.to_thread(make_frame, asked)
        picture = await self._sample(kind, asked, frame, slow=fault == "slow")
        if frame is not None:
            picture = await asyncio.to_thread(frame.lay_over, picture)
        return await asyncio.to_thread(
            _describe, kind, asked, picture, fault, checkpoint, sampler, schedule, self.state.job_timestamp
        )

    async def _sample(
        self, kind: Kind, asked: dict[str, Any], frame: Frame | None, *, slow: bool
    ) -> Image.Image:
        """Go through the steps; return the picture, blurred where it was interrupted."""
        state = self.state
        state.job_count = 1
        state.sampling_steps = steps = max(asked["steps"], 1)
        seen = asked if frame is None else asked | frame.as_payload()
        state.picture = _open_png(await self._paint(kind, seen)).convert("RGB")
        gate = self._gates.popleft() if self._gates else None
        for step in range(steps):
            state.sampling_step = step
            if state.interrupted.is_set():
                break
            if gate is not None and step == steps // 2:
                gate.reached.set()
                await _first(gate.release.wait(), state.interrupted.wait())
            if slow and step == steps // 2:
                await _first(asyncio.sleep(self._slow_seconds), state.interrupted.wait())
            await asyncio.sleep(self._step_seconds)
        if not state.interrupted.is_set():
            return state.picture
        return _open_png(await asyncio.to_thread(_unfinished, state.picture, state.share))

    async def _send(self, request: web.Request, answer: dict[str, Any], fault: str) -> web.StreamResponse:
        body = json.dumps(answer).encode()
        if fault == "cut_json":
            body = body[: len(body) // 2]
        if fault != "half" or request.transport is None:
            return web.Response(body=body, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        request.transport.close()
        return response

    def _choose_checkpoint(self, kind: Kind, settings: dict[str, Any]) -> str:
        wanted = settings.get("sd_model_checkpoint")
        known = self._find_checkpoint(wanted)
        if known is None and wanted is not None and self.flavour == "forge" and kind == "txt2img":
            raise _Refused("RuntimeError", words=f"model {wanted!r} not found")
        return known or self.checkpoint

    def _find_checkpoint(self, wanted: str | None) -> str | None:
        for name in self._checkpoints:
            file = f"{name}.safetensors"
            short = name.rpartition("/")[2]
            if wanted in (name, short, file, f"{short}.safetensors", _title(name), _short_hash(name)):
                return name
        return None

    def _choose_sampler(self, asked: dict[str, Any]) -> tuple[str, str]:
        """Return sampler and schedule; an unknown sampler silently becomes the first."""
        wanted = asked["sampler_name"] or (asked["sampler_index"] if self.flavour != "sdnext" else "")
        schedule = asked.get("scheduler") or "Automatic"
        if self.flavour != "sdnext":
            for label in ("Karras", "Exponential"):
                if wanted.endswith(f" {label}"):
                    wanted, schedule = wanted.removesuffix(f" {label}"), label
        return (wanted if wanted in self._samplers else self._samplers[0]), schedule

    def _next_fault(self, endpoint: str) -> str:
        waiting = self._faults.get(endpoint)
        return waiting.popleft() if waiting else ""

    def _record(self, request: web.Request, payload: dict[str, Any], unknown: tuple[str, ...] = ()) -> None:
        path = request.path.removeprefix("/sdapi/v1/")
        self.requests.append(Recorded(request.method, path, payload, unknown))
        self._news.set()


class _Refused(Exception):
    """Say that the request fails as an exception in the server."""

    def __init__(self, name: str, *, detail: str = "", words: str = "") -> None:
        super().__init__(name)
        self.name, self.detail, self.words = name, detail, words


async def _first(*waits: Awaitable[Any]) -> None:
    """Wait for one of several; drop the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _refuse(fault: str) -> web.Response:
    status, content_type, text = _REFUSALS[fault]
    headers = {"Location": "/elsewhere"} if fault == "redirect" else {}
    return web.Response(status=status, text=text, content_type=content_type, headers=headers)


def _error(status: int, error: str, *, detail: str = "", errors: str = "") -> web.Response:
    body = {"error": error, "detail": detail, "body": "", "errors": errors}
    return web.json_response(body, status=status)


def _short_hash(checkpoint: str) -> str:
    return hashlib.sha256(checkpoint.encode()).hexdigest()[:10]


def _title(checkpoint: str) -> str:
    return f"{checkpoint}.safetensors [{_short_hash(checkpoint)}]"


def _describe(
    kind: Kind,
    asked: dict[str, Any],
    picture: Image.Image,
    fault: str,
    checkpoint: str,
    sampler: str,
    schedule: str,
    timestamp: str,
) -> dict[str, Any]:
    """Return the answer's JSON for a finished picture."""
    model = checkpoint.rpartition("/")[2]
    strength = asked["denoising_strength"] if kind == "img2img" else None
    values = {
        "Steps": asked["steps"],
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": asked["cfg_scale"],
        "Seed": asked["seed"],
        "Size": f"{asked['width']}x{asked['height']}",
        "Model hash": _short_hash(checkpoint),
        "Model": model,
        "Denoising strength": strength,
        "Version": "v1.10.1",
    }
    line = ", ".join(f"{key}: {value}" for key, value in values.items() if value is not None)
    negative = f"\nNegative prompt: {asked['negative_prompt']}" if asked["negative_prompt"] else ""
    infotext = f"{asked['prompt']}{negative}\n{line}"
    info = {
        "prompt": asked["prompt"],
        "all_prompts": [asked["prompt"]],
        "negative_prompt": asked["negative_prompt"],
        "all_negative_prompts": [asked["negative_prompt"]],
        "seed": asked["seed"],
        "all_seeds": [asked["seed"]],
        "subseed": 1,
        "all_subseeds": [1],
        "subseed_strength": asked["subseed_strength"],
        "width": asked["width"],
        "height": asked["height"],
        "sampler_name": sampler,
        "cfg_scale": asked["cfg_scale"],
        "steps": asked["steps"],
        "batch_size": asked["batch_size"],
        "restore_faces": bool(asked["restore_faces"]),
        "face_restoration_model": None,
        "sd_model_name": model,
        "sd_model_hash": _short_hash(checkpoint),
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": asked["seed_resize_from_w"],
        "seed_resize_from_h": asked["seed_resize_from_h"],
        "denoising_strength": strength,
        "extra_generation_params": {"Schedule type": schedule},
        "index_of_first_image": 0,
        "infotexts": [infotext],
        "styles": asked["styles"] or [],
        "job_timestamp": timestamp,
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": "v1.10.1",
    }
    images = [_b64(_encode(picture, infotext, "JPEG" if fault == "jpeg" else "PNG"))]
    if fault == "grid":
        images.insert(0, _b64(_encode(picture.resize((64, 64)), infotext)))
        info["index_of_first_image"] = 1
        info["infotexts"].insert(0, infotext)
    if fault == "data_url":
        images = [f"data:image/png;base64,{images[0]}"]
    if fault == "empty":
        images = []
    if fault == "not_image":
        images = [_b64(base64.b64decode(images[0])[:200])]
    echoed = {key: value for key, value in asked.items() if key not in ("script_args", "alwayson_scripts")}
    if kind == "img2img" and not asked["include_init_images"]:
        echoed["init_images"] = echoed["mask"] = None
    return {
        "images": images if asked["send_images"] else [],
        "parameters": echoed,
        "info": "not JSON" if fault == "bad_info" else json.dumps(info),
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _encode(picture: Image.Image, infotext: str = "", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        if infotext:
            text.add_text("parameters", infotext)
        picture.save(buffer, "PNG", pnginfo=text)
    else:
        picture.save(buffer, kind, quality=80)
    return buffer.getvalue()


def _open_png(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def _unfinished(picture: Image.Image, share: float) -> bytes:
    """Return a picture as it looks when only `share` of its steps are done."""
    return _encode(picture.filter(ImageFilter.GaussianBlur(2 + 24 * (1 - share))))


# -- what the real servers do with a mask ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An img2img request after the server's preparations."""

    seen: Pixels  # [height, width, 3]: what the model starts from
    cells: NDArray[np.bool_] | None  # [height / 8, width / 8], True = painted; None = no mask, all is
    base: Pixels  # [h, w, 3]: the original picture
    overlay: NDArray[np.float64]  # [h, w], 1 = painted, 0 = original
    box: tuple[int, int, int, int]  # x1, y1, x2, y2: where `seen` lies in `base`

    def as_payload(self) -> dict[str, Any]:
        """Return what the model sees, in the request's own fields."""
        mask = None
        if self.cells is not None:
            mask = _b64(_encode(Image.fromarray(_enlarge(self.cells).astype(np.uint8) * 255)))
        return {"init_images": [_b64(_encode(Image.fromarray(self.seen)))], "mask": mask}

    def lay_over(self, painted: Image.Image) -> Image.Image:
        """Keep the unmasked cells, paste the frame back, lay the original over what the mask leaves out."""
        inside = np.asarray(painted.resize(self.seen.shape[1::-1]).convert("RGB"))  # [height, width, 3]
        if self.cells is not None:
            inside = np.where(_enlarge(self.cells)[:, :, None], inside, self.seen)
        x1, y1, x2, y2 = self.box
        full = self.base.copy()
        full[y1:y2, x1:x2] = np.asarray(
            Image.fromarray(inside).resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS)
        )
        share = self.overlay[:, :, None]
        mixed = full * share + self.base * (1 - share)  # [h, w, 3]
        return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _enlarge(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)  # [H / 8, W / 8] -> [H, W]


def make_frame(asked: dict[str, Any]) -> Frame:
    """Prepare an img2img request: blur the mask, crop, fit, shrink to latent cells, round, fill."""
    size = (asked["width"], asked["height"])
    original = _read_image(asked["init_images"][0]).convert("RGB")
    if asked["mask"] is None:
        seen = np.asarray(_fit(original, size, asked["resize_mode"]))
        whole = (0, 0, *size)
        return Frame(seen, None, seen, np.ones(seen.shape[:2]), whole)
    mask = _read_mask(_read_image(asked["mask"]))
    if asked["inpainting_mask_invert"]:
        mask = ImageOps.invert(mask)
    both = asked["mask_blur"]
    blur_x = both if both is not None else asked["mask_blur_x"]
    blur_y = both if both is not None else asked["mask_blur_y"]
    mask = Image.fromarray(_blur(_blur(np.asarray(mask), blur_x, axis=1), blur_y, axis=0))
    if asked["inpaint_full_res"]:
        base = original
        overlay = np.asarray(mask) / 255  # [h, w]
        box = _crop_box(np.asarray(mask), asked["inpaint_full_res_padding"], size)
        seen = original.crop(box).resize(size, Image.Resampling.LANCZOS)
        fitted = mask.crop(box).resize(size, Image.Resampling.LANCZOS)
    else:
        base = seen = _fit(original, size, asked["resize_mode"])
        fitted = _fit(mask, size, asked["resize_mode"])
        overlay = np.clip(np.asarray(fitted) * 2.0, 0, 255) / 255
        box = (0, 0, *size)
    shrunk = fitted.convert("RGB").resize((size[0] // _CELL, size[1] // _CELL))  # bicubic, Pillow's default
    cells = np.around(np.asarray(shrunk, np.float32)[:, :, 0] / 255) > 0
    filled = _fill(seen, fitted, cells, asked["inpainting_fill"], asked["seed"] or 0)
    return Frame(filled, cells, np.asarray(base), overlay, box)


def _read_image(text: object) -> Image.Image:
    try:
        data = str(text)
        data = data.partition(",")[2] if data.startswith("data:image/") else data
        return _open_png(base64.b64decode(data))
    except (ValueError, OSError, SyntaxError) as err:
        raise _Refused("HTTPException", detail="Invalid encoded image") from err


def _read_mask(image: Image.Image) -> Image.Image:
    """Return a mask in grey; an image with real transparency is read by its alpha."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        alpha = np.asarray(image.getchannel("A"))  # [h, w]
        return Image.fromarray(np.where(alpha > 128, 255, 0).astype(np.uint8))
    return image.convert("L")


def _fit(image: Image.Image, size: tuple[int, int], mode: int) -> Image.Image:
    if mode == 1:
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if mode == 2:
        return ImageOps.pad(image, size, Image.Resampling.LANCZOS)
    return image.resize(size, Image.Resampling.LANCZOS)


def _blur(mask: NDArray[np.uint8], sigma: float, *, axis: int) -> NDArray[np.uint8]:
    """Blur [H, W] along an axis with OpenCV's kernel: int(2.5 sigma + 0.5) px to each side."""
    if not sigma or sigma < 0:
        return mask
    reach = int(2.5 * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    pads = [(0, 0), (0, 0)]
    pads[axis] = (reach, reach)
    padded = np.pad(mask.astype(np.float64), pads, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis)  # [H, W, kernel]
    return np.rint(windows @ kernel).astype(np.uint8)


def _crop_box(mask: NDArray[np.uint8], padding: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the padded box around a mask [h, w], grown to the shape of `size` where the picture allows."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise _Refused("TypeError", words="cannot unpack non-iterable NoneType object")
    x1, x2 = max(int(columns[0]) - padding, 0), min(int(columns[-1]) + 1 + padding, width)
    y1, y2 = max(int(rows[0]) - padding, 0), min(int(rows[-1]) + 1 + padding, height)
    ratio = size[0] / size[1]
    if (x2 - x1) / (y2 - y1) > ratio:
        y1, y2 = _stretch(y1, y2, round((x2 - x1) / ratio), height)
    else:
        x1, x2 = _stretch(x1, x2, round((y2 - y1) * ratio), width)
    return x1, y1, x2, y2


def _stretch(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    """Grow low..high around its middle to `length`, within 0..limit."""
    length = min(length, limit)
    start = min(max(low - (length - (high - low)) // 2, 0), limit - length)
    return start, start + length


def _fill(image: Image.Image, mask: Image.Image, cells: NDArray[np.bool_], how: int, seed: int) -> Pixels:
    """Return what the model starts from: 0 blurred surroundings, 1 the original, 2 noise, 3 nothing."""
    pixels = np.asarray(image)
    inside = _enlarge(cells)[:, :, None]  # [H, W, 1]
    if how == 0:
        known = Image.new("RGBa", image.size)
        known.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
        spread = known.filter(ImageFilter.GaussianBlur(64)).convert("RGBA").convert("RGB")
        return np.where(np.asarray(mask)[:, :, None] > 0, np.asarray(spread), pixels)
    if how == 2:
        return np.where(inside, np.random.default_rng(seed).integers(0, 256, pixels.shape, np.uint8), pixels)
    if how == 3:
        return np.where(inside, np.uint8(127), pixels)
    return pixels


# -- a painter without a model --------------------------------------------------------------------------


_PASTELS = [(231, 196, 188), (174, 198, 207), (201, 216, 182)]  # RGB


async def paint_procedurally(kind: Kind, payload: dict[str, Any]) -> bytes:
    """Paint soft discs in the colours that the prompt names, from the seed alone; see Paint."""
    return await asyncio.to_thread(_paint_discs, kind, payload)


def _paint_discs(kind: Kind, payload: dict[str, Any]) -> bytes:
    width, height = payload["width"], payload["height"]
    words = re.findall(r"[a-z]+", payload["prompt"].lower())
    named = [ImageColor.getrgb(word)[:3] for word in words if word in ImageColor.colormap]
    palette = np.array(named or _PASTELS, np.float64)  # [N, 3]
    # The prompt takes part, so that two prompts without colours differ too.
    text = int.from_bytes(hashlib.sha256(payload["prompt"].encode()).digest()[:4], "big")
    random = np.random.default_rng((payload["seed"], text))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    shade = 0.85 + 0.15 * (y / height)[:, :, None]
    pixels = palette[0] * shade  # [H, W, 3]
    for _ in range(12):
        centre_x, centre_y = random.uniform(0, width), random.uniform(0, height)
        radius = random.uniform(0.05, 0.2) * min(width, height)
        colour = palette[random.integers(len(palette))] * random.uniform(0.8, 1.1)
        distance = np.hypot(x - centre_x, y - centre_y)
        cover = np.clip((radius - distance) / 2 + 0.5, 0, 1)[:, :, None]  # [H, W, 1]
        pixels = pixels * (1 - cover) + colour * cover
    if kind == "img2img":
        start = np.asarray(_open_png(base64.b64decode(payload["init_images"][0])).convert("RGB"))
        strength = payload["denoising_strength"]
        pixels = start * (1 - strength) + pixels * strength
    return _encode(Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)))


# -- as its own process ---------------------------------------------------------------------------------


async def _serve(options: argparse.Namespace) -> None:
    user, _, password = options.auth.partition(":")
    async with LoopbackA1111(
        flavour=options.flavour,
        auth=(user, password) if options.auth else None,
        step_seconds=options.step_seconds,
        port=options.port,
    ) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--flavour", choices=("a1111", "forge", "sdnext"), default="a1111")
    parser.add_argument("--auth", default="", help="user:password")
    parser.add_argument("--step-seconds", type=float, default=0.0)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
