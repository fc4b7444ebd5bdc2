"""The measures of the benchmarks' tables, and a result held against the truth of a sequence, series by series."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unish.analysis.fit_report import fit_report
from unish.body import BodyModel
from unish.errors import InputError
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.metric_values import Series
from unish.evaluation.people_scores import camera_frame_series, contact_series, world_series
from unish.evaluation.predictions import Answer, answer_of
from unish.evaluation.scene_scores import DEPTH_ALIGNMENTS, camera_series, depth_series
from unish.structures import Reconstruction


@dataclass(frozen=True)
class Measure:
    """A line of a table."""

    heading: str
    """With the unit in which it is printed."""
    digits: int
    factor: float | int = 1
    """From the unit of the numbers to the printed one."""
    better: str = "lower"
    """"lower", "higher", or "zero" for what may have either sign."""
    needs: str = "true bodies"
    """What a sequence and a result must have to be measured."""

    def text(self, value: float | None) -> str:
        """As a table prints it; a dash for what is not known."""
        return "–" if value is None or not np.isfinite(value) else f"{self.factor * value:.{self.digits}f}"


_DEPTH, _CAMERAS, _MASKS = "true depth", "true cameras", "true depth and whose each pixel is"
_IN_CAMERA, _CONTACT = "true bodies and true cameras", "whose each pixel is, and bodies with a surface"
_PVE, _FEET = f"{_IN_CAMERA}, of the same vertices as the result's", "SMPL's vertices, true and in the result"
_FIT, _MARKED = "people in the result", "people whose pixels the result marks, which true boxes alone do not"

MEASURES = {
    "abs_rel": Measure("Abs Rel", 3, needs=_DEPTH),
    "delta_125": Measure("δ<1.25", 3, better="higher", needs=_DEPTH),
    "body_abs_rel": Measure("Abs Rel on bodies", 3, needs=_MASKS),
    "body_delta_125": Measure("δ<1.25 on bodies", 3, better="higher", needs=_MASKS),
    "surface_abs_rel": Measure("surface of bodies %", 2, 100, needs=_MASKS),
    "scale_error": Measure("metric scale error %", 1, 100, needs=_DEPTH),
    "ate_m": Measure("ATE m", 3, needs=_CAMERAS),
    "rpe_trans_m": Measure("RPE trans m", 3, needs=_CAMERAS),
    "rpe_rot_deg": Measure("RPE rot °", 3, needs=_CAMERAS),
    "camera_ate_cm": Measure("camera ATE cm", 1, needs=_CAMERAS),
    "pa_mpjpe_mm": Measure("PA-MPJPE mm", 1),
    "mpjpe_mm": Measure("MPJPE mm", 1, needs=_IN_CAMERA),
    "pve_mm": Measure("PVE mm", 1, needs=_PVE),
    "accel": Measure("Accel m/s²", 1, needs=_IN_CAMERA),
    "wa_mpjpe_mm": Measure("WA-MPJPE mm", 1),
    "w_mpjpe_mm": Measure("W-MPJPE mm", 1),
    "rte_percent": Measure("RTE %", 1, needs="true bodies that move"),
    "jitter": Measure("Jitter 10 m/s³", 1),
    "foot_sliding_mm": Measure("foot sliding mm", 1, needs=_FEET),
    "root_error_mm": Measure("root in camera mm", 1, needs=_IN_CAMERA),
    "body_off_points_cm": Measure("body off its points cm", 1, needs=_CONTACT),
    "points_behind_cm": Measure("points behind body cm", 1, better="zero", needs=_CONTACT),
    "fit_body_to_points_cm": Measure("fit: body to points cm", 1, needs=_MARKED),
    "fit_in_front_percent": Measure("fit: body in front %", 1, needs=_MARKED),
    "fit_behind_percent": Measure("fit: body behind %", 1, needs=_MARKED),
    "fit_feet_gap_cm": Measure("fit: feet above floor cm", 1, needs=_FIT),
    "fit_feet_penetration_cm": Measure("fit: feet below floor cm", 1, needs=_FIT),
    "fit_foot_sliding_cm_s": Measure("fit: foot sliding cm/s", 1, needs=_FIT),
    "seconds_per_frame": Measure("s a frame", 3, needs="a method that runs here"),
}
"""Every measure by its name, which ends with the unit of its numbers; without one they are shares of 1, or in m/s²
(accel) and 10 m/s³ (jitter). How long a frame took is measured by the runner, all else by `score`."""

FIT = {
    "fit_body_to_points_cm": "body_to_points_median",
    "fit_in_front_percent": "in_front",
    "fit_behind_percent": "behind",
    "fit_feet_gap_cm": "feet_gap",
    "fit_feet_penetration_cm": "feet_penetration",
    "fit_foot_sliding_cm_s": "foot_sliding",
}
"""How a result fits itself, whatever the truth, by the names of `unish.analysis.fit_report`: one value a person."""


def score(
    reconstruction: Reconstruction,
    sequence: BenchmarkSequence,
    measures: Iterable[str],
    depth_alignment: str = "scale",
    body: BodyModel | None = None,
) -> dict[str, Series]:
    """The series of the measures, as far as result and truth know what they need.

    `body` poses the people between the frames that the method saw (see `answer_of`). Raises InputError where result and
    sequence do not fit, or for a measure or an alignment that is not known; MissingAssetError without the body.
    """
    measures = tuple(measures)
    require_known(measures, depth_alignment)
    series = score_answer(answer_of(reconstruction, sequence, body), sequence, measures, depth_alignment)
    return series | _fit_series(reconstruction, measures)


def score_answer(
    answer: Answer, sequence: BenchmarkSequence, measures: Iterable[str], depth_alignment: str = "scale"
) -> dict[str, Series]:
    """As `score`, for what any method says; all but how a result fits itself, which takes a whole result."""
    wanted = set(measures)
    require_known(tuple(wanted), depth_alignment)
    series: dict[str, Series] = {}
    if wanted & {"abs_rel", "delta_125", "body_abs_rel", "body_delta_125", "surface_abs_rel", "scale_error"}:
        series |= depth_series(answer, sequence, depth_alignment)
    if wanted & {"ate_m", "rpe_trans_m", "rpe_rot_deg", "camera_ate_cm"}:
        series |= camera_series(answer, sequence)
    if wanted & {"pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "accel", "root_error_mm"}:
        series |= camera_frame_series(answer, sequence, with_surfaces="pve_mm" in wanted)
    if wanted & {"wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "jitter", "foot_sliding_mm"}:
        series |= world_series(answer, sequence, with_surfaces="foot_sliding_mm" in wanted)
    if wanted & {"body_off_points_cm", "points_behind_cm"}:
        series |= contact_series(answer, sequence)
    return {name: values for name, values in series.items() if name in wanted}


def require_known(measures: Iterable[str], depth_alignment: str) -> None:
    """Raises InputError for a measure or a depth alignment that is not known."""
    for name in measures:
        if name not in MEASURES:
            raise InputError(f"Expected a measure out of {', '.join(MEASURES)}, got {name!r}; choose one of those.")
    if depth_alignment not in DEPTH_ALIGNMENTS:
        raise InputError(
            f"Expected a depth alignment out of {', '.join(DEPTH_ALIGNMENTS)}, got {depth_alignment!r}; choose one "
            "of those."
        )


def _fit_series(reconstruction: Reconstruction, measures: tuple[str, ...]) -> dict[str, Series]:
    wanted = {name: key for name, key in FIT.items() if name in measures}
    if not wanted:
        return {}
    people = [{m.name: m.value for m in person.measures} for person in fit_report(reconstruction).people]
    found = {name: [p[key] for p in people if p[key] is not None] for name, key in wanted.items()}
    return {name: Series(np.array(values, np.float64)) for name, values in found.items() if values}
