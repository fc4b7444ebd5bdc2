"""Worlds to draw clips from: the default one, a clean studio, a wild one of phone videos, and the default by phone.

They differ as a rendered data set and real videos do: in textures, light, clothes, cameras, motions and images.
Training in one and testing in the other shows what a network takes with it; geometry labels are exact in each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from train.synthetic import cameras
from train.synthetic import shading as r
from train.synthetic.camera_effects import CameraEffects, Range
from train.synthetic.performers import Wardrobe
from train.synthetic.renderer import Tone
from train.synthetic.scenes import Scene, random_color
from unish.errors import InputError

PATTERNS = (r.BRICKS, r.STRIPES, r.CHECKER, r.TILES, r.PLANKS, r.BLOTCHES)
SCENE_SECONDS = 2.5
"""An action lasts about so long before the next one begins."""


@dataclass(frozen=True)
class Rig:
    """How a world is filmed: intrinsics, place and movement of the camera. It looks at the people all the time."""

    aspects: dict[str, float]
    """Shapes of the image (names of cameras.ASPECTS) with their chances."""
    field_deg: Range
    """Field of view along the longer side."""
    person_share: Range
    """How much of the image's height a person fills; people are never cut off for it."""
    eye_height_m: Range
    """Height of the camera over the floor."""
    orbit_deg_s: float
    """Standard deviation of the rate at which it goes round the people."""
    speed_m_s: float
    """Standard deviation of its drift over the floor, each way."""
    shake: float
    """Size of the hand's tremble: radians of a turn, and metres of a shift."""
    roll_deg: float
    """Standard deviation of a constant tilt."""
    aside: float
    """Standard deviation of how far from the middle people are put, in half widths of the image."""

    def pinhole(self, rng: np.random.Generator, long_side_px: int, aspect: str | None) -> cameras.PinholeCamera:
        """A pinhole camera of this rig, for images of that longer side."""
        aspect = aspect or str(rng.choice(list(self.aspects), p=list(self.aspects.values())))
        pinhole = cameras.random_pinhole(rng, long_side_px, aspect)
        field_rad = np.radians(rng.uniform(*self.field_deg))
        return cameras.centred_pinhole(pinhole.width, pinhole.height, 0.5 * long_side_px / np.tan(field_rad / 2))

    def path(
        self,
        rng: np.random.Generator,
        times_s: np.ndarray,
        pinhole: cameras.PinholeCamera,
        people: np.ndarray,
        tall_m: float,
    ) -> np.ndarray:
        """world_from_camera (T,4,4) that films people at `people` (P,T,2) on the floor, the tallest `tall_m` high."""
        focal = pinhole.intrinsics[0, 0]
        since_middle = times_s - times_s.mean()
        heart = people.mean((0, 1))
        reach = np.linalg.norm(people - heart, axis=-1).max() + 0.6  # an arm's length beside the farthest
        far_enough = focal * max(tall_m / (rng.uniform(*self.person_share) * pinhole.height), 2 * reach / pinhole.width)
        bearing = rng.uniform(0, 2 * np.pi) + np.radians(rng.normal(0, self.orbit_deg_s)) * since_middle
        outward = np.stack([np.cos(bearing), np.sin(bearing)], 1)
        eye_xy = heart + max(far_enough, reach + 0.9) * outward
        eye_xy = eye_xy + np.outer(since_middle, rng.normal(0, self.speed_m_s, 2))
        too_near = 1.0 - np.linalg.norm(people - eye_xy, axis=-1).min()
        if too_near > 0:
            eye_xy = eye_xy + too_near * outward
        eye = np.concatenate([eye_xy, np.full((len(times_s), 1), rng.uniform(*self.eye_height_m))], 1)
        eye = eye + cameras.shake(rng, times_s, self.shake, 3)
        room = max(0.0, 1 - 2 * reach * focal / (far_enough * pinhole.width))  # beside the people
        aside = np.clip(rng.normal(0, self.aside), -room, room) * far_enough * pinhole.width / 2 / focal
        gaze_xy = people.mean(0) + aside * np.stack([-outward[:, 1], outward[:, 0]], 1)
        gaze = np.concatenate([gaze_xy, np.full((len(times_s), 1), tall_m * rng.uniform(0.45, 0.55))], 1)
        gaze = gaze + cameras.shake(rng, times_s, self.shake, 3) * far_enough
        roll = np.radians(rng.normal(0, self.roll_deg)) + cameras.shake(rng, times_s, self.shake, 1)[:, 0]
        return cameras.look_at(eye, gaze, roll)


@dataclass(frozen=True)
class Clothes:
    """What people wear in a world."""

    patterned: float
    """Chance that a garment has a pattern."""
    vivid: float
    """0: only greys; 1: any colour."""
    value: Range
    """Brightness of the colours, linear."""
    long_sleeves: float
    """Chance of sleeves to the wrist, else to above the elbow."""
    long_trousers: float
    """Chance of trousers to the ankle, else to about the knee."""

    def dress(self, rng: np.random.Generator, outfit: np.ndarray, wardrobe: Wardrobe) -> np.ndarray:
        """The outfit (see shading.py) with this world's shirt and trousers; skin, hair and shoes stay."""
        row = outfit.copy()
        for base in (9, 19):
            row[base : base + 3] = random_color(rng, self.vivid, *self.value)
            row[base + 3 : base + 6] = random_color(rng, self.vivid, *self.value)
            worn = rng.random() < self.patterned
            row[base + 6] = rng.choice((r.STRIPES, r.CHECKER, r.TILES)) if worn else r.PLAIN
            row[base + 7] = rng.uniform(0.04, 0.16)
            row[base + 8] = rng.uniform(0.3, 0.7) if row[base + 6] == r.STRIPES else rng.uniform(0.008, 0.02)
        shoulder, elbow, wrist = (abs(wardrobe.joints[j, 0]) for j in (16, 18, 20))
        knee, ankle = (wardrobe.joints[j, 1] for j in (4, 7))
        short = shoulder + rng.uniform(0.1, 0.9) * (elbow - shoulder)
        row[29] = wrist if rng.random() < self.long_sleeves else short
        row[30] = ankle - 0.1 if rng.random() < self.long_trousers else knee + rng.uniform(-0.1, 0.2)
        return row


@dataclass(frozen=True)
class Finish:
    """Surfaces, light and tone of a world's scenes; their geometry stays as it was built."""

    patterned: float
    """Chance that a surface has a pattern."""
    vivid: float
    """Factor on the saturation of surfaces."""
    contrast: float
    """Factor on the difference between the two colours of a pattern."""
    grain: Range
    """How much a surface's brightness varies."""
    direct: Range
    """Share of the light that comes from the one lamp (or the sun), and so is missing in shadows."""
    exposure: float
    """Standard deviation of the exposure's log error."""
    white_balance: float
    """Standard deviation of the log gain of each colour channel."""
    gamma: Range
    """Exponent of the tone curve."""
    vignette: Range
    """Light lost in the corners, as a share."""
    blur_px: Range
    """Defocus."""

    def apply(self, rng: np.random.Generator, scene: Scene) -> Scene:
        """The scene with this finish."""
        rows = scene.materials.copy()
        for row in rows:
            if row[r.GLOW] == 0:  # lamps and windows keep their light
                self._refinish(rng, row)
        light, share = scene.light, rng.uniform(*self.direct)
        total = light.color.mean() + light.ambient.mean()
        hue = light.color / light.color.mean() if light.color.mean() > 1e-3 else np.ones(3)
        light = replace(
            light,
            color=total * share * hue,
            fill_color=light.fill_color * (1 - share),
            ambient=total * (1 - share) * light.ambient / light.ambient.mean(),
        )
        tone = Tone(
            exposure=float(np.exp(rng.normal(0, self.exposure))),
            gamma=float(rng.uniform(*self.gamma)),
            vignette=float(rng.uniform(*self.vignette)),
            blur_px=float(rng.uniform(*self.blur_px)),
            tint=tuple(np.exp(rng.normal(0, self.white_balance, 3)).tolist()),
        )
        return replace(scene, materials=rows, light=light, tone=tone)

    def _refinish(self, rng: np.random.Generator, row: np.ndarray) -> None:
        """Changes one row of the material table in place."""
        kind, pattern = int(row[r.KIND]), int(rng.choice(PATTERNS))
        if rng.random() >= self.patterned:
            row[r.KIND] = r.PLAIN
        elif kind == r.PLAIN:
            row[r.KIND] = pattern
            row[r.LINE] = rng.uniform(0.2, 0.7) if pattern == r.STRIPES else row[r.LINE]
        first, second = row[r.COLOR0 : r.COLOR0 + 3], row[r.COLOR1 : r.COLOR1 + 3]
        second[:] = first + self.contrast * (second - first)
        for color in (first, second):
            color[:] = np.clip(color.mean() + self.vivid * (color - color.mean()), 0.01, 0.95)
        row[r.NOISE] = rng.uniform(*self.grain)


@dataclass(frozen=True)
class World:
    """What clips are drawn from. Parts that are None are drawn as in the default world."""

    name: str
    indoor: float = 0.6
    """Chance of a room; else a street."""
    people: tuple[float, float, float] = (0.62, 0.26, 0.12)
    """Chances of one, two and three people."""
    actions: dict[str, float] = field(default_factory=dict)
    """What people do (names of actions.ACTIONS), with chances; nothing: as the actions are drawn by themselves."""
    tempo: float = 1.0
    """Factor on the speed of all motion."""
    clear_view: bool = False
    """Keep things from standing between the camera and the first person."""
    rig: Rig | None = None
    clothes: Clothes | None = None
    finish: Finish | None = None
    effects: CameraEffects | None = None

    def generator(self, seed: int) -> np.random.Generator:
        """Random numbers for a clip; worlds share none, so seed 7 of one says nothing of seed 7 of another."""
        return np.random.default_rng(seed if self == DEFAULT else [seed, *self.name.encode()])

    def script(self, rng: np.random.Generator, duration_s: float) -> tuple[str, ...]:
        """One person's actions in turn; nothing where the world leaves that open."""
        if not self.actions:
            return ()
        scenes = 1 + int(duration_s / SCENE_SECONDS)
        return tuple(str(name) for name in rng.choice(list(self.actions), scenes, p=list(self.actions.values())))


DEFAULT = World("default")

STUDIO = World(
    "studio",
    indoor=0.5,
    people=(0.5, 0.3, 0.2),
    actions={"stand": 0.3, "walk": 0.3, "turn": 0.1, "wave": 0.1, "raise_arms": 0.1, "reach": 0.1},
    tempo=0.6,
    clear_view=True,
    rig=Rig(
        aspects={"16:9": 0.8, "4:3": 0.2},
        field_deg=(25.0, 42.0),
        person_share=(0.55, 0.9),
        eye_height_m=(1.2, 1.8),
        orbit_deg_s=4.0,
        speed_m_s=0.06,
        shake=0.0,
        roll_deg=0.0,
        aside=0.05,
    ),
    clothes=Clothes(patterned=0.0, vivid=0.35, value=(0.06, 0.5), long_sleeves=1.0, long_trousers=1.0),
    finish=Finish(
        patterned=0.25, vivid=0.4, contrast=0.5, grain=(0.02, 0.1), direct=(0.1, 0.35), exposure=0.05,
        white_balance=0.01, gamma=(2.2, 2.2), vignette=(0.0, 0.0), blur_px=(0.0, 0.0),
    ),
)  # fmt: skip
"""Plays a rendered data set such as BEDLAM: clean, plain, evenly lit, calm, filmed from a tripod or a slow dolly."""

WILD = World(
    "wild",
    indoor=0.7,
    people=(1.0, 0.0, 0.0),
    actions={"dance": 0.6, "raise_arms": 0.12, "squat": 0.08, "turn": 0.1, "wave": 0.05, "walk": 0.05},
    tempo=1.4,
    clear_view=True,
    rig=Rig(
        aspects={"9:16": 0.55, "3:4": 0.15, "16:9": 0.2, "1:1": 0.1},
        field_deg=(55.0, 80.0),
        person_share=(0.4, 0.85),
        eye_height_m=(0.5, 2.0),
        orbit_deg_s=14.0,
        speed_m_s=0.25,
        shake=0.02,
        roll_deg=4.0,
        aside=0.3,
    ),
    clothes=Clothes(patterned=0.75, vivid=1.0, value=(0.01, 0.9), long_sleeves=0.25, long_trousers=0.45),
    finish=Finish(
        patterned=0.9, vivid=1.15, contrast=1.5, grain=(0.2, 0.9), direct=(0.5, 0.9), exposure=0.3,
        white_balance=0.14, gamma=(1.7, 2.7), vignette=(0.2, 0.8), blur_px=(0.2, 0.9),
    ),
    effects=CameraEffects(),
)  # fmt: skip
"""Plays real videos of one dancing person: phones, hard light, busy surfaces, noise, smear and compression."""

PHONE = World(
    "phone",
    effects=CameraEffects(
        shutter_s=(1 / 240, 1 / 30), drift=0.02, contrast=(0.0, 0.4), noise=(0.003, 0.025), sharpen=(0.0, 0.6),
        crf=(20, 34), hdr=(0.0, 0.6), readout_s=(0.008, 0.03), each_its_way=True,
    ),
)  # fmt: skip
"""The default world through a phone: rolling shutter, motion blur, local tone curves, noise and compression."""

WORLDS = {world.name: world for world in (DEFAULT, STUDIO, WILD, PHONE)}


def named_world(name: str) -> World:
    """The world of that name.

    Raises:
        InputError: there is none.
    """
    if name not in WORLDS:
        raise InputError(f"--world should be one of {', '.join(WORLDS)}, got {name}.")
    return WORLDS[name]
