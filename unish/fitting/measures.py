"""How well a person's motion agrees with the clip, before and after a fit, and which of the two is kept."""

from collections.abc import Collection

import cv2
import numpy as np
from jaxtyping import Bool, Float

from unish.analysis.fit_report import fit_measures
from unish.analysis.floor_map import FloorMap
from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.structures import Person, Reconstruction

FRAMES = 16
"""Most frames whose outlines are compared."""
FINER = 2
"""Bodies are drawn on pixels so many times as fine."""
POINT_SPACING = 0.004
"""Between points on a body's surface, as a share of its height."""
NEAREST_M = 0.05
MOST_SPREAD = 0.1
LEAST_FPS = 2.5
SLACK = {
    "outline_iou": (0.03, 0.0), "body_to_points_median": (2.0, 0.25), "feet_off_floor": (4.0, 0.25),
    "foot_sliding": (6.0, 0.5), "jerk": (1.0, 0.2),
}  # fmt: skip
"""A measure is worse where it grew by more than both: an amount in its unit, and a share of what it was."""
MUCH_BETTER, MUCH_NEARER, WIDER = 0.1, 2.5, 5.0
"""Where outlines agree so much better, or joints are nearer to keypoints by so many per cent of the box's height,
margins are so many times as wide: feet that glide evenly beside a person look better than feet under it."""
LABELS = {
    "outline_iou": "outline", "body_to_points_median": "distance to the points", "feet_off_floor": "feet off the floor",
    "foot_sliding": "foot sliding", "jerk": "jerk",
}  # fmt: skip


def measure(scene: Reconstruction, index: int, floor: FloorMap) -> dict[str, float]:
    """Of one person of a scene: those of the fit report that can be measured, feet above or below the floor together
    (cm), the agreement of outlines (share), the distance of joints from keypoints (% of the box's height), and the jerk
    of the joints in the world (m/s³, median). Feet are measured from the floor that the points show under them, else
    from the plane."""
    person = scene.people[index]
    values = {measure.name: measure.value for measure in fit_measures(scene, index, floor, FRAMES)}
    values |= {
        "outline_iou": outline_iou(scene, index),
        "off_keypoints": off_keypoints(scene, index),
        "jerk": jerk(person, scene.times_s),
    }
    if values["feet_gap"] is not None and values["feet_penetration"] is not None:
        values["feet_off_floor"] = values["feet_gap"] + values["feet_penetration"]
    return {name: float(value) for name, value in values.items() if value is not None and np.isfinite(value)}


def untrusted(scene: Reconstruction, surface_sigma: float) -> set[str]:
    """Measures that tell nothing: the distance to points that contradict each other (their relative error is
    `surface_sigma`), and sliding where frames are too far apart to see it."""
    no_points = {"body_to_points_median"} if surface_sigma > MOST_SPREAD else set()
    return no_points | ({"foot_sliding"} if scene.fps < LEAST_FPS else set())


def worse(before: dict[str, float], after: dict[str, float], untold: Collection[str] = ()) -> list[str]:
    """What got worse, in words; the measures of `untold` do not count."""
    gain = after.get("outline_iou", 0.0) - before.get("outline_iou", 0.0)
    nearer = before.get("off_keypoints", 0.0) - after.get("off_keypoints", 0.0)
    found, width = [], WIDER if gain >= MUCH_BETTER or nearer >= MUCH_NEARER else 1.0
    for name, (amount, share) in SLACK.items():
        if name not in before or name in untold:
            continue
        sign = -1 if name == "outline_iou" else 1
        change = sign * (after.get(name, before[name]) - before[name])
        if change > width * max(amount, share * before[name]):
            found.append(LABELS[name])
    return found


def outline_iou(scene: Reconstruction, index: int) -> float | None:
    """Intersection over union of the body's outline and the person's mask, mean over frames; of their boxes, where
    there is no mask. What hides the person does not count. None where the person is never seen."""
    person, values = scene.people[index], []
    seen = np.flatnonzero(person.present)
    for frame in seen[np.linspace(0, len(seen) - 1, min(len(seen), FRAMES)).round().astype(int)].tolist():
        drawn = silhouette(scene, person, frame)
        labels = np.asarray(scene.person_mask[frame])
        mask = labels == index + 1
        if mask.any():
            others = (labels > 0) & ~mask
            values.append((drawn & mask).sum() / max(1, ((drawn & ~others) | mask).sum()))
        else:
            values.append(box_overlap(drawn, np.asarray(person.boxes_px[frame], np.float64)))
    return float(np.mean(values)) if values else None


def silhouette(scene: Reconstruction, person: Person, frame: int) -> Bool[np.ndarray, "height width"]:
    """Pixels of the network's frame that the body covers, by half at least: from points all over its surface."""
    pose = np.linalg.inv(scene.cameras.world_from_camera[frame].astype(np.float64))
    vertices = np.asarray(person.vertices_world[frame], np.float64) @ pose[:3, :3].T + pose[:3, 3]
    corners = vertices[np.asarray(scene.faces)]
    edges = (corners + np.roll(corners, 1, axis=1)) / 2
    points = np.concatenate([vertices, corners.mean(1), edges.reshape(-1, 3)])
    points = points[points[:, 2] > NEAREST_M] @ scene.cameras.intrinsics[frame].astype(np.float64).T
    pixels = FINER * points[:, :2] / points[:, 2:]
    width, height = FINER * scene.cameras.width_px, FINER * scene.cameras.height_px
    drawn = np.zeros((height, width), np.uint8)
    column, row = np.floor(pixels).clip(-1, 2**20).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    drawn[row[inside], column[inside]] = 1
    tall = np.ptp(pixels[:, 1]) if len(pixels) else 0.0
    gap = 2 * int(np.ceil(POINT_SPACING * min(tall, 2.0 * height))) + 1
    drawn = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((gap, gap), np.uint8))
    return drawn.reshape(height // FINER, FINER, width // FINER, FINER).mean((1, 3)) > 0.5


def box_overlap(drawn: np.ndarray, box_px: Float[np.ndarray, "4"]) -> float:
    """Intersection over union of the box of what is drawn and a box, both as far as the image shows them."""
    height, width = drawn.shape
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    if not len(rows):
        return 0.0
    box = np.clip(box_px, 0, [width, height, width, height])
    own = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    sides = (np.minimum(own[2:], box[2:]) - np.maximum(own[:2], box[:2])).clip(min=0)
    areas = [(sides_of[2:] - sides_of[:2]).prod() for sides_of in (own, box)]
    return float(sides.prod() / max(areas[0] + areas[1] - sides.prod(), 1e-9))


def off_keypoints(scene: Reconstruction, index: int) -> float | None:
    """Distance of the limbs' joints from the keypoints in the image, in percent of the box's height: the mean by
    confidence. None where there are no keypoints."""
    person = scene.people[index]
    frames = np.flatnonzero(person.present)
    if person.keypoints_px is None or not len(frames):
        return None
    pose = np.linalg.inv(scene.cameras.world_from_camera[frames].astype(np.float64))
    joints = np.asarray(person.joints_world, np.float64)[frames][:, list(SMPL_LIMBS)]
    in_camera = np.einsum("fij,fkj->fki", pose[:, :3, :3], joints) + pose[:, None, :3, 3]
    homogeneous = np.einsum("fij,fkj->fki", np.asarray(scene.cameras.intrinsics[frames], np.float64), in_camera)
    pixels = homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], NEAREST_M)
    keypoints = np.asarray(person.keypoints_px, np.float64)[frames][:, list(COCO_LIMBS)]
    heights = np.ptp(np.asarray(person.boxes_px, np.float64)[frames][:, 1::2], axis=1).clip(min=1)
    off = 100 * np.linalg.norm(pixels - keypoints[..., :2], axis=-1) / heights[:, None]
    weight = np.where(np.isfinite(off), keypoints[..., 2], 0.0)
    return float((np.nan_to_num(off) * weight).sum() / weight.sum()) if weight.sum() > 0 else None


def jerk(person: Person, times_s: Float[np.ndarray, "frames"]) -> float | None:
    """Median size of the joints' third derivative in the world, where four frames in a row see the person, m/s³."""
    joints, times = np.asarray(person.joints_world, np.float64), np.asarray(times_s, np.float64)
    if len(times) < 4:
        return None
    step = np.diff(times)
    velocity = np.diff(joints, axis=0) / step[:, None, None]
    middle = (step[1:] + step[:-1]) / 2
    acceleration = np.diff(velocity, axis=0) / middle[:, None, None]
    third = np.diff(acceleration, axis=0) / ((middle[1:] + middle[:-1]) / 2)[:, None, None]
    present = person.present
    whole = present[:-3] & present[1:-2] & present[2:-1] & present[3:]
    return float(np.median(np.linalg.norm(third[whole], axis=-1))) if whole.any() else None
