"""Where models run: `concurrent.futures.Executor`s that outlive whatever happens to a worker process.

`process:N` is N slots, each with one spawned process of its own and a pipe to it. One process a slot,
because a worker that dies in a shared pool takes every pending call with it. A pipe of our own instead of
`ProcessPoolExecutor(1)`, because that one keeps the worker's end of the result pipe open in the parent: a
worker killed while it writes a large result leaves the parent waiting for the rest for ever. Here the pipe
ends with the worker, and a deadline is a timer that kills it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import queue
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from pipeline.errors import ConfigurationError, WorkerError

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

MAX_WORKERS = 64


def make_executor(url: str, *, timeout: float, threads: int, retries: int = 1) -> Executor:
    """Open the executor of `EXECUTOR_URL`: `process:N`, or `thread:` for one thread of this process.

    `timeout` is in seconds for one attempt at one call, the start of its worker included; `threads` is how
    many a worker may use. `thread:` has no deadline: a thread cannot be killed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "process" and re.fullmatch(r"\d{1,3}", rest) and 1 <= int(rest) <= MAX_WORKERS:
        return ProcessExecutor(int(rest), timeout=timeout, threads=threads, retries=retries)
    if url == "thread:":
        return ThreadPoolExecutor(1, thread_name_prefix="inline")
    raise ConfigurationError(
        f"EXECUTOR_URL is {url!r}; known are process:N (N worker processes of this machine, "
        f"1 to {MAX_WORKERS}) and thread: (one thread of the program itself)."
    )


class ProcessExecutor(Executor):
    """Call functions in `workers` spawned processes, which start when they are first needed.

    Functions go by their import path, arguments and results are pickled. A call whose worker dies or takes
    longer than `timeout` seconds is tried again `retries` times on a new one, then raises WorkerError. What
    the function itself raises is raised at once. Queued calls can be cancelled, running ones cannot.
    """

    def __init__(self, workers: int, *, timeout: float, threads: int, retries: int = 1) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker-slot")
        self._timeout = timeout
        self._retries = retries
        slots = [_Slot(threads) for _ in range(workers)]
        # As many slots as threads: taking one never waits. Last in, first out keeps to workers that are warm.
        self._slots: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in slots:
            self._slots.put(slot)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers after their calls; with `wait` False somebody else waits for that."""
        self._threads.shutdown(wait=False, cancel_futures=cancel_futures)
        closing = threading.Thread(target=self._close, name="worker-close")
        closing.start()
        if wait:
            closing.join()

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        while True:
            try:
                self._slots.get_nowait().stop()
            except queue.Empty:
                return

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(fn, "__qualname__", repr(fn))
        try:
            call = pickle.dumps((fn, args, kwargs))
        except Exception as err:
            raise WorkerError(f"{name} and its arguments cannot be sent to a worker process.") from err
        slot = self._slots.get()
        try:
            return self._attempt(slot, name, call)
        finally:
            self._slots.put(slot)

    def _attempt(self, slot: _Slot, name: str, call: bytes) -> Any:
        problem = ""
        for attempt in range(1 + self._retries):
            try:
                reply = slot.call(call, self._timeout)
            except TimeoutError:
                problem = f"took longer than {self._timeout:g} seconds"
            except (EOFError, OSError) as err:
                problem = "lost its worker process"
                log.debug("The pipe to the worker of %s ended: %r", name, err)
            else:
                return _unpack(name, reply)
            log.warning("%s %s (attempt %d of %d).", name, problem, attempt + 1, 1 + self._retries)
        times = {1: "", 2: " twice"}.get(1 + self._retries, f" {1 + self._retries} times")
        raise WorkerError(f"The work {problem}{times} and was given up; try again later.", retryable=True)


class _Slot:
    """One worker process and the pipe to it; used by one thread at a time."""

    def __init__(self, threads: int) -> None:
        self._worker_threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def call(self, call: bytes, timeout: float) -> bytes:
        """Send a call and wait for its reply; raise TimeoutError, or EOFError or OSError if it died."""
        expired = threading.Event()
        timer: threading.Timer | None = None
        try:
            process, pipe = self._ready()

            def expire() -> None:
                expired.set()
                process.kill()

            # The timer, not a poll, so that a worker which stops in the middle of a reply is killed too.
            timer = threading.Timer(timeout, expire)
            timer.daemon = True
            timer.start()
            pipe.send_bytes(call)
            reply = pipe.recv_bytes()
        except BaseException:
            if timer is not None:
                timer.cancel()
                timer.join()
            self.stop()
            if expired.is_set():
                raise TimeoutError from None
            raise
        timer.cancel()
        timer.join()
        if expired.is_set():  # answered at the last moment, and killed all the same
            self.stop()
        return reply

    def stop(self) -> None:
        """Kill the worker, if there is one; an idle worker has nothing to lose."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._pipe = self._process = None

    def _ready(self) -> tuple[BaseProcess, Connection]:
        if self._process is not None and not self._process.is_alive():  # died while it had nothing to do
            self.stop()
        if self._process is None or self._pipe is None:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_work, args=(theirs, self._worker_threads), name="worker", daemon=True
            )
            try:
                with _no_interrupts():
                    process.start()
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()  # the worker alone has it now: the pipe ends when the worker does
            self._process, self._pipe = process, ours
        return self._process, self._pipe


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Start a process with SIGINT blocked: Ctrl-C is the parent's to handle, from the first moment on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the worker -------------------------------------------------------------------------------


def _work(pipe: Connection, threads: int) -> None:
    """Answer calls until the pipe ends. Runs in the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before anything imports TensorFlow: it reads these once. Here, so that the parent's own are untouched.
    os.environ.update(
        OMP_NUM_THREADS=str(threads),
        TF_NUM_INTRAOP_THREADS=str(threads),
        TF_NUM_INTEROP_THREADS="1",
    )
    _hush_native_code()
    threading.Thread(target=_die_with_parent, name="die-with-parent", daemon=True).start()
    while True:
        try:
            call = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        reply = _answer(call)
        try:
            pipe.send_bytes(reply)
        except OSError:
            return


def _hush_native_code() -> None:
    """Keep what libraries print below Python off the terminal; Python's own errors still get there.

    TensorFlow writes several lines at every start and for graphs that it fails to make faster, and no setting
    of its own switches all of them off. A worker that dies of something worse is noticed by its pipe.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(kept, "w", buffering=1, errors="backslashreplace")


def _die_with_parent() -> None:
    """End this process when its parent ends, however that ended; models are not left in memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(call: bytes) -> bytes:
    try:
        fn, args, kwargs = pickle.loads(call)  # noqa: S301 (from our own parent)
    except Exception as err:
        return _packed_error(WorkerError(f"A worker process could not read its work: {err}"))
    try:
        result = fn(*args, **kwargs)
    except BaseException as err:  # SystemExit too: a worker ends when we say so
        return _packed_error(err)
    try:
        return pickle.dumps((True, result), pickle.HIGHEST_PROTOCOL)
    except Exception as err:
        return _packed_error(
            WorkerError(f"The result of {fn.__qualname__} cannot be sent back from a worker process: {err}")
        )


def _packed_error(err: BaseException) -> bytes:
    """Pickle an error with its traceback as a note; one that cannot travel becomes a WorkerError."""
    where = "In the worker process:\n" + "".join(traceback.format_exception(err))
    if isinstance(err, Exception):
        try:
            err.add_note(where)
            packed = pickle.dumps((False, err))
            pickle.loads(packed)  # noqa: S301 (an error may be pickled and yet not be made again)
            return packed
        except Exception as other:
            log.debug("%r cannot be sent: %r", err, other)
    plain = WorkerError(f"{type(err).__name__} in a worker process: {err}")
    plain.add_note(where)
    return pickle.dumps((False, plain))


def _unpack(name: str, reply: bytes) -> Any:
    try:
        good, value = pickle.loads(reply)  # noqa: S301 (from our own worker)
    except Exception as err:
        raise WorkerError(f"The result of {name} cannot be read.") from err
    if good:
        return value
    raise value
