"""The fit report says what was put in: bodies off their points, feet off the floor, jumps at seams, scales apart."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from tests.helpers.reconstructions import make_reconstruction
from train.data import ClipSample
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.report import LIMITS, FitReport, fit_report
from unish.structures import Cameras, Reconstruction, Window
from unish.summary import summarise
from unish.viewer.numbers import numbers_html

FPS = 6.0


def true_reconstruction(clip: ClipSample) -> Reconstruction:
    """The labels of a synthetic clip as a result: z up, the floor at z = 0."""
    body = open_body()
    base = make_reconstruction(clip.frames, clip.people, *clip.images.shape[1:3])
    turn, shift = clip.world_from_camera[:, None, :3, :3], clip.world_from_camera[:, None, :3, 3]
    people = []
    for index, person in enumerate(base.people):
        posed = body(
            torch.from_numpy(clip.betas[index]).expand(clip.frames, -1),
            torch.from_numpy(clip.body_rotations[index]),
            torch.from_numpy(clip.translation_camera[index]),
        )
        vertices, joints = (
            (np.einsum("fxab,fvb->fva", turn, points.numpy()) + shift).astype(np.float32)
            for points in (posed.vertices, posed.joints)
        )
        present = clip.visibility[index] > 0.3
        people.append(dataclasses.replace(person, vertices_world=vertices, joints_world=joints, present=present))
    return dataclasses.replace(
        base,
        images=clip.images,
        depth_m=np.where(clip.depth_m > 0, clip.depth_m, 30).astype(np.float32),
        confidence=(clip.depth_m > 0).astype(np.float32),
        person_mask=clip.person_mask,
        cameras=Cameras(clip.world_from_camera, clip.intrinsics, clip.images.shape[2], clip.images.shape[1]),
        people=tuple(people),
        faces=body.faces.numpy().astype(np.int32),
        times_s=np.arange(clip.frames) / clip.fps,
        world_up=np.float32([0, 0, 1]),
    )


@pytest.fixture(scope="module")
def walker() -> Reconstruction:
    clip = generate_clip(910000018, frames=10, people_count=1, long_side_px=224, script=("stand",), clear_view=True)
    return true_reconstruction(clip)


def measures(report: FitReport, person: int = 0) -> dict[str, float | None]:
    found = {measure.name: measure.value for measure in report.clip}
    if report.people:
        found |= {measure.name: measure.value for measure in report.people[person].measures}
    return found


def moved(reconstruction: Reconstruction, step) -> Reconstruction:
    """The first person moved by (3,) or (frames, 3) metres."""
    step = np.broadcast_to(np.asarray(step, np.float32), (len(reconstruction), 3))[:, None]
    first = reconstruction.people[0]
    first = dataclasses.replace(
        first, vertices_world=first.vertices_world + step, joints_world=first.joints_world + step
    )
    return dataclasses.replace(reconstruction, people=(first, *reconstruction.people[1:]))


# --- bodies and points ---------------------------------------------------------------------------------------------


def test_true_labels_are_good(walker):
    found = measures(fit_report(walker))
    assert found["body_to_points_median"] < 2 and found["in_front"] < 5 and found["behind"] < 5
    assert found["feet_gap"] < 1.5 and found["feet_penetration"] < 1.5 and found["foot_sliding"] < 16
    assert found["seen"] == 100


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_body_off_its_points_is_in_front_or_behind(walker, sign):
    forward = walker.cameras.world_from_camera[:, :3, 2]
    found = measures(fit_report(moved(walker, sign * 0.12 * forward)))
    off, other = ("behind", "in_front") if sign > 0 else ("in_front", "behind")
    assert found[off] > 80 and found[other] < 5
    assert 3 < found["body_to_points_median"] < 13
    # Going on, the distance grows by what is gone.
    farther = measures(fit_report(moved(walker, sign * 1.12 * forward)))
    assert farther["body_to_points_median"] - found["body_to_points_median"] == pytest.approx(100, abs=15)


def test_what_hides_a_body_is_not_held_against_it(walker):
    """Something in front of the lower half, of another label, changes nothing but what is left to look at."""
    depth, mask = walker.depth_m.copy(), walker.person_mask.copy()
    rows = np.flatnonzero((mask[0] > 0).any(axis=1))
    hidden = np.s_[:, rows[len(rows) // 2] :]
    depth[hidden], mask[hidden] = 1.0, 0
    found = measures(fit_report(dataclasses.replace(walker, depth_m=depth, person_mask=mask)))
    assert found["behind"] < 5 and found["body_to_points_median"] < 3


def test_without_masks_it_is_not_measured_and_said_why(walker):
    report = fit_report(dataclasses.replace(walker, person_mask=np.zeros_like(walker.person_mask)))
    assert measures(report)["body_to_points_median"] is None and measures(report)["behind"] is None
    assert "no pixels are marked" in report.text()


# --- feet and floor ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lift_m", [0.07, -0.06])
def test_feet_off_the_floor(walker, lift_m):
    name, other = ("feet_gap", "feet_penetration") if lift_m > 0 else ("feet_penetration", "feet_gap")
    exact = measures(fit_report(walker))
    found = measures(fit_report(moved(walker, [0, 0, lift_m])))
    assert found[name] == pytest.approx(100 * abs(lift_m), abs=exact["feet_gap"] + exact["feet_penetration"] + 0.1)
    assert found[other] < 0.5


def test_a_standing_foot_that_is_dragged_slides(walker):
    still = moved(walker, [0, 0, 0])
    frozen = dataclasses.replace(
        still.people[0],
        vertices_world=still.people[0].vertices_world[:1].repeat(len(still), axis=0),
        joints_world=still.people[0].joints_world[:1].repeat(len(still), axis=0),
    )
    still = dataclasses.replace(still, people=(frozen,))
    assert measures(fit_report(still))["foot_sliding"] == pytest.approx(0, abs=1e-3)
    drag = np.outer(np.arange(len(still)) / FPS, [0.2 * 0.6, 0.2 * 0.8, 0])
    assert measures(fit_report(moved(still, drag)))["foot_sliding"] == pytest.approx(20, abs=0.1)


def test_a_floor_that_is_not_known_is_not_used(walker):
    report = fit_report(dataclasses.replace(walker, world_up=np.float32([0, -1, 0])))
    assert measures(report)["feet_gap"] is None and "floor's height is not known" in report.text()


# --- forward passes ------------------------------------------------------------------------------------------------


def runner(frames: int = 60, speed_m: float = 0.8) -> Reconstruction:
    """Somebody who runs and bobs up and down, in three windows."""
    base = make_reconstruction(frames)
    bob = 0.01 * np.sin(1.3 * np.arange(frames))
    way = np.stack([speed_m * np.arange(frames), 0 * bob, bob], -1)
    windows = tuple(Window(a, b, 2.0, ((1, 2.0),), 0.01) for a, b in ((0, 24), (18, 42), (36, 60)))
    return dataclasses.replace(moved(base, way), windows=windows)


def test_a_jump_at_a_seam_is_found_and_a_fast_runner_is_none():
    smooth = measures(fit_report(runner()))
    assert smooth["seam_jump"] < 2 and smooth["seam_jump_worst"] < 3
    jump = np.zeros((60, 3))
    jump[21:, 1] = 0.12
    found = measures(fit_report(moved(runner(), jump)))
    assert found["seam_jump_worst"] == pytest.approx(12, abs=2)
    elsewhere = np.zeros((60, 3))
    elsewhere[30:, 1] = 0.12
    assert measures(fit_report(moved(runner(), elsewhere)))["seam_jump_worst"] < 3


def test_one_pass_has_no_seams():
    report = fit_report(make_reconstruction())
    assert measures(report)["seam_jump"] is None and measures(report)["join_error"] is None
    assert "one pass, no seams" in report.text()


def test_scales_apart_are_the_spread_of_the_votes():
    base = make_reconstruction()
    random = np.random.default_rng(0)
    votes = 2.0 * np.exp(0.1 * random.standard_normal(400))
    windows = tuple(Window(0, 5, 2.0, ((1, float(a)), (2, float(b))), 0.03) for a, b in votes.reshape(-1, 2))
    found = measures(fit_report(dataclasses.replace(base, windows=windows)))
    assert found["scale_agreement"] == pytest.approx(10.5, abs=1.5)
    assert found["join_error"] == pytest.approx(3)
    alone = dataclasses.replace(base, windows=windows[:1])
    assert measures(fit_report(alone))["scale_agreement"] is not None
    single = dataclasses.replace(base, windows=(dataclasses.replace(windows[0], votes=((1, 2.0),)),))
    assert measures(fit_report(single))["scale_agreement"] is None


# --- the report itself ---------------------------------------------------------------------------------------------


def test_words_follow_the_limits_and_the_worst_main_one_counts(walker):
    for measure in fit_report(moved(walker, [0, 0, 0.05])).people[0].measures:
        limits = LIMITS[measure.name]
        good, fair = (
            (measure.value >= bound) if limits.at_least else (measure.value <= bound)
            for bound in (limits.good, limits.fair)
        )
        assert measure.word == ("good" if good else "fair" if fair else "poor")
    assert fit_report(moved(walker, [0, 0, 0.05])).word == "fair"
    assert fit_report(moved(walker, [0, 0, 0.2])).word == "poor"


@pytest.mark.parametrize("spoil", ["never seen", "one frame", "nan", "nobody"])
def test_whatever_is_missing_the_report_is_plain_json(walker, spoil, tmp_path):
    person = walker.people[0]
    if spoil == "never seen":
        walker = dataclasses.replace(walker, people=(dataclasses.replace(person, present=np.zeros(len(walker), bool)),))
    elif spoil == "one frame":
        walker = make_reconstruction(1)
    elif spoil == "nan":
        walker = moved(walker, [np.nan, 0, 0])
    else:
        walker = dataclasses.replace(walker, people=())
    report = fit_report(walker)
    read = json.loads(report.save(tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert read["word"] == report.word and len(read["people"]) == len(walker.people)
    assert report.text().startswith("How well")
    assert "unish-numbers" in numbers_html(summarise(walker), report) or spoil == "nan"


def test_the_same_result_has_the_same_report(walker):
    assert fit_report(walker) == fit_report(walker)


def test_the_page_about_the_report_has_its_limits(repository):
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| ([≤≥]) ([\d.]+) \| [≤≥] ([\d.]+) \| (yes|no) \|$",
                      (repository / "docs" / "report.md").read_text(), re.MULTILINE)  # fmt: skip
    page = {
        key: (label, unit, float(good), float(fair), main == "yes", sign == "≥")
        for key, label, unit, sign, good, fair, main in rows
    }
    table = {
        key: (limits.label, limits.unit, limits.good, limits.fair, limits.main, limits.at_least)
        for key, limits in LIMITS.items()
    }
    assert page == table


def test_the_numbers_show_it_and_escape_names(walker):
    first = dataclasses.replace(walker.people[0], name="<b>Ann</b>")
    named = dataclasses.replace(walker, people=(first,))
    shown = numbers_html(summarise(named), fit_report(named))
    assert "Body to its points, median" in shown and "good" in shown
    assert "<b>Ann</b>" not in shown and "&lt;b&gt;Ann" in shown
    assert "fit" not in numbers_html(summarise(named))
