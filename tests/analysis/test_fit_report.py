"""The fit report says what was put in: bodies off their points, feet off the floor, jumps at seams, scales apart."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from tests.helpers.reconstructions import make_reconstruction
from train.data.schema import ClipSample
from train.synthetic.clips import generate_clip
from unish.analysis.fit_report import LIMITS, FitReport, fit_report
from unish.analysis.summary import summarise
from unish.body import open_body
from unish.structures import Cameras, Fitting, PersonFitting, Reconstruction, Window
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
    return changed(reconstruction, vertices_world=first.vertices_world + step, joints_world=first.joints_world + step)


def changed(reconstruction: Reconstruction, **values) -> Reconstruction:
    """Other values for the first person."""
    first = dataclasses.replace(reconstruction.people[0], **values)
    return dataclasses.replace(reconstruction, people=(first, *reconstruction.people[1:]))


def frozen(reconstruction: Reconstruction) -> Reconstruction:
    """The first person as in the first frame throughout."""
    first, frames = reconstruction.people[0], len(reconstruction)
    return changed(
        reconstruction,
        vertices_world=first.vertices_world[:1].repeat(frames, axis=0),
        joints_world=first.joints_world[:1].repeat(frames, axis=0),
    )


def limb_moved(reconstruction: Reconstruction, joints: list[int], step: list[float]) -> Reconstruction:
    """Some of the first person's joints moved, in metres, and the vertices that have them for their nearest."""
    first = reconstruction.people[0]
    nearest = np.linalg.norm(first.vertices_world[0, :, None] - first.joints_world[0], axis=-1).argmin(axis=1)
    vertices, moved_joints = first.vertices_world.copy(), first.joints_world.copy()
    vertices[:, np.isin(nearest, joints)] += np.float32(step)
    moved_joints[:, joints] += np.float32(step)
    return changed(reconstruction, vertices_world=vertices, joints_world=moved_joints)


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


def test_one_distance_counts_once(walker):
    """All of a body 8 cm in front of its surface is fair, as its distance is; the share in front tells the side."""
    report = fit_report(moved(walker, -0.08 * walker.cameras.world_from_camera[:, :3, 2]))
    words = {measure.name: measure.word for measure in report.people[0].measures}
    assert (words["body_to_points_median"], words["in_front"], words["behind"]) == ("fair", "poor", "good")
    assert report.word == "fair"


def test_what_hides_a_body_is_not_held_against_it(walker):
    """Something in front of the lower half, of another label, changes nothing but what is left to look at."""
    depth, mask = walker.depth_m.copy(), walker.person_mask.copy()
    rows = np.flatnonzero((mask[0] > 0).any(axis=1))
    hidden = np.s_[:, rows[len(rows) // 2] :]
    depth[hidden], mask[hidden] = 1.0, 0
    found = measures(fit_report(dataclasses.replace(walker, depth_m=depth, person_mask=mask)))
    assert found["behind"] < 5 and found["body_to_points_median"] < 3 and found["body_to_points_p90"] < 4


def test_the_median_and_the_90_percent_tell_a_part_that_is_off(walker):
    """Legs without points of their own are far from the others'; most of the body is not."""
    mask = walker.person_mask.copy()
    rows = np.flatnonzero((mask[0] > 0).any(axis=1))
    mask[:, rows[len(rows) // 2] :] = 0
    found = measures(fit_report(dataclasses.replace(walker, person_mask=mask)))
    assert found["body_to_points_median"] < 4 and found["body_to_points_p90"] > 15


def test_points_without_confidence_do_not_count(walker):
    depth, confidence = walker.depth_m.copy(), walker.confidence.copy()
    rows = np.flatnonzero((walker.person_mask[0] > 0).any(axis=1))
    depth[:, rows[len(rows) // 2] :] *= 2
    confidence[:, rows[len(rows) // 2] :] = 0.05
    assert measures(fit_report(dataclasses.replace(walker, depth_m=depth)))["in_front"] > 15
    doubted = measures(fit_report(dataclasses.replace(walker, depth_m=depth, confidence=confidence)))
    assert doubted["in_front"] < 5 and doubted["body_to_points_median"] < 4


def test_without_masks_it_is_not_measured_and_said_why(walker):
    report = fit_report(dataclasses.replace(walker, person_mask=np.zeros_like(walker.person_mask)))
    assert measures(report)["body_to_points_median"] is None and measures(report)["behind"] is None
    assert "no pixels are marked" in report.text()


@pytest.mark.parametrize(("off_cm", "word"), [(0.0, "good"), (3.0, "good"), (9.0, "fair"), (22.4, "poor")])
def test_points_that_were_moved_onto_the_body_are_rated_by_the_distance_before(walker, off_cm, word):
    """They agree with the body because they were moved, so that they do says nothing."""
    person, calm = walker.people[0], frozen(walker)
    fitting = Fitting("auto", 1.0, 0.0, (PersonFitting(person.id, True, "", (), off_cm),))
    report = fit_report(dataclasses.replace(calm, fitting=fitting))
    plain = fit_report(calm)
    assert plain.word == "good" and report.word == word
    sentence = "the points lay 22 cm off the body and were moved onto it"
    shown = (report.text(), numbers_html(summarise(calm), report))
    if not off_cm:
        assert report.people == plain.people and not any("moved onto" in text for text in shown)
        return
    found = measures(report)
    assert found["body_to_points_median"] == off_cm
    assert found["body_to_points_p90"] is None and found["in_front"] is None and found["behind"] is None
    assert {name: found[name] for name in ("feet_gap", "foot_sliding", "seen")} == {
        name: measures(plain)[name] for name in ("feet_gap", "foot_sliding", "seen")
    }
    assert all((sentence in text) == (word == "poor") for text in shown)


# --- feet and floor ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lift_m", [0.07, -0.06])
def test_feet_off_the_floor(walker, lift_m):
    name, other = ("feet_gap", "feet_penetration") if lift_m > 0 else ("feet_penetration", "feet_gap")
    exact = measures(fit_report(walker))
    found = measures(fit_report(moved(walker, [0, 0, lift_m])))
    assert found[name] == pytest.approx(100 * abs(lift_m), abs=exact["feet_gap"] + exact["feet_penetration"] + 0.1)
    assert found[other] < 0.5


def test_above_and_below_do_not_cancel(walker):
    sway = np.zeros((len(walker), 3))
    sway[:, 2] = np.where(np.arange(len(walker)) < len(walker) // 2, 0.06, -0.06)
    found = measures(fit_report(moved(frozen(walker), sway)))
    assert found["feet_gap"] == pytest.approx(3, abs=1) and found["feet_penetration"] == pytest.approx(3, abs=1)


def test_only_the_standing_feet_of_seen_frames_are_held_to_the_floor(walker):
    still = frozen(walker)
    exact = measures(fit_report(still))
    one_leg = measures(fit_report(limb_moved(still, [7, 10], [0, 0, 0.3])))
    assert one_leg["feet_gap"] == pytest.approx(exact["feet_gap"], abs=1)
    hand_through_floor = measures(fit_report(limb_moved(still, [22], [0, 0, -1.5])))
    assert hand_through_floor["feet_penetration"] == pytest.approx(exact["feet_penetration"], abs=0.1)
    half = np.arange(len(still)) < len(still) // 2
    flown = moved(still, np.outer(~half, [0, 0, 0.5]))
    assert measures(fit_report(flown))["feet_gap"] > 20
    unseen = measures(fit_report(changed(flown, present=half)))
    assert unseen["feet_gap"] == pytest.approx(exact["feet_gap"], abs=0.1) and unseen["seen"] == 50


@pytest.mark.parametrize("drag_m_per_s", [0.0, 0.2, 0.8])
def test_a_standing_foot_that_is_dragged_slides(walker, drag_m_per_s):
    """However fast, and only as far as it goes over the floor."""
    drag = np.outer(np.arange(len(walker)) / FPS, [0.6 * drag_m_per_s, 0.8 * drag_m_per_s, 0.1])
    found = measures(fit_report(moved(frozen(walker), drag)))
    assert found["foot_sliding"] == pytest.approx(100 * drag_m_per_s, abs=0.1)


def test_a_slow_foot_counts_beside_a_still_one_and_a_swinging_one_does_not(walker):
    still = frozen(walker)
    speed = np.array([0.0, 0.0, 0.06, 0.06, 0.06, 0.06, 0.06, 2.0, 2.0])
    way = np.outer(np.concatenate([[0], np.cumsum(speed / FPS)]), [1, 0, 0])
    assert measures(fit_report(moved(still, way)))["foot_sliding"] == pytest.approx(6, abs=0.1)


def test_a_floor_that_is_not_known_is_not_used(walker):
    report = fit_report(dataclasses.replace(walker, world_up=np.float32([0, -1, 0])))
    assert measures(report)["feet_gap"] is None and "floor's height is not known" in report.text()


# --- forward passes ------------------------------------------------------------------------------------------------


def runner(frames: int = 60, speed_m: float = 0.8, bob_m: float = 0.01) -> Reconstruction:
    """Somebody who runs and bobs up and down, in three windows."""
    base = make_reconstruction(frames)
    bob = bob_m * np.sin(1.3 * np.arange(frames))
    way = np.stack([speed_m * np.arange(frames), 0 * bob, bob], -1)
    windows = tuple(Window(a, b, 2.0, ((1, 2.0),), 0.01) for a, b in ((0, 24), (18, 42), (36, 60)))
    return dataclasses.replace(moved(base, way), windows=windows)


def test_a_jump_at_a_seam_is_found_and_a_fast_runner_is_none():
    smooth = measures(fit_report(runner()))
    assert smooth["seam_jump"] < 2 and smooth["seam_jump_worst"] < 3
    assert measures(fit_report(runner(bob_m=0.05)))["seam_jump_worst"] < 2  # bends of 8 cm, at seams as elsewhere
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
    apart = tuple(dataclasses.replace(windows[0], join_error=error) for error in (0.0, 0.02, 0.06))
    assert measures(fit_report(dataclasses.replace(base, windows=apart)))["join_error"] == pytest.approx(4)
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
    seldom = fit_report(changed(frozen(walker), present=np.arange(len(walker)) < 2))
    assert measures(seldom)["seen"] == 20 and "poor" in {m.word for m in seldom.people[0].measures}
    assert seldom.word == "good"


@pytest.mark.parametrize("spoil", ["never seen", "one frame", "nan", "nan vertices", "nobody"])
def test_whatever_is_missing_the_report_is_plain_json(walker, spoil, tmp_path):
    person = walker.people[0]
    if spoil == "never seen":
        walker = dataclasses.replace(walker, people=(dataclasses.replace(person, present=np.zeros(len(walker), bool)),))
    elif spoil == "one frame":
        walker = make_reconstruction(1)
    elif spoil == "nan":
        walker = moved(walker, [np.nan, 0, 0])
    elif spoil == "nan vertices":
        walker = changed(walker, vertices_world=np.nan * person.vertices_world)
    else:
        walker = dataclasses.replace(walker, people=())
    report = fit_report(walker)
    read = json.loads(report.save(tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert read["word"] == report.word and len(read["people"]) == len(walker.people)
    assert report.text().startswith("Body–scene fit")
    assert "unish-numbers" in numbers_html(summarise(walker), report)


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
    assert "Body to depth surface, median" in shown and "good" in shown
    assert "<b>Ann</b>" not in shown and "&lt;b&gt;Ann" in shown
    assert "fit" not in numbers_html(summarise(named))
