"""Runs a TensorFlow.js graph model (a .json of operations beside its .bin weights) with torch alone.

Only the operations that published person detectors use are known; a graph with others is refused when it is opened.
Tensors keep TensorFlow's layout (batch, height, width, channels).
"""

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unish.errors import CheckpointError, MissingAssetError

_TYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int32, "DT_INT64": torch.int64, "DT_BOOL": torch.bool}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"Relu": functional.relu, "Relu6": functional.relu6}
_ONE_OPERAND: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Exp": torch.exp,
    "Identity": lambda x: x,
    "Reciprocal": torch.reciprocal,
    "Relu": functional.relu,
    "Relu6": functional.relu6,
    "Shape": lambda x: torch.tensor(x.shape, dtype=torch.int32),
    "Sigmoid": torch.sigmoid,
    "Size": lambda x: torch.tensor(x.numel(), dtype=torch.int32),
}
_TWO_OPERANDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "AddV2": torch.add,
    "BiasAdd": torch.add,
    "Equal": torch.eq,
    "FloorDiv": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "Greater": torch.gt,
    "GreaterEqual": torch.ge,
    "Less": torch.lt,
    "LogicalAnd": torch.logical_and,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Mul": torch.mul,
    "RealDiv": lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "floor"),
    "SquaredDifference": lambda a, b: (a - b) ** 2,
    "Sub": torch.sub,
}
_REDUCTIONS: dict[str, Callable[..., Tensor]] = {"Max": torch.amax, "Mean": torch.mean, "Sum": torch.sum}


@dataclass(frozen=True)
class _Node:
    """One operation: its inputs' names (`name` or `name:output`), and its attributes decoded."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class GraphModel:
    """An opened graph; call it with its input tensors by name."""

    nodes: dict[str, _Node]
    """In an order in which every operation comes after its inputs."""
    constants: dict[str, Tensor]
    inputs: dict[str, str]
    """Node by input name."""
    outputs: dict[str, str]
    """Reference (`node:output`) by output name."""
    kernels: dict[str, Tensor] = field(default_factory=dict)
    """Convolution kernels in torch's layout, filled on first use."""

    @torch.no_grad()
    def __call__(self, **feed: Tensor) -> dict[str, Tensor]:
        """The outputs by name. `feed` holds one tensor for every input."""
        inputs = {self.inputs[name]: value for name, value in feed.items()}
        values: dict[str, Any] = {}

        def value_of(reference: str) -> Tensor:
            name, _, output = reference.partition(":")
            value = values[name]
            return value[int(output or 0)] if isinstance(value, (list, tuple)) else value

        for name, node in self.nodes.items():
            if node.operation == "Placeholder":
                values[name] = inputs[name]
            elif node.operation == "Const":
                values[name] = self.constants[name]
            else:
                values[name] = self._run(node, [value_of(reference) for reference in node.inputs])
        return {name: value_of(reference) for name, reference in self.outputs.items()}

    def _run(self, node: _Node, x: list[Tensor]) -> Any:
        operation = node.operation
        if operation in _ONE_OPERAND:
            return _ONE_OPERAND[operation](x[0])
        if operation in _TWO_OPERANDS:
            a, b = x
            return _TWO_OPERANDS[operation](a, b.to(a.dtype))
        if operation in _REDUCTIONS:
            axes = [int(axis) for axis in x[1].reshape(-1)]
            return _REDUCTIONS[operation](x[0], axes, keepdim=node.attributes.get("keep_dims", False))
        if operation in _CONVOLUTIONS:
            return self._convolve(node, x)
        return _OTHERS[operation](node.attributes, *x)

    def _convolve(self, node: _Node, x: list[Tensor]) -> Tensor:
        attributes = node.attributes
        channels_first = attributes.get("data_format", "NHWC") == "NCHW"
        images = x[0] if channels_first else x[0].permute(0, 3, 1, 2)
        if node.name not in self.kernels:
            self.kernels[node.name] = _torch_kernel(x[1], depthwise="epthwise" in node.operation)
        kernel = self.kernels[node.name]
        axes = slice(2, 4) if channels_first else slice(1, 3)
        strides, dilations = (attributes.get(key) or [1] * 4 for key in ("strides", "dilations"))
        strides, dilations = strides[axes], dilations[axes]
        padding = [
            value
            for side in (1, 0)  # functional.pad begins with the last axis
            for value in _padding(
                images.shape[2 + side], kernel.shape[2 + side], strides[side], dilations[side], attributes
            )
        ]
        groups = images.shape[1] // kernel.shape[1]
        images = functional.conv2d(functional.pad(images, padding), kernel, None, strides, 0, dilations, groups)
        result = images if channels_first else images.permute(0, 2, 3, 1)
        for name in attributes.get("fused_ops", []):
            result = result + x[2] if name == "BiasAdd" else _ACTIVATIONS[name](result)
        return result


def open_graph(path: Path) -> GraphModel:
    """The graph model of a .json file with its weights beside it.

    Raises `MissingAssetError` when a file is not there, `CheckpointError` when one is damaged or the graph uses an
    operation that is not known here.
    """
    if not path.is_file():
        raise MissingAssetError(f"Expected a TensorFlow.js graph model at {path}, found nothing; check the path.")
    try:
        model = json.loads(path.read_text())
        nodes = {node["name"]: _node(node) for node in model["modelTopology"]["node"]}
        signature = model.get("signature") or model["userDefinedMetadata"]["signature"]
        constants = _weights(path.parent, model["weightsManifest"])
        outputs = {key: value["name"] for key, value in signature["outputs"].items()}
        inputs = {key: value["name"].split(":")[0] for key, value in signature["inputs"].items()}
        ordered = {name: nodes[name] for name in _order(nodes, outputs.values())}
    except FileNotFoundError as error:
        raise MissingAssetError(f"Expected the weights of {path} at {error.filename}, found nothing.") from error
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"Expected a TensorFlow.js graph model in {path} ({error!r}); fetch it again.") from error
    known = {"Const", "Placeholder", *_ONE_OPERAND, *_TWO_OPERANDS, *_REDUCTIONS, *_CONVOLUTIONS, *_OTHERS}
    unknown = sorted({node.operation for node in ordered.values()} - known)
    if unknown:
        raise CheckpointError(f"Expected operations that are known here in {path}, received {', '.join(unknown)}.")
    return GraphModel(ordered, constants, inputs, outputs)


# ---------------------------------------------------------------- the file


def _node(node: dict[str, Any]) -> _Node:
    inputs = tuple(name for name in node.get("input", []) if not name.startswith("^"))
    return _Node(node["name"], node["op"], inputs, {key: _attribute(v) for key, v in node.get("attr", {}).items()})


def _attribute(value: dict[str, Any]) -> Any:
    """One attribute of the protocol buffer's JSON form: 64-bit integers are strings, strings are base64."""
    if "list" in value:
        items = value["list"]
        if "i" in items:
            return [int(item) for item in items["i"]]
        return [base64.b64decode(item).decode() for item in items.get("s", [])]
    if "i" in value:
        return int(value["i"])
    if "s" in value:
        return base64.b64decode(value["s"]).decode()
    return next(iter(value.values()), None)


def _weights(folder: Path, manifest: list[dict[str, Any]]) -> dict[str, Tensor]:
    constants = {}
    for group in manifest:
        data, offset = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for weight in group["weights"]:
            stored = weight.get("quantization", {"dtype": weight["dtype"]})
            dtype = np.dtype(stored["dtype"])
            values = np.frombuffer(data, dtype, math.prod(weight["shape"]), offset)
            offset += values.nbytes
            if "scale" in stored:
                values = values.astype(np.float32) * stored["scale"] + stored["min"]
            constants[weight["name"]] = torch.from_numpy(values.astype(weight["dtype"]).reshape(weight["shape"]))
    return constants


def _order(nodes: dict[str, _Node], outputs: Any) -> list[str]:
    """The nodes that the outputs need, each after its inputs."""
    ordered: dict[str, None] = {}
    for output in outputs:
        stack = [output.split(":")[0]]
        while stack:
            name = stack[-1]
            waiting = [n for n in (i.split(":")[0] for i in nodes[name].inputs) if n not in ordered]
            if waiting:
                stack += waiting
            else:
                ordered[stack.pop()] = None
    return list(ordered)


# ---------------------------------------------------------------- operations

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative", "_FusedConv2D")


def _torch_kernel(kernel: Tensor, depthwise: bool) -> Tensor:
    """(height, width, in, out), or (height, width, in, multiplier) → (out, in, height, width)."""
    if depthwise:
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    else:
        kernel = kernel.permute(3, 2, 0, 1)
    return kernel.contiguous(memory_format=torch.channels_last)


def _padding(size: int, kernel: int, stride: int, dilation: int, attributes: dict[str, Any]) -> tuple[int, int]:
    if attributes.get("padding", "SAME") == "VALID":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _max_pool(attributes: dict[str, Any], x: Tensor) -> Tensor:
    kernel, stride = attributes["ksize"][1:3], attributes["strides"][1:3]
    images = x.permute(0, 3, 1, 2)
    padding = [
        v for side in (1, 0) for v in _padding(images.shape[2 + side], kernel[side], stride[side], 1, attributes)
    ]
    pooled = functional.max_pool2d(functional.pad(images, padding, value=-math.inf), kernel, stride)
    return pooled.permute(0, 2, 3, 1)


def _resize(attributes: dict[str, Any], x: Tensor, size: Tensor) -> Tensor:
    images, (height, width) = x.float().permute(0, 3, 1, 2), (int(v) for v in size)
    aligned = bool(attributes.get("align_corners", False))
    if aligned or attributes.get("half_pixel_centers", False):
        resized = functional.interpolate(images, (height, width), mode="bilinear", align_corners=aligned)
        return resized.permute(0, 2, 3, 1)
    for axis, wanted in ((2, height), (3, width)):  # TensorFlow's first convention: source = target · scale
        place = torch.arange(wanted) * (images.shape[axis] / wanted)
        low = place.floor().long().clamp(max=images.shape[axis] - 1)
        high = (low + 1).clamp(max=images.shape[axis] - 1)
        share = (place - low).view([-1 if a == axis else 1 for a in range(4)])
        images = images.index_select(axis, low) * (1 - share) + images.index_select(axis, high) * share
    return images.permute(0, 2, 3, 1)


def _pad(_: dict[str, Any], x: Tensor, padding: Tensor, value: Tensor | None = None) -> Tensor:
    sides = [int(v) for row in reversed(padding.tolist()) for v in row]
    return functional.pad(x, sides, value=0.0 if value is None else float(value))


def _select(_: dict[str, Any], condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition.reshape([*condition.shape, *[1] * (x.dim() - condition.dim())]), x, y)


def _sparse_to_dense(_: dict[str, Any], indices: Tensor, shape: Tensor, values: Tensor, default: Tensor) -> Tensor:
    dense = torch.full([int(v) for v in shape], default.item(), dtype=values.dtype)
    indices = indices.long().reshape(-1, 1) if indices.dim() < 2 else indices.long()
    dense[tuple(indices.unbind(-1))] = values
    return dense


def _strided_slice(attributes: dict[str, Any], x: Tensor, begin: Tensor, end: Tensor, strides: Tensor) -> Tensor:
    masks = [attributes.get(f"{name}_mask", 0) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")]
    parts: list[Any] = []
    for axis, (first, last, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        no_begin, no_end, ellipsis, new_axis, shrink = (mask >> axis & 1 for mask in masks)
        if ellipsis:
            parts.append(Ellipsis)
        elif new_axis:
            parts.append(None)
        elif shrink:
            parts.append(int(first))
        else:
            parts.append(slice(None if no_begin else int(first), None if no_end else int(last), int(step)))
    return x[tuple(parts)]


def _squeeze(attributes: dict[str, Any], x: Tensor) -> Tensor:
    axes = attributes.get("squeeze_dims") or attributes.get("axis")
    return x.squeeze(tuple(axes)) if axes else x.squeeze()


def _top_k(_: dict[str, Any], x: Tensor, count: Tensor) -> list[Tensor]:
    values, indices = torch.topk(x, int(count), dim=-1)
    return [values, indices.to(torch.int32)]


_OTHERS: dict[str, Callable[..., Any]] = {
    "AddN": lambda _, *x: sum(x),
    "ArgMax": lambda _, x, axis: torch.argmax(x, int(axis)).to(torch.int32),
    "Cast": lambda attributes, x: x.to(_TYPES[attributes["DstT"]]),
    "ConcatV2": lambda _, *x: torch.cat(x[:-1], int(x[-1])),
    "ExpandDims": lambda _, x, axis: x.unsqueeze(int(axis)),
    "Fill": lambda _, shape, value: torch.full([int(v) for v in shape], value.item(), dtype=value.dtype),
    "GatherNd": lambda _, x, indices: x[tuple(indices.long().unbind(-1))],
    "LeakyRelu": lambda attributes, x: functional.leaky_relu(x, float(attributes.get("alpha", 0.2))),
    "MaxPool": _max_pool,
    "Pack": lambda attributes, *x: torch.stack(x, attributes.get("axis", 0)),
    "Pad": _pad,
    "PadV2": _pad,
    "Range": lambda _, first, last, step: torch.arange(int(first), int(last), int(step), dtype=torch.int32),
    "Reshape": lambda _, x, shape: x.reshape([int(v) for v in shape]),
    "ResizeBilinear": _resize,
    "Select": _select,
    "SelectV2": _select,
    "SparseToDense": _sparse_to_dense,
    "Split": lambda attributes, axis, x: list(torch.chunk(x, attributes["num_split"], int(axis))),
    "SplitV": lambda _, x, sizes, axis: list(torch.split(x, [int(v) for v in sizes], int(axis))),
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Tile": lambda _, x, counts: x.repeat([int(v) for v in counts]),
    "TopKV2": _top_k,
    "Transpose": lambda _, x, axes: x.permute([int(v) for v in axes]),
    "Unpack": lambda attributes, x: list(torch.unbind(x, attributes.get("axis", 0))),
}
