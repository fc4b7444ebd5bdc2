"""Where the human branch alone sees a person's joints: its body, placed so that it fills the person's box.

These are "CameraHMR's own 2-D joints" of the paper's third stage: the branch says pose and shape of a crop, and the
crop says how large and where the body must be.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unish.body import BodyModel
from unish.geometry.camera import project
from unish.models.unish import UniSH
from unish.video.preprocess import bbox_info, crop_people

_BATCH = 32
_ITERATIONS = 20
_NEAREST_M = 0.1


def fit_to_box(
    vertices: Float[Tensor, "*batch vertices 3"],
    boxes_px: Float[Tensor, "*batch 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch 3"]:
    """Translation, in metres, that makes a body's image fill a box: the same middle, and the same longer side.

    `vertices` are metres about the pelvis, in the camera's axes; boxes are x0, y0, x1, y1 in pixels of the intrinsics.
    Starts from weak perspective (depth = focal · size / side) and goes over to full perspective by fixed-point steps:
    depth grows by the ratio of the projected side to the box's, the place moves by the distance of the middles.
    """
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)
    principal = intrinsics[..., :2, 2]
    middle, side = (boxes_px[..., :2] + boxes_px[..., 2:]) / 2, _longer_side(boxes_px).clamp(min=1.0)
    flat = vertices[..., :2]
    extent = flat.amax(-2) - flat.amin(-2)
    nearest = _NEAREST_M - vertices[..., 2].amin(-1)
    depth = torch.maximum((focal * extent).amax(-1) / side, nearest)
    place = (middle - principal) / focal * depth[..., None] - (flat.amax(-2) + flat.amin(-2)) / 2
    for _ in range(_ITERATIONS):
        seen = _image_box(vertices + torch.cat([place, depth[..., None]], dim=-1)[..., None, :], intrinsics)
        depth = torch.maximum(depth * _longer_side(seen) / side, nearest)
        seen = _image_box(vertices + torch.cat([place, depth[..., None]], dim=-1)[..., None, :], intrinsics)
        place = place + (middle - (seen[..., :2] + seen[..., 2:]) / 2) * depth[..., None] / focal
    return torch.cat([place, depth[..., None]], dim=-1)


def own_joints_px(
    model: UniSH,
    body: BodyModel,
    images: UInt8[np.ndarray, "frames height width 3"],
    boxes_px: Float[np.ndarray, "frames 4"],
    intrinsics: Float[np.ndarray, "frames 3 3"],
) -> Float[np.ndarray, "frames 24 2"]:
    """Pixels of one person's 24 SMPL joints in every frame, as the human branch alone sees them.

    Shape is the mean over the frames, as in inference. Joints may lie outside the image. The network runs on its
    own device, the body on the body's.
    """
    device, body_device = next(model.parameters()).device, body.template.device
    cameras, boxes = (
        torch.from_numpy(np.asarray(array, np.float32)).to(body_device) for array in (intrinsics, boxes_px)
    )
    height, width = images.shape[1:3]
    info = bbox_info(boxes, cameras[:, 0, 0], width, height).to(device)
    rotations, betas = [], []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            bodies = model.human(crop_people(images[part], boxes_px[part]).to(device), info[part])
            rotations.append(bodies.body_rotations.to(body_device, torch.float32))
            betas.append(bodies.betas.to(body_device, torch.float32))
        shape = torch.cat(betas).mean(dim=0, keepdim=True)
        posed = body(shape, torch.cat(rotations), shape.new_zeros(1, 3))
        pelvis = posed.joints[:, :1]
        translation = fit_to_box(posed.vertices - pelvis, boxes, cameras)
        joints = project(posed.joints - pelvis + translation[:, None], cameras)
    return joints.cpu().numpy()


def _image_box(points_camera: Tensor, intrinsics: Tensor) -> Tensor:
    pixels = project(points_camera, intrinsics)
    return torch.cat([pixels.amin(-2), pixels.amax(-2)], dim=-1)


def _longer_side(boxes_px: Tensor) -> Tensor:
    return (boxes_px[..., 2:] - boxes_px[..., :2]).amax(-1)
