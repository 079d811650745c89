"""Write ONNX graphs from a weights file's arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mrcnn.weights import Groups, WeightsError

OPSET = 17
_EPSILON = 1e-3
_PAGE = 4096


class Weights:
    """Hand out a file's arrays, each once, and keep a list of what does not fit.

    They are taken out of `groups`: hundreds of megabytes are not to be there twice.
    """

    def __init__(self, groups: Groups) -> None:
        self._arrays = groups
        self.problems: list[str] = []

    def take(self, name: str, *shapes: tuple[int, ...]) -> list[NDArray[np.float32]]:
        """Return the next arrays of group `name`; zeros where they are missing or of another shape."""
        arrays = self._arrays.get(name, [])
        taken, self._arrays[name] = arrays[: len(shapes)], arrays[len(shapes) :]
        have = [array.shape for array in taken]
        if have != list(shapes):
            self.problems.append(
                f"{name}: has {have}, the network needs {list(shapes)}" if have else f"missing: {name}"
            )
            return [np.zeros(shape, np.float32) for shape in shapes]
        return taken

    def check(self, name: str) -> None:
        """Raise WeightsError, which says the file's `name`, if anything did not fit, or is left over."""
        left = [f"left over: {name}" for name, arrays in self._arrays.items() if arrays]
        if self.problems + left:
            raise WeightsError(f"{name} does not fit this network:\n  " + "\n  ".join(self.problems + left))


class Graph:
    """Collect nodes and constants; values are named by what makes them. Feature maps are [B, C, H, W].

    Large arrays go to `beside`, if it is given, as soon as they are made.
    """

    def __init__(self, weights: Weights, beside: BinaryIO | None) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self._beside = beside
        self._count = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs."""
        self._count += 1
        names = [f"{kind}_{self._count}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names

    def constant(self, values: object, dtype: type = np.float32) -> str:
        """Add a small constant."""
        self._count += 1
        return self.array(f"constant_{self._count}", np.array(values, dtype))

    def array(self, name: str, values: NDArray) -> str:
        """Add an array; one that is there already, by its name, is used again."""
        if name in self.tensors:
            return name
        if self._beside is None or values.nbytes < _PAGE:
            self.tensors[name] = onnx.numpy_helper.from_array(np.asarray(values, order="C"), name)
            return name
        file = self._beside
        file.write(bytes(-file.tell() % _PAGE))
        tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = {"location": Path(file.name).name, "offset": str(file.tell()), "length": str(values.nbytes)}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
        file.write(np.ascontiguousarray(values).data)
        self.tensors[name] = tensor
        return name

    # Layers

    def kernel(
        self, name: str, size: int, inputs: int, filters: int, norm: str | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Take a convolution's kernel [size, size, inputs, filters] and bias, `norm` folded into both."""
        kernel, bias = self.weights.take(name, (size, size, inputs, filters), (filters,))
        if norm is not None:
            gamma, beta, mean, variance = (
                array.astype(np.float64) for array in self.weights.take(norm, *[(filters,)] * 4)
            )
            scale = gamma / np.sqrt(variance + _EPSILON)
            kernel = kernel * scale.astype(np.float32)
            bias = ((bias - mean) * scale + beta).astype(np.float32)
        return kernel, bias

    def convolve(
        self,
        x: str,
        name: str,
        kernel: NDArray[np.float32],
        bias: NDArray[np.float32],
        strides: int = 1,
        pad: int | None = None,
    ) -> str:
        """Convolve by a kernel [h, w, inputs, filters], padded by `pad` or as TensorFlow's SAME does."""
        padding = {"auto_pad": "SAME_UPPER"} if pad is None else {"pads": [pad] * 4}
        weight = self.array(f"{name}/kernel", kernel.transpose(3, 2, 0, 1))
        return self.op(
            "Conv",
            x,
            weight,
            self.array(f"{name}/bias", bias),
            kernel_shape=kernel.shape[:2],
            strides=[strides, strides],
            **padding,
        )

    def conv(
        self,
        x: str,
        name: str,
        size: int,
        inputs: int,
        filters: int,
        norm: str | None = None,
        strides: int = 1,
        pad: int | None = None,
    ) -> str:
        """Convolve with the file's weights."""
        return self.convolve(x, name, *self.kernel(name, size, inputs, filters, norm), strides, pad)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    # Arithmetic

    def columns(self, x: str, first: int, last: int) -> str:
        """Slice the last axis."""
        ends = [self.constant([value], np.int64) for value in (first, last, -1)]
        return self.op("Slice", x, *ends)

    def rows(self, x: str) -> str:
        """Return the length of the first axis, int64 [1]."""
        return self.op("Shape", x, start=0, end=1)

    def where(self, condition: str) -> str:
        """Return the places int64 [n] where a vector is true."""
        return self.op("Squeeze", self.op("NonZero", condition), self.constant([0], np.int64))

    def upto(self, length: str) -> str:
        """Return 0, 1, ... below `length`, int64 [1]."""
        scalar = self.op("Squeeze", length, self.constant([0], np.int64))
        return self.op("Range", self.constant(0, np.int64), scalar, self.constant(1, np.int64))

    # The end

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Mapping[str, onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the model; `outputs` says under which name and shape a value leaves it."""
        ends = [helper.make_node("Identity", [value], [info.name]) for value, info in outputs.items()]
        graph = helper.make_graph(
            self.nodes + ends,
            "mask_rcnn",
            list(inputs),
            list(outputs.values()),
            list(self.tensors.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
