"""The trunk of a network on OpenVINO in bfloat16, for processors that multiply it faster."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcnn.onnx_graph import TRUNK


class NoBfloat16Error(RuntimeError):
    """The processor does not multiply bfloat16, and OpenVINO would be no faster than ONNX Runtime."""


def _core() -> Any:
    """Open OpenVINO without its telemetry, which reports every import to a web service, unasked.

    Raises ImportError where it is not installed.
    """
    reporter = "openvino_telemetry"
    if reporter not in sys.modules:
        sys.modules[reporter] = None  # type: ignore[assignment]  # OpenVINO takes its own stub instead
    import openvino  # pyright: ignore[reportMissingImports]  # an extra

    return openvino.Core()


def _flags() -> set[str]:
    """Return what Linux says that the processor knows; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def multiplies_bfloat16(capabilities: Collection[str], flags: Collection[str]) -> bool:
    """Whether the processor does it itself, by OpenVINO's `capabilities` and the processor's `flags`.

    OpenVINO says BF16 too where it would only imitate it, twenty times slower. Without flags, those with
    half precision of their own are sure.
    """
    native = {"avx512_bf16", "amx_bf16"} & set(flags) if flags else {"FP16"} & set(capabilities)
    return "BF16" in capabilities and bool(native)


def release(file: Path) -> int:
    """Let go of the pages of a file that is mapped into memory, and return how many bytes they span.

    Who reads them again gets them from the file. Only Linux tells where files are mapped: elsewhere 0.
    """
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return 0
    madvise, dont_need, released = ctypes.CDLL(None).madvise, 4, 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in lines:
        parts = line.split(maxsplit=5)
        # A file removed meanwhile is still mapped. Pages that may be written hold more than the file.
        if len(parts) < 6 or "w" in parts[1] or parts[5].removesuffix(" (deleted)") != str(file):
            continue
        first, last = (int(part, 16) for part in parts[0].split("-"))
        if madvise(first, last - first, dont_need) == 0:
            released += last - first
    return released


class Trunk:
    """A trunk that `onnx_graph.build_parts` wrote, opened with `threads` (0: as many as there are cores).

    `beside` is the file with its weights, which OpenVINO maps and keeps beside its own bfloat16 copy: they
    are let go after the first image. Raises ImportError without OpenVINO, and NoBfloat16Error.
    """

    def __init__(self, path: Path, beside: Path, threads: int) -> None:
        core = _core()
        if not multiplies_bfloat16(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"), _flags()):
            raise NoBfloat16Error("this processor has no bfloat16 (avx512_bf16 or amx_bf16)")
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # Workers share the machine: pinned, two of them would sit on the same core.
            "ENABLE_CPU_PINNING": False,
        }
        self._request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
        self._unread: Path | None = beside.resolve()

    def __call__(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return `TRUNK` of a molded image [H, W, 3]; valid until the next call."""
        found = self._request.infer({"image": image[None]}, share_inputs=True, share_outputs=True)
        if self._unread is not None:
            release(self._unread)
            self._unread = None
        return {name: found[name] for name in TRUNK}
