import base64
import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from train.data.prepare.graph_model import open_graph
from unish.errors import CheckpointError, MissingAssetError


def _text(value: str) -> dict:
    return {"s": base64.b64encode(value.encode()).decode()}


def _numbers(*values: int) -> dict:
    return {"list": {"i": [str(value) for value in values]}}


def _write_graph(folder, nodes, constants, half=()):
    """A graph of `nodes` (name, operation, inputs, attributes) with one input x and the last node as its output y."""
    manifest, data = [], b""
    for name, values in constants.items():
        stored = values.astype(np.float16) if name in half else values
        entry = {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
        manifest.append(entry | ({"quantization": {"dtype": "float16"}} if name in half else {}))
        data += stored.tobytes()
    (folder / "weights.bin").write_bytes(data)
    listed = [{"name": "x", "op": "Placeholder"}, *({"name": name, "op": "Const"} for name in constants)]
    listed += [{"name": n, "op": op, "input": i, "attr": a} for n, op, i, a in nodes]
    graph = {
        "modelTopology": {"node": listed[::-1]},  # the file may list them in any order
        "signature": {"inputs": {"x": {"name": "x:0"}}, "outputs": {"y": {"name": f"{nodes[-1][0]}:0"}}},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": manifest}],
    }
    (folder / "graph.json").write_text(json.dumps(graph))
    return folder / "graph.json"


def test_a_small_convolutional_network(tmp_path):
    """SAME padding with a stride, fused bias and activation, depthwise kernels and half-precision weights, against
    torch's own layers."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 2, 4)).astype(np.float32)
    depthwise = random.normal(size=(3, 3, 4, 1)).astype(np.float32)
    bias = random.normal(size=4).astype(np.float32)
    same = {"padding": _text("SAME")}
    fused = {"fused_ops": {"list": {"s": [_text("BiasAdd")["s"], _text("Relu6")["s"]]}}}
    nodes = [
        ("a", "_FusedConv2D", ["x", "kernel", "bias"], same | fused | {"strides": _numbers(1, 2, 2, 1)}),
        ("b", "DepthwiseConv2dNative", ["a", "depthwise"], same | {"strides": _numbers(1, 1, 1, 1)}),
        ("c", "MaxPool", ["b"], same | {"ksize": _numbers(1, 2, 2, 1), "strides": _numbers(1, 2, 2, 1)}),
    ]
    constants = {"kernel": kernel, "depthwise": depthwise, "bias": bias}
    graph = open_graph(_write_graph(tmp_path, nodes, constants, half=("kernel",)))
    x = torch.from_numpy(random.normal(size=(1, 8, 6, 2)).astype(np.float32))

    half = torch.from_numpy(kernel.astype(np.float16).astype(np.float32)).permute(3, 2, 0, 1)
    # TensorFlow pads an even side at its end only.
    expected = functional.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1))
    expected = functional.relu6(functional.conv2d(expected, half, torch.from_numpy(bias), stride=2))
    expected = functional.conv2d(expected, torch.from_numpy(depthwise).permute(2, 3, 0, 1), padding=1, groups=4)
    expected = functional.max_pool2d(functional.pad(expected, (0, 1, 0, 0), value=-torch.inf), 2)
    torch.testing.assert_close(graph(x=x)["y"], expected.permute(0, 2, 3, 1))


def test_slices_and_choices(tmp_path):
    constants = {
        "begin": np.array([0, 1], np.int32),
        "end": np.array([0, 3], np.int32),
        "step": np.array([1, 1], np.int32),
        "count": np.array(1, np.int32),
    }
    slicing = {"begin_mask": {"i": "1"}, "end_mask": {"i": "1"}}
    nodes = [("part", "StridedSlice", ["x", "begin", "end", "step"], slicing), ("y", "TopKV2", ["part", "count"], {})]
    graph = open_graph(_write_graph(tmp_path, nodes, constants))
    x = torch.tensor([[9.0, 1, 4, 8], [0, 7, 2, 5]])
    torch.testing.assert_close(graph(x=x)["y"], torch.tensor([[4.0], [7.0]]))


def test_bilinear_resizing_of_the_first_convention(tmp_path):
    nodes = [("y", "ResizeBilinear", ["x", "size"], {})]
    graph = open_graph(_write_graph(tmp_path, nodes, {"size": np.array([4, 2], np.int32)}))
    x = torch.tensor([0.0, 2, 4, 6]).reshape(1, 2, 2, 1)
    expected = torch.tensor([[0.0, 2], [2, 4], [4, 6], [4, 6]])
    torch.testing.assert_close(graph(x=x)["y"][0, ..., 0], expected)


def test_what_is_no_graph_is_refused(tmp_path):
    with pytest.raises(MissingAssetError, match="found nothing"):
        open_graph(tmp_path / "nowhere.json")
    path = _write_graph(tmp_path, [("y", "NonMaxSuppressionV5", ["x"], {})], {})
    with pytest.raises(CheckpointError, match="NonMaxSuppressionV5"):
        open_graph(path)
    _write_graph(tmp_path, [("y", "Relu", ["x"], {})], {})
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(MissingAssetError, match=r"weights\.bin"):
        open_graph(path)
    path.write_text('{"format": "layers-model"}')
    with pytest.raises(CheckpointError, match="fetch it again"):
        open_graph(path)
