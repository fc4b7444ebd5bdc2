"""Body–scene fit: how well the people of a result fit its scene, in a few measures, each with a unit and a rating.

No ground truth is involved: a result is compared with itself (bodies with points, feet with the floor, forward passes
with each other), so a good report does not prove a correct result, but a poor one reveals a wrong one. What each number
means is in docs/report.md.
"""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial import KDTree

from unish.analysis.body_surface import FEET, sole_height_m, visible_surface
from unish.analysis.floor_map import NO_FLOOR, FloorMap
from unish.analysis.foot_contacts import foot_contacts
from unish.geometry.camera import project, unproject_depth
from unish.geometry.metric import VALID_CONFIDENCE
from unish.geometry.transforms import invert_rigid, transform_points
from unish.structures import Fitting, Person, Reconstruction, Window
from unish.utils.atomic_write import atomic_path
from unish.utils.progress import Progress, no_progress


@dataclass(frozen=True)
class Limits:
    """What a measure is called, and up to where it is good and fair; beyond that it is poor."""

    label: str
    unit: str
    good: float | int
    fair: float | int
    main: bool = True
    """Whether it counts for the word of the whole report."""
    at_least: bool = False
    """Whether more is better: then good and fair are lower bounds."""


LIMITS = {
    "body_to_points_median": Limits("Body to depth surface, median", "cm", 4, 10),
    "body_to_points_p90": Limits("Body to depth surface, 90th pct.", "cm", 12, 25, main=False),
    "in_front": Limits("Body in front of the surface", "%", 15, 35, main=False),
    "behind": Limits("Body behind the surface", "%", 15, 35, main=False),
    "feet_gap": Limits("Feet above the floor", "cm", 3, 8),
    "feet_penetration": Limits("Feet below the floor", "cm", 3, 8),
    "foot_sliding": Limits("Foot sliding while standing", "cm/s", 8, 20),
    "seen": Limits("Visible in", "%", 80, 40, main=False, at_least=True),
    "seam_jump": Limits("Jump where stitched, median", "cm", 2, 5),
    "seam_jump_worst": Limits("Jump where stitched, worst", "cm", 5, 15, main=False),
    "join_error": Limits("Scene mismatch where stitched", "%", 2, 5, main=False),
    "scale_agreement": Limits("Scale mismatch", "%", 5, 15),
}
"""Every measure. The limits are chosen, not fitted: 3 to 4 cm is clothing, hair and shoes, which a body model leaves
out; 8 to 10 cm is seen at a glance in the viewer. True labels of synthetic clips are good in all but sliding: a foot
that turns on its spot makes 5 to 16 cm/s, so up to 20 is no more than fair. The shares in front of and behind the
surface tell on which side the distance lies, which counts once: at a fair median of 8 cm they are poor by necessity."""

SURFACE = ("body_to_points_median", "body_to_points_p90", "in_front", "behind")
"""The measures of a body and its points."""
FITTING_LINE = (
    ("outline_iou", "outline", "", 2), ("body_to_points_median", "body to points", " cm", 1),
    ("feet_off_floor", "feet off the floor", " cm", 1), ("foot_sliding", "sliding", " cm/s", 1),
)  # fmt: skip
"""What the text of the report says of a fit: measure, words, unit, digits."""
MAX_FRAMES = 60
"""Most frames of a person whose surfaces are looked at, evenly chosen: a long clip takes seconds too."""
MAX_QUERIES = 1500
"""Most vertices of a frame whose nearest points are looked for."""
OFF_M = 0.05
"""A vertex counts as in front of or behind the depth map from here on: more than clothing, less than a limb."""
EDGE_RATIO = 1.1
"""Where depths of neighbouring pixels differ by this factor one surface ends, and a pixel may hold a mix of two."""


@dataclass(frozen=True)
class Measure:
    """One number about the fit."""

    name: str
    """Its key in `LIMITS`."""
    label: str
    value: float | None
    """In `unit`; None where it cannot be measured."""
    unit: str
    word: str
    """"good", "fair", "poor" or "unknown"."""
    why: str = ""
    """What kept it from being measured."""

    def __str__(self) -> str:
        return "–" if self.value is None else f"{self.value:.1f} {self.unit} {self.word}"


@dataclass(frozen=True)
class PersonFit:
    """The measures of one person."""

    id: int
    name: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class FitReport:
    """The measures of a result: of the whole clip, and of each person."""

    clip: tuple[Measure, ...]
    people: tuple[PersonFit, ...]
    fitting: Fitting | None = None
    """How the bodies were fitted to the clip, with the measures of before and after."""

    @property
    def word(self) -> str:
        """The worst word of the main measures of clip and people; "unknown" where none was measured."""
        measures = [*self.clip, *(measure for person in self.people for measure in person.measures)]
        words = {measure.word for measure in measures if LIMITS[measure.name].main}
        return next((word for word in ("poor", "fair", "good") if word in words), "unknown")

    def to_json(self) -> dict:
        """Plain values for `json.dumps`: numbers are finite, what was not measured is None."""
        return {"format": "unish fit report", "format_version": 1, "word": self.word, **asdict(self)}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON. Raises InputError when the place cannot be written to."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        return Path(path)

    def text(self) -> str:
        """For the terminal: a line a measure, a column a person, four people side by side; then what is not known."""
        lines = [f"Body–scene fit: {self.word}"]
        people = [(person.name, person.measures) for person in self.people]
        whole = ("Whole clip", self.clip)
        for group in [*(people[k : k + 4] for k in range(0, len(people), 4)), [whole]]:
            rows = zip(*(measures for _, measures in group), strict=True)
            rows = [row for row in rows if any(measure.value is not None for measure in row)]
            if rows:
                lines.append(f"  {'':32}" + "".join(f" {name:>17}" for name, _ in group))
            for row in rows:
                lines.append(f"  {row[0].label:32}" + "".join(f" {measure!s:>17}" for measure in row))
        for name, measures in [*people, whole]:
            reasons = dict.fromkeys(measure.why for measure in measures if measure.why)
            lines += [f"  {name}: {'; '.join(reasons)}"] if reasons else []
        return "\n".join([*lines, *self._fitting_lines()])

    def _fitting_lines(self) -> list[str]:
        """A line a person: what fitting changed, or why it kept the network's motion."""
        names = {person.id: person.name for person in self.people}
        lines = []
        for person in self.fitting.people if self.fitting else ():
            changes = [
                f"{label} {before:.{digits}f} → {after:.{digits}f}{unit}"
                for name, before, after in person.measures
                for key, label, unit, digits in FITTING_LINE
                if key == name
            ]
            what = (
                f", fitted: {', '.join(changes)}" if person.fitted else f" keeps the network's motion: {person.reason}"
            )
            lines.append(f"  {names.get(person.id, person.id)}{what}")
        return lines


def fit_report(reconstruction: Reconstruction, progress: Progress = no_progress) -> FitReport:
    """Measure how bodies, points, floor and forward passes of a result agree.

    Looks at one frame at a time, at most `MAX_FRAMES` of each person, so arrays may lie on disk. `progress` is told
    the share done, in 0..1, and what is being done.
    """
    people, floor = [], _floor_of(reconstruction)
    moved_cm = reconstruction.fitting.points_moved_cm if reconstruction.fitting else {}
    for index, person in enumerate(reconstruction.people):
        progress(index / len(reconstruction.people), f"Measuring the body–scene fit of {person.name}")
        measures = fit_measures(reconstruction, index, floor)
        if person.id in moved_cm:
            measures = _before_moving(measures, moved_cm[person.id])
        people.append(PersonFit(person.id, person.name, measures))
    clip = (*_seam_measures(reconstruction), _join_error(reconstruction.windows), _scales(reconstruction.windows))
    return FitReport(clip, tuple(people), reconstruction.fitting)


def fit_measures(
    reconstruction: Reconstruction, index: int, floor: FloorMap, most_frames: int = MAX_FRAMES
) -> tuple[Measure, ...]:
    """The measures of one person as the result has body and points, from at most so many frames; feet over the floor
    that the points show under them, else over the plane."""
    person = reconstruction.people[index]
    surface = _surface_measures(reconstruction, index, most_frames)
    feet = _foot_measures(reconstruction, person, most_frames, floor)
    return (*surface, *feet, _measure("seen", 100 * person.present.mean()))


# --- bodies and points ---------------------------------------------------------------------------------------------


def _before_moving(measures: tuple[Measure, ...], off_cm: float) -> tuple[Measure, ...]:
    """Of a person whose points the fit moved onto the body. They agree with it because they were moved: what counts is
    how far off they lay, and no more is known of that than the median."""
    why = f"the points lay {off_cm:.0f} cm off the body and were moved onto it; the distance before the move counts"
    values = dict.fromkeys(SURFACE, None) | {"body_to_points_median": off_cm}
    return tuple(_measure(m.name, values[m.name], why) if m.name in values else m for m in measures)


def _surface_measures(reconstruction: Reconstruction, index: int, most_frames: int) -> list[Measure]:
    person = reconstruction.people[index]
    frames = _evenly(np.flatnonzero(person.present), most_frames)
    marked = [frame for frame in frames if (reconstruction.person_mask[frame] == index + 1).any()]
    seen = [_body_and_points(reconstruction, index, frame) for frame in marked]
    distance_cm = 100 * np.concatenate([np.zeros(0), *(distance for distance, _ in seen)])
    behind_m = np.concatenate([np.zeros(0), *(behind for _, behind in seen)])
    why = "never seen" if not len(frames) else "no pixels are marked as this person's"
    why = "none of its vertices falls on trusted points" if marked else why
    values = [*np.quantile(distance_cm, (0.5, 0.9))] if len(distance_cm) else [None, None]
    values += [100 * np.mean(behind_m < -OFF_M), 100 * np.mean(behind_m > OFF_M)] if len(behind_m) else [None, None]
    return [_measure(name, value, why) for name, value in zip(SURFACE, values, strict=True)]


def _body_and_points(reconstruction: Reconstruction, index: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the body's visible vertices in one frame, in metres: distance to the nearest of the person's points, and how
    far behind (> 0) the depth map they lie along the ray, where they fall on the person's own pixels."""
    depth = np.array(reconstruction.depth_m[frame])
    mask = reconstruction.person_mask[frame]
    trusted = (reconstruction.confidence[frame] > VALID_CONFIDENCE) & np.isfinite(depth) & (depth > 0)
    own = trusted & (mask == index + 1)
    if not own.any():
        return np.zeros(0), np.zeros(0)
    height, width = depth.shape
    intrinsics = torch.from_numpy(reconstruction.cameras.intrinsics[frame])
    camera_from_world = invert_rigid(torch.from_numpy(reconstruction.cameras.world_from_camera[frame]))
    world = torch.from_numpy(np.array(reconstruction.people[index].vertices_world[frame]))
    vertices = transform_points(camera_from_world, world)
    faces = np.array(reconstruction.faces)
    vertices = torch.from_numpy(visible_surface(vertices.numpy(), faces, intrinsics.numpy(), (width, height)))
    vertices = vertices[vertices[:, 2] > 0]
    pixels = project(vertices, intrinsics).floor()
    inside = ((pixels >= 0) & (pixels < torch.tensor([width, height]))).all(-1)
    vertices = vertices[inside].numpy()
    column, row = pixels[inside].long().numpy().T
    behind = (1 - depth[row, column] / vertices[:, 2]) * np.linalg.norm(vertices, axis=-1)
    # A table or another person in front of the body hides it as well as the body itself does.
    hidden = trusted[row, column] & (mask[row, column] != index + 1) & (behind > OFF_M)
    shown = vertices[~hidden]
    points = unproject_depth(torch.from_numpy(depth), intrinsics).numpy()[own]
    distance = KDTree(points).query(shown[:: len(shown) // MAX_QUERIES + 1])[0]
    edge = maximum_filter(depth, 3) > EDGE_RATIO * minimum_filter(depth, 3)
    return distance, behind[(own & ~edge)[row, column]]


# --- feet and floor ------------------------------------------------------------------------------------------------


def _floor_of(reconstruction: Reconstruction) -> FloorMap:
    """Empty in a world that is not upright."""
    return FloorMap.of(reconstruction) if _is_upright(reconstruction) else NO_FLOOR


def _is_upright(reconstruction: Reconstruction) -> bool:
    return np.allclose(reconstruction.world_up, (0, 0, 1), atol=1e-3)


def _foot_measures(reconstruction: Reconstruction, person: Person, most_frames: int, floor: FloorMap) -> list[Measure]:
    up = reconstruction.world_up
    planted, slides_cm = foot_contacts(person, reconstruction.times_s, reconstruction.fps, up, floor)
    why = "not seen for long enough to see a foot move" if person.present.any() else "never seen"
    sliding = _measure("foot_sliding", np.median(slides_cm) if len(slides_cm) else None, why)
    if not planted.any() or not _is_upright(reconstruction):
        why = "the floor's height is not known in this world" if planted.any() else "never seen"
        return [_measure("feet_gap", None, why), _measure("feet_penetration", None, why), sliding]
    frames = _evenly(np.flatnonzero(planted.any(axis=1)), most_frames)
    standing = [(frame, foot) for frame in frames for foot in (0, 1) if planted[frame, foot]]
    heights_m = np.array(
        [sole_height_m(person.vertices_world[frame], person.joints_world[frame], foot, up) for frame, foot in standing]
    )
    places = np.array([person.joints_world[frame][FEET[foot], :2].mean(0) for frame, foot in standing], np.float64)
    heights_cm = 100 * (heights_m - floor.heights_or_plane_m(np.column_stack([places, heights_m])))
    gap = _measure("feet_gap", np.maximum(heights_cm, 0).mean())
    return [gap, _measure("feet_penetration", np.maximum(-heights_cm, 0).mean()), sliding]


# --- forward passes ------------------------------------------------------------------------------------------------


def _seam_measures(reconstruction: Reconstruction) -> list[Measure]:
    """How far people jump where two forward passes were joined, beyond what their motion elsewhere explains."""
    names = ("seam_jump", "seam_jump_worst")
    windows = reconstruction.windows
    if len(windows) < 2:
        return [_measure(name, None, "one pass, no seams") for name in names]
    # A jump between two frames shows in the second differences at both of them.
    seams = [slice(max(0, b.start - 1), a.stop + 1) for a, b in pairwise(windows)]
    away = np.ones(len(reconstruction), bool)
    for seam in seams:
        away[seam] = False
    jumps = []
    for kicks in map(_kicks, reconstruction.people):
        elsewhere = kicks[away & np.isfinite(kicks)]
        for seam in seams:
            there = kicks[seam][np.isfinite(kicks[seam])]
            if len(there) and len(elsewhere):
                # The largest of n kicks is compared with what the largest of n is elsewhere, as its median has it.
                usual = np.quantile(elsewhere, 0.5 ** (1 / len(there)))
                jumps.append(100 * max(0.0, there.max() - usual))
    why = "nobody is seen both at a seam and away from seams"
    values = (np.median(jumps), np.max(jumps)) if jumps else (None, None)
    return [_measure(name, value, why) for name, value in zip(names, values, strict=True)]


def _kicks(person: Person) -> np.ndarray:
    """(frames,) how far the body as a whole, the mean of its joints, leaves the straight even path through a frame's
    neighbours, in metres per frame; NaN where it is not seen in all three."""
    middle, present = person.joints_world.mean(axis=1, dtype=np.float64), person.present
    kicks = np.full(len(middle), np.nan)
    kicks[1:-1] = np.linalg.norm(np.diff(middle, n=2, axis=0), axis=-1)
    kicks[1:-1][~(present[:-2] & present[1:-1] & present[2:])] = np.nan
    return kicks


def _join_error(windows: tuple[Window, ...]) -> Measure:
    errors = [100 * window.join_error for window in windows[1:]]
    return _measure("join_error", np.median(errors) if errors else None, "one pass, no seams")


def _scales(windows: tuple[Window, ...]) -> Measure:
    """Spread of what each person of each pass says a network unit is worth, about what was taken."""
    votes = [(vote, window.metres_per_unit) for window in windows for _, vote in window.votes]
    if len(votes) < 2:
        return _measure("scale_agreement", None, "fewer than two votes for the scale")
    vote, taken = np.array(votes, np.float64).T
    # 1.4826 turns a median deviation into a standard deviation, if it is Gaussian.
    return _measure("scale_agreement", 100 * np.expm1(1.4826 * np.median(np.abs(np.log(vote / taken)))))


# --- helpers -------------------------------------------------------------------------------------------------------


def _measure(name: str, value: float | np.floating | None, why: str = "") -> Measure:
    limits, sign = LIMITS[name], -1 if LIMITS[name].at_least else 1
    if value is None or not np.isfinite(value):
        why = why if value is None else "the result holds numbers that are not finite"
        return Measure(name, limits.label, None, limits.unit, "unknown", why)
    word = "good" if sign * value <= sign * limits.good else "fair" if sign * value <= sign * limits.fair else "poor"
    return Measure(name, limits.label, float(value) + 0.0, limits.unit, word)


def _evenly(frames: np.ndarray, most: int) -> list[int]:
    """At most so many of the frames, evenly chosen, the first and the last among them."""
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), most)).round().astype(int)
    return frames[chosen].tolist()
