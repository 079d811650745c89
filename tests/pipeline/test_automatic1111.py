"""The adapter against a loopback server with the real servers' fields, types, faults and masks."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.domain import GenerationRequest, ImageGenerator, InpaintRequest, Mask
from pipeline.errors import ConfigurationError, GeneratorError, InvalidRequest
from pipeline.generators.automatic1111 import Automatic1111
from tests.loopback_a1111 import FAULTS, Flavour, LoopbackA1111

FLAVOURS: tuple[Flavour, ...] = ("a1111", "forge", "sdnext")
FLAT = (90, 120, 150)  # RGB of the crops; no painter's colour
PASSWORD = "s3cr3t/p@ss"

Make = Callable[..., Automatic1111]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make generators with waits of milliseconds; close them afterwards."""
    made: list[Automatic1111] = []

    def build(server: LoopbackA1111 | str, **changes: Any) -> Automatic1111:
        url = server if isinstance(server, str) else server.url
        quick = {"attempts": 3, "backoff": 0.005, "poll_every": 0.01, "timeout": 20}
        made.append(Automatic1111(url=url, **quick | changes))
        return made[-1]

    yield build
    for generator in made:
        await generator.aclose()


def text(
    prompt: str = "a red coat", *, seed: int = 7, width: int = 64, height: int = 96
) -> GenerationRequest:
    return GenerationRequest(prompt, "blurry", seed, width, height, 6, 5.0)


def crop(mask: Mask, prompt: str = "a red coat") -> InpaintRequest:
    return InpaintRequest(png(mask.shape[::-1]), mask, prompt, "blurry", 7, 0.85, 6, 5.0)


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, FLAT).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    """Return [H, W, 3], RGB."""
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def changed(data: bytes) -> Mask:
    return (pixels(data) != np.array(FLAT)).any(axis=2)


def disc(size: int, radius: float) -> Mask:
    y, x = np.mgrid[0:size, 0:size]
    return np.hypot(x - size // 2 - 1, y - size // 2 + 2) <= radius


# -- requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(("checkpoint", "sampler"), [("", ""), ("dreamy_8", "DPM++ 2M")])
async def test_every_server_takes_both_requests(
    make: Make, flavour: Flavour, checkpoint: str, sampler: str
) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        generator: ImageGenerator = make(server, checkpoint=checkpoint, sampler=sampler)
        painted = await generator.generate(text())
        mended = await generator.inpaint(crop(disc(64, 12)))
        assert [seen.path for seen in server.painted] == ["txt2img", "img2img"]
        assert [seen.unknown for seen in server.painted] == [(), ()]
    assert pixels(painted.png).shape == (96, 64, 3)
    assert pixels(mended.png).shape == (64, 64, 3)
    assert painted.notes == mended.notes == ()
    assert painted.seed == mended.seed == 7
    assert painted.model.startswith("dreamy_8 [" if checkpoint else "pastel-streets_v2 [")
    assert painted.sampler == (sampler or painted.sampler)


async def test_what_is_asked_is_what_is_sent(make: Make) -> None:
    async with LoopbackA1111() as server:
        await make(server, sampler="DDIM").generate(text("twilight, ü, 雪", seed=2**32 - 1))
        sent = server.painted[0].payload
    assert {key: sent[key] for key in ("prompt", "negative_prompt", "seed", "steps", "cfg_scale")} == {
        "prompt": "twilight, ü, 雪",
        "negative_prompt": "blurry",
        "seed": 2**32 - 1,
        "steps": 6,
        "cfg_scale": 5.0,
    }
    assert (sent["width"], sent["height"], sent["sampler_name"]) == (64, 96, "DDIM")


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_picture_is_painted_over_another(make: Make, flavour: Flavour) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        generator = make(server, sampler="Euler a")
        plain = await generator.generate(text())
        over = [
            await generator.generate(replace(text(), image=png((64, 96)), strength=strength))
            for strength in (0.2, 1.0)
        ]
        assert [seen.path for seen in server.painted] == ["txt2img", "img2img", "img2img"]
        assert [seen.unknown for seen in server.painted] == [()] * 3
        sent = server.painted[1].payload
    assert (sent["width"], sent["height"], sent["denoising_strength"]) == (64, 96, 0.2)
    assert "mask" not in sent
    assert base64.b64decode(sent["init_images"][0]) == png((64, 96))
    far = [np.abs(pixels(image.png).astype(int) - np.array(FLAT)).mean() for image in (*over, plain)]
    assert far[0] < 0.3 * far[1]
    assert far[1] == pytest.approx(far[2], rel=0.01)
    assert over[0].notes == ()


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 100), (56, 64), (64, 2056)])
async def test_impossible_sides_are_refused_before_the_server_is_asked(
    make: Make, width: int, height: int
) -> None:
    async with LoopbackA1111() as server:
        with pytest.raises(InvalidRequest, match="multiples of 8"):
            await make(server).generate(text(width=width, height=height))
        assert server.requests == []


async def test_masks_that_cannot_be_painted_are_refused(make: Make) -> None:
    async with LoopbackA1111() as server:
        generator = make(server)
        with pytest.raises(InvalidRequest, match="nothing to repaint"):
            await generator.inpaint(crop(np.zeros((64, 64), bool)))
        request = InpaintRequest(png((64, 72)), disc(64, 9), "", "", 1, 0.5, 5, 5.0)
        with pytest.raises(ValueError, match="64x72"):
            await generator.inpaint(request)
        with pytest.raises(ValueError, match="66x66"):
            await generator.inpaint(crop(disc(66, 9)))
        assert server.requests == []


# -- masks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_white_is_repainted_and_the_rest_is_untouched(make: Make, flavour: Flavour) -> None:
    mask = np.zeros((64, 128), bool)
    mask[:, :48] = True
    async with LoopbackA1111(flavour=flavour) as server:
        answer = await make(server).inpaint(crop(mask))
        sent = server.painted[0].payload
    with Image.open(io.BytesIO(base64.b64decode(sent["mask"]))) as image:
        assert (image.mode, image.size) == ("L", (128, 64))
        assert np.array_equal(np.asarray(image), np.where(mask, 255, 0))
    assert sent["inpainting_mask_invert"] == 0
    assert base64.b64decode(sent["init_images"][0]) == png((128, 64))
    assert np.array_equal(changed(answer.png), mask)


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_model_starts_from_the_whole_crop_as_it_is(make: Make, flavour: Flavour) -> None:
    seen: list[dict[str, Any]] = []

    async def paint(kind: str, payload: dict[str, Any]) -> bytes:
        seen.append(payload)
        return png((payload["width"], payload["height"]))

    sent = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(sent).save(buffer, "PNG")
    mask = np.zeros((64, 96), bool)
    mask[20:30, 20:30] = True
    async with LoopbackA1111(flavour=flavour, paint=paint) as server:
        await make(server).inpaint(InpaintRequest(buffer.getvalue(), mask, "red", "", 7, 0.85, 6, 5.0))
    assert np.array_equal(pixels(base64.b64decode(seen[0]["init_images"][0])), sent)
    assert seen[0]["denoising_strength"] == 0.85


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("radius", [1, 4, 8, 22])
async def test_a_small_disc_is_repainted_whole(make: Make, flavour: Flavour, radius: int) -> None:
    mask = disc(256, radius)
    async with LoopbackA1111(flavour=flavour) as server:
        answer = await make(server).inpaint(crop(mask))
    painted = changed(answer.png)
    assert painted[mask].all()
    rows, columns = np.nonzero(painted)
    near = np.hypot(columns - 127, rows - 126) <= radius + 8 * 2**0.5
    assert near.all()


async def test_the_same_disc_with_a_blurred_mask_is_not_painted_at_all() -> None:
    """Show that the loopback's arithmetic can fail the tests above, as the real servers do."""
    body = {
        "prompt": "red",
        "init_images": [base64.b64encode(png((256, 256))).decode()],
        "mask": _mask_base64(disc(256, 22)),
        "width": 256,
        "height": 256,
        "steps": 2,
        "mask_blur": 20,
        "inpaint_full_res": False,
        "inpainting_fill": 1,
    }
    async with LoopbackA1111() as server:
        answer = await _post(server, "img2img", body)
    assert not changed(base64.b64decode(answer["images"][0])).any()


async def test_a_strap_three_pixels_wide_is_repainted_whole(make: Make) -> None:
    y, x = np.mgrid[0:128, 0:128]
    mask = (np.abs(x - y) <= 1) & (x > 20) & (x < 100)
    async with LoopbackA1111() as server:
        answer = await make(server).inpaint(crop(mask))
    assert changed(answer.png)[mask].all()


# -- faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", ["drop", "half", "cut_json", "empty", "not_image", "502", "503", "504", "busy"]
)
@pytest.mark.parametrize("flavour", ["a1111", "forge"])
async def test_passing_faults_are_retried_with_the_same_request(
    make: Make, how: str, flavour: Flavour
) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        generator = make(server)
        undisturbed = await generator.generate(text())
        server.fail(how=how, next=2)
        answer = await generator.generate(text())
        first, *retries = (seen.payload for seen in server.painted)
        assert retries == [first] * 3
        assert server.most_in_flight == 1
    assert answer.png == undisturbed.png
    assert answer.notes == ()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("drop", "broke off"),
        ("half", "broke off"),
        ("cut_json", "cut off or garbled"),
        ("empty", "without a picture"),
        ("not_image", "broken picture"),
        ("502", "busy or not ready"),
        ("503", "busy or not ready"),
        ("504", "busy or not ready"),
        ("busy", "busy or not ready"),
    ],
)
async def test_lasting_faults_end_in_a_clear_message(make: Make, how: str, words: str) -> None:
    async with LoopbackA1111() as server:
        server.fail(how=how, next=3)
        with pytest.raises(GeneratorError, match=words) as caught:
            await make(server).generate(text())
        assert len(server.painted) == 3
        assert caught.value.retryable
        # Nothing is left behind: the same generator paints the next picture.
        assert (await make(server).generate(text())).notes == ()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("401", "wants a user name and password: set them in DIFFUSION_URL"),
        ("404", "API is not enabled: start it with --api"),
        ("405", "API is not enabled: start it with --api"),
        ("422", "does not accept the request. It said: width: value is not a valid integer"),
        ("422_script", "It said: Script 'loopback' not found"),
        ("500", "error 500. It said: RuntimeError: mat1 and mat2 have other dtypes"),
        (
            "oom",
            "ran out of memory: ask for a smaller picture. It said: OutOfMemoryError: CUDA out of memory",
        ),
        ("500_html", "failed with error 500."),
        ("redirect", "failed with error 302."),
        ("not_json", "not a Stable Diffusion server: check the address"),
    ],
)
async def test_what_a_retry_cannot_help_is_said_at_once(make: Make, how: str, words: str) -> None:
    async with LoopbackA1111() as server:
        server.fail(how=how)
        with pytest.raises(GeneratorError) as caught:
            await make(server).generate(text())
        assert len(server.painted) == 1
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not caught.value.retryable


async def test_wrong_credentials_are_told_from_none(make: Make) -> None:
    async with LoopbackA1111(auth=("bot", PASSWORD)) as server:
        with pytest.raises(GeneratorError, match="wants a user name"):
            await make(server.address).generate(text())
        with pytest.raises(GeneratorError, match="does not accept the user name and password"):
            await make(server.address.replace("//", "//bot:wrong@")).generate(text())
        assert (await make(server).generate(text())).notes == ()


@pytest.mark.parametrize("how", [*FAULTS, "refused"])
async def test_no_message_and_no_log_has_the_password(
    make: Make, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    async with LoopbackA1111(auth=("bot", PASSWORD)) as server:
        url = server.url
        if how != "refused":
            server.fail(how=how, next=9)
        else:
            url = url.replace(server.address.rpartition(":")[2], str(_closed_port()))
        generator = make(url, timeout=0.3 if how == "slow" else 20)
        try:
            answer = await generator.generate(text(), lambda share, preview: None)
        except GeneratorError as err:
            told += [str(err), *traceback.format_exception(err)]
            link: BaseException | None = err
            while link is not None:
                told.append(repr(link))
                link = link.__cause__ or link.__context__
        else:
            told += answer.notes
    told += [caplog.text, *(str(record.__dict__) for record in caplog.records)]
    encoded = base64.b64encode(f"bot:{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, encoded, "s3cr3t%2Fp%40ss"):
        assert not any(secret in line for line in told)


async def test_an_exception_in_the_server_is_quoted_in_one_short_line(make: Make) -> None:
    async def paint(kind: str, payload: dict[str, Any]) -> bytes:
        raise ArithmeticError("NaNs\nin\x1b[31m Unet " + "@everyone " * 99)

    async with LoopbackA1111(paint=paint) as server:
        with pytest.raises(GeneratorError, match="ArithmeticError: NaNs in ") as caught:
            await make(server).generate(text())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


async def test_a_server_that_echoes_the_password_is_not_quoted(make: Make) -> None:
    async with LoopbackA1111(auth=("bot", PASSWORD), flavour="forge") as server:
        generator = make(server, checkpoint=PASSWORD)
        with pytest.raises(GeneratorError, match="model '…' not found"):
            await generator.generate(text())


async def test_no_server_is_retried_then_told(make: Make) -> None:
    with pytest.raises(GeneratorError, match="cannot be reached") as caught:
        await make(f"http://127.0.0.1:{_closed_port()}").generate(text())
    assert caught.value.retryable


async def test_a_server_that_starts_late_is_reached(make: Make) -> None:
    refused = asyncio.Event()
    handler = logging.Handler()
    handler.emit = lambda record: refused.set()  # the retry is logged
    logger = logging.getLogger("pipeline.generators.automatic1111")
    logger.addHandler(handler)
    try:
        port = _closed_port()
        generator = make(f"http://127.0.0.1:{port}", attempts=100)
        painting = asyncio.create_task(generator.generate(text()))
        await refused.wait()
        async with LoopbackA1111(port=port):
            assert (await painting).seed == 7
    finally:
        logger.removeHandler(handler)


async def test_a_server_that_takes_too_long_is_stopped(make: Make) -> None:
    async with LoopbackA1111() as server:
        server.fail(how="slow")
        generator = make(server, timeout=1.5)
        with pytest.raises(GeneratorError, match=r"did not finish the picture in 1\.5 seconds") as caught:
            await generator.generate(text())
        assert caught.value.retryable
        assert len(server.painted) == 1  # the time is used up: asking again would take as long again
        assert server.interrupts == 1
        assert (await generator.generate(text())).notes == ()
        assert server.most_in_flight == 1


@pytest.mark.parametrize("how", ["drop", "504"])
async def test_a_picture_that_outlives_its_request_is_stopped_before_it_is_asked_again(
    make: Make, how: str
) -> None:
    async with LoopbackA1111(flavour="forge") as server:
        server.hold()  # never released: only an interrupt ends the first
        server.fail(how=how)
        answer = await make(server).inpaint(crop(disc(64, 9)))
        assert server.interrupts >= 1
        assert server.most_in_flight == 1
        assert len(server.painted) == 2
    assert changed(answer.png)[disc(64, 9)].all()


async def test_a_closed_generator_paints_nothing(make: Make) -> None:
    async with LoopbackA1111() as server:
        generator = make(server)
        await generator.aclose()
        with pytest.raises(GeneratorError, match="closed"):
            await generator.generate(text())
        assert server.requests == []


async def test_closing_ends_a_picture_under_way(make: Make) -> None:
    async with LoopbackA1111() as server:
        gate = server.hold()
        generator = make(server)
        painting = asyncio.create_task(generator.generate(text()))
        await gate.reached.wait()
        await generator.aclose()
        with pytest.raises(GeneratorError):
            await painting


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:7860", "ftp://h", "http://", f"http://bot:{PASSWORD}#@h", f"http://bot:{PASSWORD}@h:x"],
)
def test_a_bad_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DIFFUSION_URL") as caught:
        Automatic1111(url=url)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


# -- progress, cancelling, taking turns -----------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_progress_rises_and_shows_previews(make: Make, flavour: Flavour) -> None:
    seen: list[tuple[float, bytes | None]] = []
    async with LoopbackA1111(flavour=flavour) as server:
        gate = server.hold()
        painting = asyncio.create_task(
            make(server).generate(text(), lambda share, preview: seen.append((share, preview)))
        )
        await gate.reached.wait()
        await server.asked("progress", server.count("progress") + 3)
        halfway = seen[-1]
        server.state.sampling_step = 0  # as when a retry begins anew
        await server.asked("progress", server.count("progress") + 3)
        gate.release.set()
        answer = await painting
        count = len(seen)
        assert not [task for task in asyncio.all_tasks() if "_watch" in repr(task)]
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert seen[-1] == (1.0, None)
    share, preview = halfway
    assert share == pytest.approx(0.51)
    assert preview is not None
    with Image.open(io.BytesIO(preview)) as image:
        assert image.size == (64, 96)
    assert preview != answer.png
    assert len(seen) == count


async def test_failing_polls_do_no_harm(make: Make) -> None:
    seen: list[float] = []
    async with LoopbackA1111() as server:
        server.fail(how="progress_500", next=10**6)
        gate = server.hold()
        painting = asyncio.create_task(
            make(server).generate(text(), lambda share, preview: seen.append(share))
        )
        await gate.reached.wait()
        await server.asked("progress", 3)
        gate.release.set()
        assert (await painting).notes == ()
    assert seen == [1.0]


async def test_a_callback_that_fails_does_not_cost_the_picture(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    called = asyncio.Event()

    def fail(share: float, preview: bytes | None) -> None:
        if share < 1:
            called.set()
            raise LookupError("the message is gone")

    async with LoopbackA1111() as server:
        gate = server.hold()
        painting = asyncio.create_task(make(server).generate(text(), fail))
        await called.wait()
        gate.release.set()
        assert (await painting).seed == 7
    assert "the message is gone" in caplog.text


async def test_cancelling_interrupts_the_server(make: Make) -> None:
    async with LoopbackA1111() as server:
        generator = make(server)
        undisturbed = await generator.generate(text())
        gate = server.hold()
        painting = asyncio.create_task(generator.generate(text(), lambda share, preview: None))
        await gate.reached.wait()
        painting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await painting
        assert server.interrupts == 1
        assert not [task for task in asyncio.all_tasks() if "_watch" in repr(task)]
        # The next one is not cut short by it.
        assert (await generator.generate(text())).png == undisturbed.png
        assert server.most_in_flight == 1


async def test_cancelling_one_who_waits_interrupts_nobody(make: Make) -> None:
    async with LoopbackA1111() as server:
        gate = server.hold()
        generator = make(server)
        first = asyncio.create_task(generator.generate(text()))
        await gate.reached.wait()
        second = asyncio.create_task(generator.generate(text("another")))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.release.set()
        assert (await first).notes == ()
        assert server.interrupts == 0
        assert len(server.painted) == 1


async def test_cancelling_when_interrupting_fails_still_cancels(make: Make) -> None:
    async with LoopbackA1111() as server:
        gate = server.hold()
        server.fail(how="interrupt_500")
        painting = asyncio.create_task(make(server).generate(text()))
        await gate.reached.wait()
        painting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await painting


async def test_a_job_of_the_servers_own_page_is_left_alone(make: Make) -> None:
    seen: list[float] = []
    async with LoopbackA1111() as server:
        gate = server.hold()
        painting = asyncio.create_task(
            make(server).generate(text(), lambda share, preview: seen.append(share))
        )
        await gate.reached.wait()
        server.state.job = "task(k3j2h1)"  # ours waits behind somebody's who sits at the server
        # A poll is sent when the one before it has been dealt with.
        await server.asked("progress", server.count("progress") + 1)
        seen.clear()
        await server.asked("progress", server.count("progress") + 3)
        painting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await painting
        assert server.interrupts == 0
    assert seen == []


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_picture_that_somebody_else_stopped_is_not_taken_for_finished(
    make: Make, flavour: Flavour
) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        gate = server.hold()
        painting = asyncio.create_task(make(server).generate(text()))
        await gate.reached.wait()
        server.state.interrupted.set()
        with pytest.raises(GeneratorError, match="was stopped on the Stable Diffusion server") as caught:
            await painting
        assert caught.value.retryable
        assert len(server.painted) == 1


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_one_request_at_a_time(make: Make, flavour: Flavour) -> None:
    masks = [disc(64, 5 + index) for index in range(4)]
    async with LoopbackA1111(flavour=flavour) as server:
        generator = make(server)
        answers = await asyncio.gather(*(generator.inpaint(crop(mask)) for mask in masks))
        assert server.most_in_flight == 1
        assert len(server.painted) == 4
    for mask, answer in zip(masks, answers, strict=True):
        assert changed(answer.png)[mask].all()


# -- what the server silently does otherwise ------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "note"),
    [
        ("wrong_sampler", "The server used the sampler Euler a instead of DDIM."),
        ("wrong_checkpoint", "The server used the checkpoint pastel-streets_v2 instead of dreamy_8."),
        ("wrong_seed", "The server used the seed 8 instead of 7."),
        ("wrong_size", "The server painted 32×48 instead of 64×96: the picture was resized."),
        ("bad_info", "The server did not say what it painted with."),
    ],
)
async def test_silent_fallbacks_are_noted(make: Make, how: str, note: str) -> None:
    async with LoopbackA1111() as server:
        server.fail(how=how)
        answer = await make(server, sampler="DDIM", checkpoint="dreamy_8").generate(text())
    assert answer.notes == (note,)
    assert pixels(answer.png).shape == (96, 64, 3)
    assert answer.seed == (8 if how == "wrong_seed" else 7)


@pytest.mark.parametrize("flavour", ["a1111", "sdnext"])
async def test_unknown_names_are_noted(make: Make, flavour: Flavour) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        answer = await make(server, sampler="Euler z", checkpoint="nowhere").generate(text())
    assert answer.notes == (
        "The server used the sampler Euler a instead of Euler z.",
        "The server used the checkpoint pastel-streets_v2 instead of nowhere.",
    )
    assert answer.sampler == "Euler a"
    assert answer.model.startswith("pastel-streets_v2 [")


@pytest.mark.parametrize("flavour", ["a1111", "forge"])
async def test_a_sampler_with_its_schedule_is_no_other_sampler(make: Make, flavour: Flavour) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        answer = await make(server, sampler="DPM++ 2M Karras").generate(text())
    assert (answer.sampler, answer.notes) == ("DPM++ 2M", ())


async def test_a_checkpoint_may_be_named_in_every_way_the_server_knows(make: Make) -> None:
    async with LoopbackA1111() as server:
        async with aiohttp.ClientSession() as session:
            reply = await session.get(f"{server.address}/sdapi/v1/sd-models")
            listed = (await reply.json())[1]
        names = ["dreamy_8", "sd15/dreamy_8", "sd15/dreamy_8.safetensors", listed["title"], listed["hash"]]
        for name in names:
            answer = await make(server, checkpoint=name).generate(text())
            assert (answer.model, answer.notes) == (f"dreamy_8 [{listed['hash']}]", ())


@pytest.mark.parametrize("how", ["data_url", "grid"])
async def test_other_wrappings_give_the_same_picture(make: Make, how: str) -> None:
    async with LoopbackA1111() as server:
        plain = await make(server).generate(text())
        server.fail(how=how)
        assert await make(server).generate(text()) == plain


async def test_a_jpeg_becomes_a_png(make: Make) -> None:
    async with LoopbackA1111() as server:
        plain = await make(server).generate(text())
        server.fail(how="jpeg")
        answer = await make(server).generate(text())
    difference = np.abs(pixels(answer.png).astype(int) - pixels(plain.png))
    assert 0 < difference.mean() < 8


async def test_a_black_picture_is_noted(make: Make) -> None:
    async def black(kind: str, payload: dict[str, Any]) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (payload["width"], payload["height"])).save(buffer, "PNG")
        return buffer.getvalue()

    async with LoopbackA1111(paint=black) as server:
        answer = await make(server).generate(text())
    assert "wholly black" in answer.notes[0]


# -- the loopback server itself -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 640.5), ("steps", "many"), ("seed", None), ("override_settings", []), ("mask_blur", 1.5)],
)
async def test_the_loopback_checks_types_as_the_real_one_does(field: str, value: object) -> None:
    image = base64.b64encode(png((64, 64))).decode()
    body = {"init_images": [image], "width": 64, "height": 64, "steps": 1, field: value}
    async with LoopbackA1111() as server, aiohttp.ClientSession() as session:
        reply = await session.post(f"{server.address}/sdapi/v1/img2img", json=body)
        answer = await reply.json()
    if value is None:  # every field may be null
        assert reply.status == 200
    else:
        assert reply.status == 422
        assert [(item["loc"], set(item)) for item in answer["detail"]] == [
            (["body", field], {"loc", "msg", "type"})
        ]


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_loopback_ignores_and_records_fields_that_a_server_lacks(flavour: Flavour) -> None:
    body = {"width": 64, "height": 64, "steps": 1, "prompt": "x", "override_settings": {}}
    extra = {"scheduler": "Karras", "force_task_id": "t", "distilled_cfg_scale": 3.5, "colour": "red"}
    async with LoopbackA1111(flavour=flavour) as server:
        await _post(server, "txt2img", body | extra)
        assert (
            server.painted[0].unknown
            == {
                "a1111": ("colour", "distilled_cfg_scale"),
                "forge": ("colour",),
                "sdnext": ("colour", "distilled_cfg_scale", "force_task_id", "scheduler"),
            }[flavour]
        )


@pytest.mark.parametrize(
    ("radius", "asked", "cells"),
    [
        (22, {"width": 1280, "height": 720, "mask_blur": 20, "inpaint_full_res": False}, 0),
        (28, {"width": 1280, "height": 720, "mask_blur": 20, "inpaint_full_res": False}, 16),
        (22, {"width": 512, "height": 512, "mask_blur": 20, "inpaint_full_res_padding": 32}, 0),
        (8, {"width": 512, "height": 512, "mask_blur": 4, "inpaint_full_res_padding": 32}, 60),
        (12, {"width": 512, "height": 512, "mask_blur": 4, "inpaint_full_res_padding": 32}, 148),
    ],
)
async def test_the_loopback_loses_small_masks_as_the_real_one_does(
    radius: int, asked: dict[str, Any], cells: int
) -> None:
    """Compare with the cells that AUTOMATIC1111's own code keeps of a disc in a 1280x720 picture."""
    seen: list[dict[str, Any]] = []

    async def paint(kind: str, payload: dict[str, Any]) -> bytes:
        seen.append(payload)
        return png((payload["width"], payload["height"]))

    y, x = np.mgrid[0:720, 0:1280]
    picture = base64.b64encode(png((1280, 720))).decode()
    body = {
        "init_images": [picture],
        "mask": _mask_base64(np.hypot(x - 640, y - 360) <= radius),
        "steps": 1,
        **asked,
    }
    async with LoopbackA1111(paint=paint) as server:
        await _post(server, "img2img", body)
    with Image.open(io.BytesIO(base64.b64decode(seen[0]["mask"]))) as mask:
        assert np.count_nonzero(np.asarray(mask)) == cells * 64


async def test_the_loopback_answers_in_the_real_shape() -> None:
    body = {"prompt": "a red coat", "seed": 3, "width": 64, "height": 64, "steps": 2, "sampler_name": "DDIM"}
    async with LoopbackA1111() as server:
        answer = await _post(server, "txt2img", body)
        again = await _post(server, "txt2img", body)
    assert answer["images"] == again["images"]
    info = json.loads(answer["info"])
    assert (info["seed"], info["all_seeds"], info["sampler_name"]) == (3, [3], "DDIM")
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        assert image.info["parameters"] == info["infotexts"][0]
        assert image.info["parameters"].startswith("a red coat\nSteps: 2, Sampler: DDIM")


async def test_the_loopback_refuses_an_unknown_checkpoint_in_its_options() -> None:
    async with LoopbackA1111() as server, aiohttp.ClientSession() as session:
        options = f"{server.address}/sdapi/v1/options"
        reply = await session.post(options, json={"sd_model_checkpoint": "nowhere"})
        assert reply.status == 500
        assert (await reply.json())["errors"] == "model 'nowhere' not found"
        await session.post(options, json={"sd_model_checkpoint": "dreamy_8"})
        chosen = (await (await session.get(options)).json())["sd_model_checkpoint"]
        assert chosen.startswith("sd15/dreamy_8.safetensors [")


async def test_the_loopback_runs_as_its_own_process(make: Make) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.loopback_a1111", "--port", "0", "--auth", f"bot:{PASSWORD}"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"]
        assert (await make(url).generate(text())).seed == 7
    finally:
        process.terminate()
        await process.wait()


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _mask_base64(mask: Mask) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


async def _post(server: LoopbackA1111, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.address}/sdapi/v1/{endpoint}", json=body) as reply,
    ):
        assert reply.status == 200, await reply.text()
        return await reply.json()


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_what_a_server_offers_is_what_a_request_may_choose(make: Make, flavour: Flavour) -> None:
    async with LoopbackA1111(flavour=flavour) as server:
        generator = make(server)
        offered = await generator.choices()
        assert "Euler" in offered.samplers
        assert len(offered.models) == 2
        model = next(title for title in offered.models if "dreamy_8" in title)
        image = await generator.generate(replace(text(), model=model, sampler="DDIM"))
        assert (image.sampler, image.notes) == ("DDIM", ())
        assert image.model.startswith("dreamy_8")
        body = server.painted[-1].payload
        assert (body["override_settings"], body["sampler_name"]) == ({"sd_model_checkpoint": model}, "DDIM")
        odd = await generator.inpaint(replace(crop(disc(64, 12)), model="gone", sampler="nothing"))
        assert len(odd.notes) == 2
    with pytest.raises(GeneratorError, match="does not say what it has"):
        await generator.choices()
