"""The trunk of a network on OpenVINO in bfloat16, for processors that multiply it faster."""

from __future__ import annotations

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


class Trunk:
    """A trunk that `onnx_graph.build_parts` wrote, opened with `threads` (0: as many as there are cores).

    Raises ImportError without OpenVINO, and NoBfloat16Error.
    """

    def __init__(self, path: Path, threads: int) -> None:
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

    def __call__(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return `TRUNK` of a molded image [H, W, 3]; valid until the next call."""
        found = self._request.infer({"image": image[None]}, share_inputs=True, share_outputs=True)
        return {name: found[name] for name in TRUNK}
