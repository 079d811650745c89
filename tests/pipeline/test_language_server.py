"""The embedded language model: the real server once, whatever may happen to it, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import aiohttp
import psutil
import pytest

from pipeline.context import EmbeddedContextWriter
from pipeline.errors import WriterError
from pipeline.generators.embedded import vocabulary
from pipeline.language_server import LanguageServer, find_model
from tests.pipeline.test_context import PROMPT, SCENE, assert_valid, picture
from tests.pipeline.test_executors import until, workers

ROOT = Path(__file__).parents[2]
MODEL = find_model() or Path()
installed = pytest.mark.skipif(not MODEL.name, reason="the embedded language model is not installed")


@installed
async def test_a_real_model_writes_is_replaced_when_it_dies_and_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = workers()
    server = LanguageServer(MODEL, idle=0.2)
    writer = EmbeddedContextWriter(server, vocabulary=vocabulary())
    assert workers() == before, "nothing runs before it is needed"
    async with server.running() as url:
        (own,) = workers() - before
        scene = await writer.describe(PROMPT, SCENE[:2], picture=picture(), seed=7)
        assert_valid(scene, 2)
        assert scene.source == "SmolLM2-135M-Instruct"
        jacket, sky = (thing.tags for thing in scene.objects)
        assert jacket[0] == "red"
        assert sky[0] == "night"
        looks = vocabulary().looks
        for tags, label in ((jacket, "Jacket"), (sky, "Sky")):
            assert all(any(tag in kind for kind in looks[label].values()) for tag in tags)

        after_another = await writer.describe("a harbour at dawn", SCENE[1:2], picture=picture(), seed=8)
        assert after_another.source == scene.source

        # Only who has the key is answered, and only on loopback.
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{url}/chat/completions", json={"messages": []}) as answer,
        ):
            assert answer.status == 401
        listening = {one.laddr.ip for one in psutil.Process(own).net_connections() if one.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        assert server.key not in " ".join(psutil.Process(own).cmdline())

        psutil.Process(own).kill()
        again = await writer.describe("a harbour at dawn", SCENE[1:2], picture=picture(), seed=8)
        assert again == after_another, "on a server that was just started and asked nothing before"
        (other,) = workers() - before
        assert other != own
    # After a while without a question its memory is given back.
    await asyncio.to_thread(until, lambda: workers() == before)
    async with server.running():
        assert len(workers() - before) == 1
    await writer.aclose()
    assert workers() == before
    assert capfd.readouterr() == ("", "")


@installed
def test_a_killed_program_leaves_no_server() -> None:
    program = textwrap.dedent(
        """
        import asyncio
        from pipeline.language_server import LanguageServer, find_model
        from tests.pipeline.test_executors import workers

        async def main():
            async with LanguageServer(find_model()).running():
                print(*workers(), flush=True)
                await asyncio.sleep(600)

        if __name__ == "__main__":
            asyncio.run(main())
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        pid = int(running.stdout.readline())
        assert psutil.pid_exists(pid)
        running.kill()
    until(lambda: not psutil.pid_exists(pid))


async def test_a_model_that_cannot_be_loaded_is_the_template(tmp_path: Path) -> None:
    broken = tmp_path / "Broken.gguf"
    broken.write_bytes(os.urandom(1000))
    before = workers()
    server = LanguageServer(broken)
    writer = EmbeddedContextWriter(server)
    scene = await writer.describe(PROMPT, SCENE, picture=picture(), seed=7)
    assert_valid(scene)
    assert scene.source == "template (the language model could not be started)"
    with pytest.raises(WriterError, match="could not be started"):
        async with server.running():
            pass
    await writer.aclose()
    assert workers() == before
