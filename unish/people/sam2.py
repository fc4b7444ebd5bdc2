"""People segmented through a sequence of frames: SAM 2 video (Ravi et al. 2024), from boxes in the first frame.

Frames are streamed. SAM 2 attends to the first frame and to a few of the latest; everything else of the past is
dropped, so memory does not grow with the clip. Backwards in time is the sequence reversed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional

from unish.errors import CheckpointError, InputError
from unish.people.detect_and_segment import Segments
from unish.people.hf_models import load_network, network_images
from unish.utils.device import chosen_device

SEGMENTER_REPOSITORY = "facebook/sam2.1-hiera-base-plus"
"""SAM 2.1 as transformers reads it; Apache-2.0."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BOX_CORNERS = (2, 3)
"""Labels of a box's two corners among the points of SAM 2's prompt encoder."""


@dataclass(frozen=True)
class Sam2Segmenter:
    """SAM 2 video, with bounded memory; see `load_segmenter`."""

    network: Any
    """A `Sam2VideoModel`."""
    long_side_px: int = 512
    """Masks have this long side, or the frames' where that is less; SAM 2 itself predicts 256 × 256 for any aspect."""
    min_area_share: float = 1e-4
    """Smaller masks, as a share of the frame, are of nobody."""

    def propagate(
        self, frames: Iterable[UInt8[np.ndarray, "height width 3"]], boxes_px: Float[np.ndarray, "objects 4"]
    ) -> Iterator[Segments]:
        """Masks of what is in the boxes of the first frame, in that frame and all later ones; `boxes_px` in its pixels.

        Raises `InputError` when there is no box.
        """
        if not len(boxes_px):
            raise InputError("Expected a box around each person, got none; draw one.")
        session = self._new_session()
        for index, frame in enumerate(frames):
            height, width = frame.shape[:2]
            if index == 0:
                self._prompt(session, boxes_px / np.tile([width, height], 2))
            image = network_images(frame[None], (self._side, self._side), self.network.device, _MEAN, _STD)[0]
            output = self.network(inference_session=session, frame=image, frame_idx=index)
            _forget(session, index, self.network.config)
            yield self._segments(output, width, height)

    @property
    def _side(self) -> int:
        """SAM 2's input is a square of this side, in pixels."""
        return self.network.config.image_size

    def _new_session(self) -> Any:
        from transformers import Sam2VideoInferenceSession

        device, dtype = self.network.device, self.network.dtype
        return Sam2VideoInferenceSession(
            inference_device=device, inference_state_device=device, video_storage_device=device, dtype=dtype
        )

    def _prompt(self, session: Any, boxes: Float[np.ndarray, "objects 4"]) -> None:
        """Prompt with `boxes`, in widths and heights of the frame."""
        corners = torch.from_numpy(boxes * self._side).float().view(-1, 1, 1, 2, 2)
        labels = torch.tensor(_BOX_CORNERS, dtype=torch.int32).view(1, 1, 2)
        for number, points in enumerate(corners):
            prompt = {"point_coords": points, "point_labels": labels}
            session.add_point_inputs(session.obj_id_to_idx(number), 0, prompt)
        session.obj_with_new_inputs = list(range(len(boxes)))

    def _segments(self, output: Any, width: int, height: int) -> Segments:
        scale = min(1.0, self.long_side_px / max(width, height))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        logits = functional.interpolate(output.pred_masks.float(), shape, mode="bilinear", align_corners=False)
        masks = logits[:, 0].cpu().numpy() > 0
        object_logits = output.object_score_logits.float().flatten().cpu().numpy().astype(np.float64)
        absent = (object_logits <= 0) | (masks.mean(axis=(1, 2)) < self.min_area_share)
        masks[absent] = False
        return Segments(masks, np.where(absent, 0.0, 1 / (1 + np.exp(-object_logits))))


def _forget(session: Any, index: int, config: Any) -> None:
    """Drop what SAM 2 does not attend to after frame `index`: images, masks, and memories that are too old."""
    session.processed_frames.clear()
    for outputs in session.output_dict_per_obj.values():
        past = outputs["non_cond_frame_outputs"]
        for output in (outputs["cond_frame_outputs"] | past).values():
            output.pop("high_res_masks", None)
            output.pop("pred_masks", None)
        # In the next frame the distance to frame `index` is one.
        past.pop(index + 1 - max(config.max_object_pointers_in_encoder, config.num_maskmem), None)
        if old := past.get(index + 1 - config.num_maskmem):
            old.pop("maskmem_features", None)
            old.pop("maskmem_pos_enc", None)
    for tracked in session.frames_tracked_per_obj.values():
        tracked.clear()


def load_segmenter(
    source: str | Path = SEGMENTER_REPOSITORY, device: torch.device | str | None = None
) -> Sam2Segmenter:
    """SAM 2 from a Hub repository (from the local cache when it is there) or a local folder.

    In bfloat16 on a GPU, as it was trained and is meant to run, else in float32. Raises `MissingDependencyError`
    without transformers, `MissingAssetError` when the weights cannot be had, `CheckpointError` when they are damaged
    or of another network, `InputError` for a device that is not there.
    """
    target = chosen_device(device)
    network = load_network("Sam2VideoModel", source, target, torch.bfloat16 if target.type == "cuda" else torch.float32)
    if not isinstance(network.config.image_size, int):
        raise CheckpointError(f"Expected a SAM 2 with square input in {source}, got {network.config.image_size}.")
    return Sam2Segmenter(network)
