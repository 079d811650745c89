"""Worker processes: deadlines, deaths, errors, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path

import psutil
import pytest

from pipeline.errors import ConfigurationError, WorkerError
from pipeline.executors import ProcessExecutor, make_executor

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(120)


def square(number: int) -> int:
    return number * number


def pid() -> int:
    return os.getpid()


def environment() -> dict[str, str]:
    return dict(os.environ)


def nap(seconds: float, result: object = None) -> object:
    time.sleep(seconds)
    return result


def count_and_die(log: str) -> None:
    with Path(log).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(log: str) -> str:
    if not Path(log).exists():
        count_and_die(log)
    return "alive"


def count_and_raise(log: str) -> None:
    with Path(log).open("a") as file:
        file.write("x")
    raise LookupError("no such thing")


class Stubborn(Exception):
    """An error that can be pickled and not be made again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("stubborn")
        self.sum = one + two


def raise_stubborn() -> None:
    raise Stubborn(1, 2)


def leave() -> None:
    sys.exit(3)


def large(megabytes: int) -> bytes:
    return b"\xa5" * (megabytes << 20)


def unpicklable() -> object:
    return threading.Lock()


@pytest.fixture
def executor() -> Iterator[ProcessExecutor]:
    executor = ProcessExecutor(1, timeout=60, threads=3)
    yield executor
    executor.shutdown(cancel_futures=True)


def workers() -> set[int]:
    """Pids of our worker processes; multiprocessing's own resource tracker is none."""
    found: set[int] = set()
    for child in psutil.Process().children():
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child.pid)
        except psutil.Error:
            continue
    return found


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def warm(executor: ProcessExecutor) -> int:
    """Start a worker whose start may take longer than a short deadline on a busy machine; give its pid."""
    for _ in range(20):
        with contextlib.suppress(WorkerError):
            return executor.submit(pid).result()
    raise AssertionError("no worker starts within its deadline")


def test_workers_start_when_needed_stay_and_end() -> None:
    before = workers()
    executor = ProcessExecutor(2, timeout=60, threads=1)
    assert workers() == before
    first = executor.submit(pid).result()
    assert first != os.getpid()
    assert {executor.submit(pid).result() for _ in range(5)} == {first}, "a warm worker is preferred"
    assert list(executor.map(square, range(20))) == [n * n for n in range(20)]
    executor.shutdown()
    assert workers() == before
    with pytest.raises(RuntimeError):
        executor.submit(pid)


def test_environment_is_the_workers_alone(executor: ProcessExecutor) -> None:
    before = dict(os.environ)
    seen = executor.submit(environment).result()
    assert (seen["OMP_NUM_THREADS"], seen["TF_NUM_INTRAOP_THREADS"]) == ("3", "3")
    assert seen["TF_NUM_INTEROP_THREADS"] == "1"
    assert dict(os.environ) == before


def test_a_dead_worker_costs_one_retry(executor: ProcessExecutor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert executor.submit(die_once, str(log)).result() == "alive"
    assert log.read_text() == "x"


def test_work_that_kills_every_worker_is_given_up(executor: ProcessExecutor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(WorkerError, match="lost its worker process twice") as caught:
        executor.submit(count_and_die, str(log)).result()
    assert caught.value.retryable
    assert log.read_text() == "xx"
    assert executor.submit(square, 3).result() == 9


def test_an_idle_worker_that_dies_costs_nothing(executor: ProcessExecutor) -> None:
    first = executor.submit(pid).result()
    process = psutil.Process(first)
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert executor.submit(pid).result() != first


def test_deadline() -> None:
    executor = ProcessExecutor(1, timeout=4, threads=1, retries=0)
    worker = warm(executor)
    start = time.monotonic()
    with pytest.raises(WorkerError, match="took longer than 4 seconds and was given up"):
        executor.submit(nap, 60).result()
    assert time.monotonic() - start < 20
    assert not psutil.pid_exists(worker)
    assert warm(executor) != worker
    executor.shutdown()


def test_a_stopped_worker_in_the_middle_of_its_reply_meets_the_deadline() -> None:
    executor = ProcessExecutor(1, timeout=4, threads=1, retries=0)
    worker = warm(executor)
    future = executor.submit(large, 256)
    until(lambda: psutil.Process(worker).memory_info().rss > 256 << 20)
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(WorkerError):
        future.result(timeout=30)
    executor.shutdown()


def test_an_error_of_the_function_is_raised_at_once(executor: ProcessExecutor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = executor.submit(pid).result()
    with pytest.raises(LookupError, match="no such thing") as caught:
        executor.submit(count_and_raise, str(log)).result()
    assert log.read_text() == "x"
    assert "count_and_raise" in "".join(caught.value.__notes__), "where it was raised"
    with pytest.raises(WorkerError, match="Stubborn in a worker process: stubborn"):
        executor.submit(raise_stubborn).result()
    with pytest.raises(WorkerError, match="SystemExit"):
        executor.submit(leave).result()
    assert executor.submit(pid).result() == before, "the worker lives on"


def test_what_cannot_be_sent_is_said(executor: ProcessExecutor) -> None:
    with pytest.raises(WorkerError, match="cannot be sent to a worker"):
        executor.submit(square, threading.Lock()).result()  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="cannot be sent to a worker"):
        executor.submit(lambda: 1).result()
    with pytest.raises(WorkerError, match="result of unpicklable cannot be sent back"):
        executor.submit(unpicklable).result()
    assert executor.submit(square, 5).result() == 25


def test_large_results(executor: ProcessExecutor) -> None:
    assert executor.submit(large, 64).result() == b"\xa5" * (64 << 20)


def test_queued_calls_can_be_cancelled() -> None:
    executor = ProcessExecutor(1, timeout=60, threads=1)
    running = executor.submit(nap, 1.5, "done")
    queued = [executor.submit(square, number) for number in range(3)]
    until(running.running)
    assert not running.cancel()
    assert queued[0].cancel()
    executor.shutdown(wait=True, cancel_futures=True)
    assert running.result() == "done"
    assert all(future.cancelled() for future in queued)
    with pytest.raises(CancelledError):
        queued[1].result()


def test_shutdown_without_waiting_lets_work_end() -> None:
    executor = ProcessExecutor(1, timeout=60, threads=1)
    running, queued = executor.submit(nap, 1.0, "done"), executor.submit(square, 6)
    executor.shutdown(wait=False)
    assert not running.done()
    with pytest.raises(RuntimeError):
        executor.submit(pid)
    assert (running.result(), queued.result()) == ("done", 36)
    until(lambda: not workers())


def test_random_kills_under_load() -> None:
    """Every call is done or cleanly refused, also when a kill cuts a large result off."""
    chance = random.Random(5)
    executor = ProcessExecutor(2, timeout=30, threads=1, retries=3)
    futures: list[Future[bytes]] = [executor.submit(large, chance.choice((0, 1, 32))) for _ in range(120)]
    kills = 0
    while kills < 10 and not all(future.done() for future in futures):
        time.sleep(chance.uniform(0.3, 0.9))
        if victims := sorted(workers()):
            with contextlib.suppress(ProcessLookupError):  # replaced just now
                os.kill(chance.choice(victims), signal.SIGKILL)
                kills += 1
    assert not wait(futures, timeout=60).not_done
    errors = [error for future in futures if (error := future.exception())]
    assert all(isinstance(error, WorkerError) for error in errors)
    assert len(errors) <= 2
    assert kills >= 3
    executor.shutdown()
    assert not workers()


def script(body: str, tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(body))
    return path


PROGRAM = """
    import sys, time
    from pipeline.executors import make_executor

    def report(seconds):
        time.sleep(seconds)
        return "worked"

    if __name__ == "__main__":
        executor = make_executor("process:2", timeout=60, threads=1)
        print(executor.submit(report, 0).result(), flush=True)
        executor.submit(report, float(sys.argv[1]))
        executor.submit(report, float(sys.argv[1]))
        print("busy", flush=True)
        time.sleep(float(sys.argv[1]))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_killed_parent_leaves_no_orphan(tmp_path: Path) -> None:
    program = start(str(script(PROGRAM, tmp_path)), "60")
    assert program.stdout
    assert [program.stdout.readline(), program.stdout.readline()] == ["worked\n", "busy\n"]
    parent = psutil.Process(program.pid)
    until(lambda: sum("spawn_main" in " ".join(child.cmdline()) for child in parent.children()) == 2)
    family = parent.children(recursive=True)
    program.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "workers and the resource tracker end with their parent, busy or not"
    program.communicate(timeout=20)


def test_ctrl_c_prints_no_tracebacks_of_workers(tmp_path: Path) -> None:
    program = start(str(script(PROGRAM, tmp_path)), "2")
    assert program.stdout
    assert [program.stdout.readline(), program.stdout.readline()] == ["worked\n", "busy\n"]
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: parent, workers, all
    _, errors = program.communicate(timeout=30)
    assert errors.count("Traceback") == 1, "the parent's own"
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_program_given_on_the_command_line() -> None:
    """`python -c` has no file: its own functions cannot be found by a worker, others can."""
    program = start(
        "-c",
        textwrap.dedent("""
            import math
            from pipeline.executors import make_executor
            def mine(): return 1
            with make_executor("process:1", timeout=60, threads=1) as executor:
                print(executor.submit(math.sqrt, 9).result())
                print(executor.submit(mine).exception())
        """),
    )
    output, errors = program.communicate(timeout=60)
    assert output.splitlines()[0] == "3.0", errors
    assert "could not read its work" in output.splitlines()[1]


def test_urls() -> None:
    inline = make_executor("thread:", timeout=1, threads=1)
    assert isinstance(inline, ThreadPoolExecutor)
    assert inline.submit(pid).result() == os.getpid()
    inline.shutdown()
    for url in (
        "",
        "process",
        "process:",
        "process:0",
        "process:65",
        "process:-1",
        "dask://host",
        "thread:2",
    ):
        with pytest.raises(ConfigurationError, match=r"EXECUTOR_URL.*process:N.*thread:"):
            make_executor(url, timeout=1, threads=1)


def _print_both_ways() -> None:
    os.write(2, b"from below\n")
    print("from Python", file=sys.stderr)


def test_workers_keep_native_noise_off_the_terminal(capfd):
    executor = make_executor("process:1", timeout=60, threads=1)
    try:
        executor.submit(_print_both_ways).result()
    finally:
        executor.shutdown()
    shown = capfd.readouterr().err
    assert "from Python" in shown
    assert "from below" not in shown
