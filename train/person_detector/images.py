"""Pictures with labelled people for the finder: single frames of clips, cut, pasted, zoomed and roughened at random.

The network sees rendered scenes only and must find people in real footage, so nothing about the rendering may help
it: people are pasted into other scenes, backgrounds are overlaid with patterns, colours, sharpness, noise and
compression vary far beyond what a phone does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

SMALLEST_PERSON_PX = 40
"""People with fewer visible pixels than this are neither asked for nor punished."""


@dataclass(frozen=True)
class Picture:
    """One frame: RGB (height, width, 3) uint8, who is where (height, width) uint8 with 0 for nobody and p + 1 for
    person p, and boxes (people, 4) x0, y0, x1, y1 in pixels, of the whole body inside the frame."""

    rgb: np.ndarray
    people: np.ndarray
    boxes_px: np.ndarray


@dataclass(frozen=True)
class StoredFrame:
    """A frame as it lies in a shard, compressed."""

    rgb: bytes
    people: bytes
    boxes_px: np.ndarray

    def open(self) -> Picture:
        """The decoded picture."""
        rgb = cv2.imdecode(np.frombuffer(self.rgb, np.uint8), cv2.IMREAD_COLOR)
        people = cv2.imdecode(np.frombuffer(self.people, np.uint8), cv2.IMREAD_UNCHANGED)
        assert rgb is not None and people is not None
        return Picture(np.ascontiguousarray(rgb[..., ::-1]), people, self.boxes_px)


def frames_of(rows: Iterable[dict[str, Any]], every: int = 1) -> list[StoredFrame]:
    """The frames of clips, still compressed; of each clip every `every`-th frame."""
    stored = []
    for row in rows:
        boxes = np.asarray(row["boxes_px"], np.float32).reshape(-1, len(row["images"]), 4)
        for index in range(0, len(row["images"]), every):
            images, masks = row["images"][index], row["person_mask"][index]
            stored.append(StoredFrame(images["bytes"], masks["bytes"], boxes[:, index]))
    return stored


def plain(picture: Picture, size: tuple[int, int]) -> Picture:
    """The whole picture scaled into (width, height), what is left over black: how the finder is judged."""
    height, width = picture.people.shape
    scale = min(size[0] / width, size[1] / height)
    return _moved(picture, size, scale, (0.0, 0.0))


def augmented(stored: list[StoredFrame], size: tuple[int, int], random: np.random.Generator) -> Picture:
    """A random picture of (width, height): one frame, perhaps with people of others, seen and drawn differently."""
    picture = _zoomed(stored[random.integers(len(stored))].open(), size, random)
    if random.random() < 0.35:
        picture = _with_pattern(picture, random)
    for _ in range(int(random.choice(3, p=[0.55, 0.3, 0.15]))):
        picture = _with_pasted(picture, stored[random.integers(len(stored))].open(), random)
    if random.random() < 0.25:
        picture = _erased(picture, random)
    return Picture(_roughened(picture.rgb, random), picture.people, picture.boxes_px)


# ---------------------------------------------------------------- geometry


def _moved(picture: Picture, size: tuple[int, int], scale: float, shift: tuple[float, float]) -> Picture:
    """x → scale · x + shift, cut to (width, height); people who leave the picture get empty boxes."""
    matrix = np.array([[scale, 0, shift[0] + (scale - 1) / 2], [0, scale, shift[1] + (scale - 1) / 2]])
    rgb = cv2.GaussianBlur(picture.rgb, (0, 0), 0.4 / scale) if scale < 0.8 else picture.rgb
    rgb = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR)
    people = cv2.warpAffine(picture.people, matrix, size, flags=cv2.INTER_NEAREST)
    boxes = picture.boxes_px * scale + np.tile(shift, 2).astype(np.float32)
    return Picture(rgb, people, np.clip(boxes, 0, np.tile(size, 2)).astype(np.float32))


def _mirrored(picture: Picture) -> Picture:
    boxes = picture.boxes_px.copy()
    boxes[:, [0, 2]] = picture.people.shape[1] - boxes[:, [2, 0]]
    return Picture(np.ascontiguousarray(picture.rgb[:, ::-1]), np.ascontiguousarray(picture.people[:, ::-1]), boxes)


def _zoomed(picture: Picture, size: tuple[int, int], random: np.random.Generator) -> Picture:
    if random.random() < 0.5:
        picture = _mirrored(picture)
    height, width = picture.people.shape
    whole = min(size[0] / width, size[1] / height)
    scale = whole * float(np.exp(random.uniform(np.log(0.8), np.log(2.2))))
    room = np.array(size) - scale * np.array([width, height])
    shift = random.uniform(np.minimum(room, 0), np.maximum(room, 0) + 1e-6)
    return _moved(picture, size, scale, (float(shift[0]), float(shift[1])))


# ---------------------------------------------------------------- composition


def _with_pasted(picture: Picture, source: Picture, random: np.random.Generator) -> Picture:
    """Somebody of another frame in front of this one, soft at the border."""
    present = [p for p in range(len(source.boxes_px)) if (source.people == p + 1).sum() > 4 * SMALLEST_PERSON_PX]
    if not present:
        return picture
    if random.random() < 0.5:
        source = _mirrored(source)
    chosen = int(random.choice(present))
    box = source.boxes_px[chosen]
    height, width = picture.people.shape
    scale = float(np.exp(random.uniform(np.log(0.2), np.log(1.1)))) * height / max(box[3] - box[1], 8.0)
    center = np.array([random.uniform(0, width), random.uniform(0.3, 0.9) * height])
    shift = center - scale * (box[:2] + box[2:]) / 2
    moved = _moved(source, (width, height), scale, (float(shift[0]), float(shift[1])))
    mask = (moved.people == chosen + 1).astype(np.uint8)
    if mask.sum() < SMALLEST_PERSON_PX:
        return picture
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), float(random.uniform(0.3, 1.0)))[..., None]
    front = _recolored(moved.rgb, random) if random.random() < 0.7 else moved.rgb
    rgb = (picture.rgb * (1 - alpha) + front * alpha).astype(np.uint8)
    people = np.where(mask > 0, np.uint8(len(picture.boxes_px) + 1), picture.people)
    return Picture(rgb, people, np.concatenate([picture.boxes_px, moved.boxes_px[chosen][None]]))


def _with_pattern(picture: Picture, random: np.random.Generator) -> Picture:
    """The background mixed with smooth noise, stripes and shapes of random colours."""
    height, width = picture.people.shape
    pattern = np.zeros((height, width, 3), np.float32)
    for cells in (2, 5, 12, 40):
        noise = random.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        pattern += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * random.uniform(0, 1)
    pattern *= random.uniform(0.4, 1.2) * 128 / max(float(pattern.mean()), 1.0)
    for _ in range(random.integers(0, 14)):
        color = tuple(float(c) for c in random.uniform(0, 255, 3))
        start, end = (tuple(int(v) for v in random.uniform(0, 1, 2) * (width, height)) for _ in range(2))
        kind = random.integers(3)
        if kind == 0:
            cv2.line(pattern, start, end, color, int(random.integers(1, 16)))
        elif kind == 1:
            cv2.rectangle(pattern, start, end, color, -1)
        else:
            cv2.ellipse(pattern, start, (abs(end[0] - start[0]) + 1, abs(end[1] - start[1]) + 1), 0, 0, 360, color, -1)
    share = random.uniform(0.3, 1.0)
    mixed = picture.rgb * (1 - share) + np.clip(pattern, 0, 255) * share
    alpha = cv2.GaussianBlur((picture.people > 0).astype(np.float32), (0, 0), 0.6)[..., None]
    return Picture((picture.rgb * alpha + mixed * (1 - alpha)).astype(np.uint8), picture.people, picture.boxes_px)


def _erased(picture: Picture, random: np.random.Generator) -> Picture:
    """A patch of something else in front: the people behind it are hidden there."""
    height, width = picture.people.shape
    w, h = int(random.uniform(0.05, 0.35) * width), int(random.uniform(0.05, 0.35) * height)
    x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
    rgb, people = picture.rgb.copy(), picture.people.copy()
    rgb[y : y + h, x : x + w] = random.uniform(0, 255, 3) + random.normal(0, random.uniform(0, 30), (h, w, 1))
    people[y : y + h, x : x + w] = 0
    return Picture(rgb, people, picture.boxes_px)


# ---------------------------------------------------------------- light, lens and sensor


def _recolored(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light: gain of each channel, contrast, gamma."""
    gain = random.uniform(0.75, 1.3, 3) * random.uniform(0.6, 1.5)
    gamma = np.exp(random.uniform(-0.4, 0.4))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gain + random.uniform(-0.1, 0.1)
    levels = 0.5 + (levels - 0.5) * random.uniform(0.6, 1.4)
    table = (levels * 255).clip(0, 255).astype(np.uint8)
    return cv2.LUT(rgb, table[None])


def _roughened(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.8:
        rgb = _recolored(rgb, random)
    if random.random() < 0.15:
        rgb = rgb[..., random.permutation(3)]
    if random.random() < 0.4:  # towards or away from grey
        gray = rgb.mean(axis=-1, keepdims=True)
        rgb = (gray + (rgb - gray) * random.choice([0.0, 0.4, 1.6])).clip(0, 255).astype(np.uint8)
    height, width = rgb.shape[:2]
    roll = random.random()
    if roll < 0.2:
        rgb = cv2.GaussianBlur(rgb, (0, 0), float(random.uniform(0.3, 1.8)))
    elif roll < 0.3:  # motion blur
        length = int(random.integers(3, 9))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(random.integers(length))), (length - 1, int(random.integers(length))), (1.0,), 1)
        rgb = cv2.filter2D(rgb, -1, kernel / kernel.sum())
    elif roll < 0.45:  # a smaller picture blown up
        factor = random.uniform(0.3, 0.9)
        small = cv2.resize(rgb, (int(width * factor), int(height * factor)), interpolation=cv2.INTER_AREA)
        rgb = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    elif roll < 0.55:  # oversharpened
        rgb = cv2.addWeighted(rgb, 1.8, cv2.GaussianBlur(rgb, (0, 0), 1.2), -0.8, 0)
    if random.random() < 0.4:
        noise = random.normal(0, random.uniform(2, 18), rgb.shape).astype(np.float32)
        rgb = (rgb + noise).clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        quality = int(random.integers(15, 90))
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb), [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        rgb = decoded
    return np.ascontiguousarray(rgb)
