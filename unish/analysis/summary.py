"""A result in a few numbers: the same for the terminal, the app and reports."""

from dataclasses import dataclass

import numpy as np

from unish.geometry import FILM_DIAGONAL_MM
from unish.structures import Cameras, Person, Reconstruction


@dataclass(frozen=True)
class PersonSummary:
    """What there is to say about one person."""

    name: str
    frames_seen: int
    height_m: float
    """From the lowest to the highest point of the posed body, in the frame in the middle of all frames' heights."""
    moved_m: float
    """Length of the pelvis's way through the frames in which the person is seen."""


@dataclass(frozen=True)
class Summary:
    """What there is to say about a reconstruction."""

    frames: int
    seconds: float
    camera_path_m: float
    people: tuple[PersonSummary, ...]
    weights: str
    body: str
    finder: str
    device: str
    focal_mm: float
    """Of 35 mm film; the median over the frames."""
    focal_from: str
    """As `Provenance.focal_from`."""
    warnings: tuple[str, ...]

    def lens(self) -> str:
        """The lens in words: "26 mm lens (recorded by the camera)"."""
        sources = {"recorded": "recorded by the camera", "given": "as given", "estimated": "estimated"}
        source = (sources | {"measured": "measured from the camera's motion"}).get(self.focal_from)
        return f"{self.focal_mm:.0f} mm lens" + (f" ({source})" if source else "")


def summarise(reconstruction: Reconstruction) -> Summary:
    """The numbers of a reconstruction, in metres and seconds."""
    made = reconstruction.provenance
    return Summary(
        frames=len(reconstruction),
        seconds=float(reconstruction.times_s[-1] - reconstruction.times_s[0]),
        camera_path_m=_path_length(reconstruction.cameras.centers_world),
        people=tuple(_summarise_person(person, reconstruction.world_up) for person in reconstruction.people),
        weights=made.weights,
        body=made.body,
        finder=made.finder,
        device=made.device,
        focal_mm=_focal_mm(reconstruction.cameras),
        focal_from=made.focal_from,
        warnings=made.warnings,
    )


def _summarise_person(person: Person, world_up: np.ndarray) -> PersonSummary:
    heights = np.ptp(person.vertices_world @ world_up, axis=1)
    return PersonSummary(
        name=person.name,
        frames_seen=int(person.present.sum()),
        height_m=float(np.median(heights[person.present])) if person.present.any() else float(np.median(heights)),
        moved_m=_path_length(person.joints_world[person.present, 0]),
    )


def _focal_mm(cameras: Cameras) -> float:
    diagonal_px = float(np.hypot(cameras.width_px, cameras.height_px))
    return float(np.median(cameras.intrinsics[:, 0, 0])) / diagonal_px * FILM_DIAGONAL_MM


def _path_length(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum())
