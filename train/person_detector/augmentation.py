"""Training images for the detector, cut, pasted, zoomed and degraded at random.

Neither the look of the renderer nor that of a few rooms may help the network: people are pasted into other scenes,
rendered ones onto real images without people, backgrounds are overlaid with patterns, several images share one frame,
and colours, sharpness, noise and compression vary far beyond what a phone does.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from train.data.numbered_batches import ClipPool
from train.person_detector.person_images import SMALLEST_PERSON_PX, UNKNOWN, PersonImage, RealImage, StoredImage

Size = tuple[int, int]
"""(width, height)"""
_PEOPLED_SHARE = 0.65
"""Share of real images that show somebody for certain; the others show what may be taken for people."""


class ImageSources:
    """What training images are made of."""

    def __init__(
        self,
        rendered: Sequence[StoredImage],
        clips: Sequence[Sequence[RealImage]] = (),
        real_share: float = 0.6,
        degraded_share: float = 1.0,
    ) -> None:
        """`clips` are real images, those of one clip together.

        `real_share` of the training images are real, `degraded_share` have their colours and sharpness changed.
        """
        self.rendered, self.clips, self.real_share, self.degraded_share = rendered, clips, real_share, degraded_share
        peopled = [[image for image in clip if image.certain.any()] for clip in clips]
        others = [[image for image in clip if not image.certain.any()] for clip in clips]
        self._pools = [pool for pool in (ClipPool(peopled), ClipPool(others)) if pool.clips]
        self._empty = [image for clip in clips for image in clip if image.empty]

    def real(self, random: np.random.Generator) -> PersonImage:
        """Some real image, mostly one with people."""
        return self._pools[0 if random.random() < _PEOPLED_SHARE else -1].draw(random).open()

    def synthetic(self, random: np.random.Generator) -> PersonImage:
        """Some rendered image."""
        return self.rendered[int(random.integers(len(self.rendered)))].open()

    def any(self, random: np.random.Generator) -> PersonImage:
        """A real or a rendered image."""
        real = len(self.clips) > 0 and (random.random() < self.real_share or not len(self.rendered))
        return self.real(random) if real else self.synthetic(random)

    def backdrop(self, random: np.random.Generator) -> np.ndarray | None:
        """The pixels of a real image without people, if there is one."""
        return self._empty[random.integers(len(self._empty))].labelled.rgb() if self._empty else None


def sample_image(sources: ImageSources, size: Size, random: np.random.Generator) -> PersonImage:
    """A random training image of (width, height)."""
    if random.random() < 0.25:
        image = _mosaic(sources, size, random)
    else:
        image = _single(sources, size, random)
    if len(sources.rendered):
        for _ in range(int(random.choice(3, p=[0.65, 0.25, 0.1]))):
            image = _with_pasted(image, sources.synthetic(random), random)
    if random.random() < 0.2:
        image = _erased(image, random)
    rgb = _degraded(image.rgb, random) if random.random() < sources.degraded_share else image.rgb
    return PersonImage(rgb, image.people, image.boxes_px, image.certain)


def _single(sources: ImageSources, size: Size, random: np.random.Generator) -> PersonImage:
    """One image, seen at random; a rendered one often with another background."""
    source = sources.any(random)
    image = _zoomed(source, size, random)
    if (source.people == UNKNOWN).any() or not (source.people > 0).any():
        return image
    roll = random.random()
    backdrop = sources.backdrop(random) if roll < 0.4 else None
    if backdrop is not None:
        return _with_background(image, _cover(backdrop, size, random), 1.0)
    return _with_pattern(image, random) if roll > 0.75 else image


def _mosaic(sources: ImageSources, size: Size, random: np.random.Generator) -> PersonImage:
    """Two or four images side by side: more people, and smaller ones."""
    width, height = size
    columns = [width // 2, width - width // 2] if random.random() < 0.75 or width > height else [width]
    rows = [height // 2, height - height // 2] if len(columns) == 1 or random.random() < 0.5 else [height]
    rgb, people = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    boxes, certain = [np.zeros((0, 4), np.float32)], [np.zeros(0, bool)]
    y = 0
    for h in rows:
        x = 0
        for w in columns:
            part, count = _zoomed(sources.any(random), (w, h), random), sum(map(len, certain))
            rgb[y : y + h, x : x + w] = part.rgb
            ids = part.people.astype(int) + count
            people[y : y + h, x : x + w] = np.where((part.people > 0) & (part.people < UNKNOWN), ids, part.people)
            boxes.append(part.boxes_px + np.array([x, y, x, y], np.float32))
            certain.append(part.certain)
            x += w
        y += h
    return PersonImage(rgb, people, np.concatenate(boxes), np.concatenate(certain))


# ---------------------------------------------------------------- geometry


def fitted(image: PersonImage, size: Size) -> PersonImage:
    """The whole image scaled into (width, height), what is left over black: how the detector is evaluated."""
    height, width = image.people.shape
    return _moved(image, size, min(size[0] / width, size[1] / height), (0.0, 0.0))


def _moved(image: PersonImage, size: Size, scale: float, shift: tuple[float, float]) -> PersonImage:
    """x → scale · x + shift, cut to (width, height); people who leave the image get empty boxes."""
    matrix = np.array([[scale, 0, shift[0] + (scale - 1) / 2], [0, scale, shift[1] + (scale - 1) / 2]])
    rgb = cv2.GaussianBlur(image.rgb, (0, 0), 0.4 / scale) if scale < 0.8 else image.rgb
    rgb = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR)
    people = cv2.warpAffine(image.people, matrix, size, flags=cv2.INTER_NEAREST)
    boxes = image.boxes_px * scale + np.tile(shift, 2).astype(np.float32)
    return PersonImage(rgb, people, np.clip(boxes, 0, np.tile(size, 2)).astype(np.float32), image.certain)


def _mirrored(image: PersonImage) -> PersonImage:
    boxes = image.boxes_px.copy()
    boxes[:, [0, 2]] = image.people.shape[1] - boxes[:, [2, 0]]
    rgb, people = (np.ascontiguousarray(pixels[:, ::-1]) for pixels in (image.rgb, image.people))
    return PersonImage(rgb, people, boxes, image.certain)


def _zoomed(image: PersonImage, size: Size, random: np.random.Generator) -> PersonImage:
    if random.random() < 0.5:
        image = _mirrored(image)
    height, width = image.people.shape
    whole = min(size[0] / width, size[1] / height)
    scale = whole * float(np.exp(random.uniform(np.log(0.7), np.log(2.4))))
    room = np.array(size) - scale * np.array([width, height])
    shift = random.uniform(np.minimum(room, 0), np.maximum(room, 0) + 1e-6)
    return _moved(image, size, scale, (float(shift[0]), float(shift[1])))


def _cover(rgb: np.ndarray, size: Size, random: np.random.Generator) -> np.ndarray:
    """A random cut-out of an image that fills (width, height)."""
    height, width = rgb.shape[:2]
    scale = max(size[0] / width, size[1] / height) * float(random.uniform(1.0, 1.8))
    room = np.array(size) - scale * np.array([width, height])
    shift = random.uniform(room, 1e-6)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    moved = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return moved[:, ::-1] if random.random() < 0.5 else moved


# ---------------------------------------------------------------- composition


def _with_pasted(image: PersonImage, source: PersonImage, random: np.random.Generator) -> PersonImage:
    """Somebody of a rendered image in front of this one, soft at the border."""
    present = [p for p in range(len(source.boxes_px)) if (source.people == p + 1).sum() > 4 * SMALLEST_PERSON_PX]
    if not present or len(image.boxes_px) > 200:
        return image
    if random.random() < 0.5:
        source = _mirrored(source)
    chosen = int(random.choice(present))
    box = source.boxes_px[chosen]
    height, width = image.people.shape
    scale = float(np.exp(random.uniform(np.log(0.2), np.log(1.1))) * height / max(box[3] - box[1], 8.0))
    center = np.array([random.uniform(0, width), random.uniform(0.3, 0.9) * height])
    shift = center - scale * (box[:2] + box[2:]) / 2
    moved = _moved(source, (width, height), scale, (float(shift[0]), float(shift[1])))
    mask = (moved.people == chosen + 1).astype(np.uint8)
    if mask.sum() < SMALLEST_PERSON_PX:
        return image
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), float(random.uniform(0.3, 1.0)))[..., None]
    front = _color_jittered(moved.rgb, random) if random.random() < 0.7 else moved.rgb
    rgb = (image.rgb * (1 - alpha) + front * alpha).astype(np.uint8)
    people = np.where(mask > 0, np.uint8(len(image.boxes_px) + 1), image.people)
    boxes = np.concatenate([image.boxes_px, moved.boxes_px[chosen][None]])
    return PersonImage(rgb, people, boxes, np.append(image.certain, True))


def _with_background(image: PersonImage, background: np.ndarray, share: float) -> PersonImage:
    """Everything but the people mixed with something else."""
    mixed = image.rgb * (1 - share) + background * share
    alpha = cv2.GaussianBlur((image.people > 0).astype(np.float32), (0, 0), 0.6)[..., None]
    rgb = (image.rgb * alpha + mixed * (1 - alpha)).astype(np.uint8)
    return PersonImage(rgb, image.people, image.boxes_px, image.certain)


def _with_pattern(image: PersonImage, random: np.random.Generator) -> PersonImage:
    """The background mixed with smooth noise, stripes and shapes of random colours."""
    height, width = image.people.shape
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
    return _with_background(image, np.clip(pattern, 0, 255), float(random.uniform(0.3, 1.0)))


def _erased(image: PersonImage, random: np.random.Generator) -> PersonImage:
    """A patch of something else in front: the people behind it are hidden there."""
    height, width = image.people.shape
    w, h = int(random.uniform(0.05, 0.3) * width), int(random.uniform(0.05, 0.3) * height)
    x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
    rgb, people = image.rgb.copy(), image.people.copy()
    rgb[y : y + h, x : x + w] = random.uniform(0, 255, 3) + random.normal(0, random.uniform(0, 30), (h, w, 1))
    people[y : y + h, x : x + w] = 0
    return PersonImage(rgb, people, image.boxes_px, image.certain)


# ---------------------------------------------------------------- light, lens and sensor


def _color_jittered(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light: gain of each channel, contrast, gamma."""
    gain = random.uniform(0.75, 1.3, 3) * random.uniform(0.6, 1.5)
    gamma = np.exp(random.uniform(-0.4, 0.4))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gain + random.uniform(-0.1, 0.1)
    levels = 0.5 + (levels - 0.5) * random.uniform(0.6, 1.4)
    table = (levels * 255).clip(0, 255).astype(np.uint8)
    return cv2.LUT(rgb, table[None])


def _degraded(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.7:
        rgb = _color_jittered(rgb, random)
    if random.random() < 0.08:
        rgb = rgb[..., random.permutation(3)]
    if random.random() < 0.3:  # towards or away from grey
        gray = rgb.mean(axis=-1, keepdims=True)
        rgb = (gray + (rgb - gray) * random.choice([0.0, 0.4, 1.6])).clip(0, 255).astype(np.uint8)
    height, width = rgb.shape[:2]
    roll = random.random()
    if roll < 0.15:
        rgb = cv2.GaussianBlur(rgb, (0, 0), float(random.uniform(0.3, 1.5)))
    elif roll < 0.25:  # motion blur
        length = int(random.integers(3, 9))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(random.integers(length))), (length - 1, int(random.integers(length))), (1.0,), 1)
        rgb = cv2.filter2D(rgb, -1, kernel / kernel.sum())
    elif roll < 0.37:  # a smaller image blown up
        factor = random.uniform(0.3, 0.9)
        small = cv2.resize(rgb, (int(width * factor), int(height * factor)), interpolation=cv2.INTER_AREA)
        rgb = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    elif roll < 0.45:  # oversharpened
        rgb = cv2.addWeighted(rgb, 1.8, cv2.GaussianBlur(rgb, (0, 0), 1.2), -0.8, 0)
    if random.random() < 0.3:
        noise = random.normal(0, random.uniform(2, 15), rgb.shape).astype(np.float32)
        rgb = (rgb + noise).clip(0, 255).astype(np.uint8)
    if random.random() < 0.4:
        quality = int(random.integers(15, 90))
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb), [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        rgb = decoded
    return np.ascontiguousarray(rgb)
