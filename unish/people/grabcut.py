"""Segmenting a person by colour and shape (GrabCut), and the box around the segmentation."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from unish.people.tracking import box_iou


def segment_person(
    frame: UInt8[np.ndarray, "h w 3"],
    box: Float[np.ndarray, "4"],
    prior: Float32[np.ndarray, "h w"] | None,
) -> Bool[np.ndarray, "h w"]:
    """The person's pixels by GrabCut, from the box alone or from a prior of the same size as the frame."""
    # Limbs reach out of a box by a share of the person's height, however narrow the box is.
    margin_px = 0.3 * float((box[2:] - box[:2]).max())
    x0, y0, x1, y1 = clipped(np.concatenate([box[:2] - 1.6 * margin_px, box[2:] + 1.6 * margin_px]), frame.shape)
    part = np.ascontiguousarray(frame[y0:y1, x0:x1])
    labels = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    reach = box if prior is None else np.concatenate([box[:2] - margin_px, box[2:] + margin_px])
    left, top, right, bottom = clipped(reach - np.tile([x0, y0], 2), part.shape)
    if prior is None:
        labels[top:bottom, left:right] = cv2.GC_PR_FGD
        labels[ellipse(frame.shape, box, 0.08, 0.25)[y0:y1, x0:x1]] = cv2.GC_FGD
    else:
        inside = prior[y0:y1, x0:x1]
        labels[top:bottom, left:right] = np.where(inside > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD)[top:bottom, left:right]
        labels[inside < 0.1] = cv2.GC_BGD
    result = np.zeros(frame.shape[:2], bool)
    person = (labels == cv2.GC_PR_FGD) | (labels == cv2.GC_FGD)
    if _few(labels == cv2.GC_BGD) or _few(person):  # nothing to separate
        result[y0:y1, x0:x1] = person
        return result
    cv2.setRNGSeed(0)
    cv2.grabCut(part, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    result[y0:y1, x0:x1] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return result


def ellipse(shape: tuple[int, ...], box: Float[np.ndarray, "4"], wide: float, high: float) -> Bool[np.ndarray, "h w"]:
    """An ellipse in the middle of a box, its half axes shares of the box's sides."""
    center, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((columns + 0.5 - center[0]) / (wide * size[0])) ** 2 + (
        (rows + 0.5 - center[1]) / (high * size[1])
    ) ** 2 < 1


def components_of_person(
    mask: Bool[np.ndarray, "h w"], prior: Float32[np.ndarray, "h w"], box: Float[np.ndarray, "4"]
) -> Bool[np.ndarray, "h w"]:
    """The connected parts of a mask that belong to the person: those that prior and box support."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    x0, y0, x1, y1 = clipped(box, mask.shape)
    inside = np.zeros(mask.shape, bool)
    inside[y0:y1, x0:x1] = True
    support = np.bincount(labels[inside], prior[inside], minlength=count)[1:]
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = (support >= 0.05 * support.max()) & (support >= 0.35 * areas)
    return np.isin(labels, 1 + np.flatnonzero(kept))


def _few(labels: Bool[np.ndarray, "h w"]) -> bool:
    return int(labels.sum()) < 16


def fitted_box(mask: Bool[np.ndarray, "h w"], box: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
    """The mask's extent where that is plausible beside `box`, else `box`."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return box
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = 1 + np.flatnonzero(areas >= 0.08 * areas.max())
    corners = stats[parts, :2]
    extent = np.concatenate([corners.min(0), (corners + stats[parts, 2:4]).max(0)]).astype(float)
    sides, box_sides = extent[2:] - extent[:2], box[2:] - box[:2]
    plausible = np.all((sides > 0.5 * box_sides) & (sides < 1.7 * box_sides))
    if not plausible or box_iou(extent[None], box[None])[0, 0] < 0.4:
        return box
    return extent


def clipped(box: Float[np.ndarray, "4"], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The box in whole pixels inside a frame of this shape, at least one pixel wide and high."""
    height, width = shape[:2]
    x0, y0, x1, y1 = np.round(box).astype(int)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return int(x0), int(y0), int(min(max(x1, x0 + 1), width)), int(min(max(y1, y0 + 1), height))
