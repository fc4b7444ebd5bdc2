"""Teachers of relative depth: networks that know inverse depth up to a scale and a shift per frame.

What is stored of them in a sample: the reciprocal of `depth_m` is the teacher's answer, scaled so that its median is
that of a scene 4 m away.
"""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from unish.errors import MissingAssetError, MissingDependencyError

MEDIAN_DEPTH_M, NEAREST_M, FARTHEST_M = 4.0, 0.3, 60.0
"""Of what is stored: its median, and its range."""


@runtime_checkable
class DepthTeacher(Protocol):
    """A network for relative inverse depth."""

    def inverse_depth(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> Float32[np.ndarray, "answer_height answer_width"]:
        """Inverse depth of an RGB image up to a positive scale and a shift, at any resolution."""
        ...


class OnnxDepthTeacher:
    """A network in an ONNX file: RGB in 0..255, (1, 3, height, width) at one fixed size; inverse depth out."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingDependencyError("ONNX teachers need onnxruntime: pip install onnxruntime.") from error
        if not path.is_file():
            raise MissingAssetError(f"Expected a teacher at {path}, found nothing; check the path.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._input = self._session.get_inputs()[0]
        self._size = (int(self._input.shape[3]), int(self._input.shape[2]))

    def inverse_depth(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> Float32[np.ndarray, "answer_height answer_width"]:
        small = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA).astype(np.float32)
        (answer,) = self._session.run(None, {self._input.name: small.transpose(2, 0, 1)[None]})
        return np.asarray(answer, np.float32).squeeze()


class TransformersDepthTeacher:
    """A depth model of transformers that answers with inverse depth, such as Depth Anything V2 Small (Apache-2.0)."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import pipeline
        except ImportError as error:
            raise MissingDependencyError("This teacher needs transformers: pip install 'unish[label]'.") from error
        try:
            self._pipeline: Any = pipeline("depth-estimation", model=name)
        except (OSError, ValueError) as error:
            raise MissingAssetError(
                f"Expected a depth model of transformers at {name}, but it cannot be loaded: "
                f"{str(error).splitlines()[0]}; give the id or folder of one, or an ONNX file."
            ) from error

    def inverse_depth(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> Float32[np.ndarray, "answer_height answer_width"]:
        from PIL import Image

        return self._pipeline(Image.fromarray(image))["predicted_depth"].float().squeeze().numpy()


def stored_depth(
    inverse_depth: Float32[np.ndarray, "answer_height answer_width"], width: int, height: int
) -> Float32[np.ndarray, "height width"]:
    """Metres whose reciprocal is the teacher's answer times a factor, resized to `width` by `height` pixels.

    0, unknown, where that is not positive or more than `FARTHEST_M` away.
    """
    inverse = cv2.resize(inverse_depth, (width, height), interpolation=cv2.INTER_LINEAR)
    scaled = inverse / (MEDIAN_DEPTH_M * max(float(np.median(inverse)), 1e-6))
    known = scaled > 1 / FARTHEST_M
    return np.where(known, 1 / np.clip(scaled, 1 / FARTHEST_M, 1 / NEAREST_M), 0).astype(np.float32)


def open_depth_teacher(choice: str) -> DepthTeacher:
    """The teacher in an ONNX file, or a depth model of transformers by its id or folder.

    Raises MissingDependencyError without the package that runs it, MissingAssetError where it cannot be loaded.
    """
    path = Path(choice)
    return OnnxDepthTeacher(path) if path.suffix == ".onnx" else TransformersDepthTeacher(choice)
