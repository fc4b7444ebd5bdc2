"""Bodies that are off are brought back by what the clip shows; where it shows nothing they stay, with a word."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from benchmarks.fitting import oracle
from tests.helpers.walks import displaced, joints_px, make_walk, root_errors_m, with_limbs_seen
from train.synthetic.climbing import CLIMB
from train.synthetic.clips import generate_clip
from unish.analysis.fit_report import fit_measures, fit_report
from unish.analysis.floor_map import NO_FLOOR, FloorMap
from unish.body import open_body
from unish.errors import InputError
from unish.fitting import fit, settings
from unish.fitting.calibrate import PersonScale, clip_scale, find_floor, person_scale
from unish.fitting.fit import fit_bodies
from unish.fitting.measures import measure, worse
from unish.fitting.person_fit import Subject
from unish.fitting.scene import moved_scene
from unish.geometry.rotations import axis_angle_to_matrix
from unish.structures import Reconstruction


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def truth(body) -> Reconstruction:
    return make_walk(body, frames=6)


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """What is tested here does not take the whole budget."""
    with pytest.MonkeyPatch.context() as patch:
        quick = dataclasses.replace(settings.AUTO, vertices=80, placement_steps=12, refine_steps=10)
        patch.setattr(settings, "AUTO", quick)
        yield


@pytest.fixture(scope="module")
def off(truth, body) -> Reconstruction:
    """Half a metre too far, 20 cm aside."""
    return displaced(truth, body)


@pytest.fixture(scope="module")
def fitted(off, body, few_steps) -> Reconstruction:
    return fit_bodies(off, body)


def test_a_displaced_body_comes_back(truth, off, fitted):
    before, after = root_errors_m(off, truth), root_errors_m(fitted, truth)
    assert before.mean() > 0.5 and after.mean() < 0.25 * before.mean()
    names = {name: values for name, *values in fitted.fitting.people[0].measures}
    assert names["outline_iou"][1] > max(0.6, names["outline_iou"][0] + 0.2)
    assert names["feet_off_floor"][1] < 2 and fitted.fitting.people[0].fitted


def test_parameters_give_the_vertices(fitted, body):
    person, scene = fitted.people[0], fitted
    posed = body(*(torch.from_numpy(x) for x in (person.betas, person.body_rotations, person.translation_camera)))
    pose = torch.from_numpy(scene.cameras.world_from_camera)
    world = posed.vertices @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
    assert np.allclose(world, person.vertices_world, atol=1e-4)
    assert person.joints_world.dtype == person.network_rotations_world.dtype == np.float32


def test_the_network_s_motion_stays_in_the_result(off, fitted, body, tmp_path):
    person = fitted.people[0]
    rest = body.pelvis_offset(torch.from_numpy(person.network_betas)).numpy()
    pose = fitted.cameras.world_from_camera
    pelvis = np.einsum("fij,fj->fi", pose[:, :3, :3], off.people[0].translation_camera + rest) + pose[:, :3, 3]
    assert np.allclose(person.network_translation_world, pelvis - rest, atol=1e-4)  # each camera sees it as it did
    assert np.allclose(person.network_rotations_world[:, 1:], off.people[0].body_rotations[:, 1:], atol=1e-6)
    read = Reconstruction.load(fitted.save(tmp_path / "saved"))
    assert read.fitting == fitted.fitting
    assert np.array_equal(read.people[0].network_betas, person.network_betas)
    report = fit_report(read)
    assert json.loads(json.dumps(report.to_json()))["fitting"]["people"][0]["fitted"] is True
    assert "Person 1, fitted: " in report.text() and "outline" in report.text()


def test_off_is_the_same_object_and_the_same_twice_the_same(off, fitted, body):
    assert fit_bodies(off, body, "off") is off
    again = fit_bodies(off, body)
    assert np.array_equal(again.people[0].vertices_world, fitted.people[0].vertices_world)
    with pytest.raises(InputError, match="auto, off, full"):
        fit_bodies(off, body, "slow")


def test_progress_rises_and_cancels(off, body):
    shares: list[float] = []

    def stop(share, message):
        shares.append(share)
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_bodies(off, body, progress=stop)
    assert shares == sorted(shares)


def test_keypoints_bring_limbs_back_that_the_network_poses_wrongly(truth, off, body):
    rotations = off.people[0].body_rotations.copy()
    turn = axis_angle_to_matrix(torch.tensor([[0.0, 0, 0.7], [-0.7, 0, 0]])).numpy()
    rotations[:, [16, 1]] = turn @ rotations[:, [16, 1]]
    keypoints = with_limbs_seen(truth, 0.9).people[0].keypoints_px
    scene = with_person(off, body_rotations=rotations)
    without, told = (fit_bodies(s, body) for s in (scene, with_person(scene, keypoints_px=keypoints)))
    limbs = [
        joints_px(result, 0)[:, [18, 20, 4, 7]] - joints_px(truth, 0)[:, [18, 20, 4, 7]] for result in (without, told)
    ]
    missed = [float(np.linalg.norm(error, axis=-1).mean()) for error in limbs]
    assert told.fitting.people[0].fitted and missed[1] < 0.5 * missed[0]


# --- hostile evidence ----------------------------------------------------------------------------------------------


def unchanged(fitted: Reconstruction, scene: Reconstruction) -> bool:
    pairs = zip(fitted.people, scene.people, strict=True)
    return all(np.array_equal(a.vertices_world, b.vertices_world) and a.network_betas is None for a, b in pairs)


def with_person(scene: Reconstruction, **changes) -> Reconstruction:
    return dataclasses.replace(scene, people=(dataclasses.replace(scene.people[0], **changes), *scene.people[1:]))


@pytest.mark.parametrize("what", ["boxes", "motion", "never seen", "tiny"])
def test_without_anything_to_fit_to_the_network_s_motion_stays(truth, body, what):
    person = truth.people[0]
    changes = {
        "boxes": {"boxes_px": np.full_like(person.boxes_px, np.nan)},
        "motion": {"translation_camera": np.full_like(person.translation_camera, np.nan)},
        "never seen": {"present": np.zeros(len(truth), bool)},
        "tiny": {"boxes_px": np.tile(np.float32([40, 40, 43, 46]), (len(truth), 1))},
    }[what]
    scene = with_person(truth, **changes)
    fitted = fit_bodies(scene, body)
    assert unchanged(fitted, scene) and fitted.fitting.scale == 1 and not fitted.fitting.people[0].fitted
    assert fitted.fitting.people[0].reason
    assert f"keeps the network's motion: {fitted.fitting.people[0].reason}" in fit_report(fitted).text()


@pytest.mark.parametrize("what", ["no masks", "no depth", "nan depth", "one frame", "half out of view", "gaps"])
def test_poor_evidence_makes_nothing_worse(truth, off, body, what):
    scene = off
    if what == "no masks":
        scene = dataclasses.replace(off, person_mask=np.zeros_like(off.person_mask))
    elif what == "no depth":
        scene = dataclasses.replace(off, confidence=np.zeros_like(off.confidence))
    elif what == "nan depth":
        scene = dataclasses.replace(off, depth_m=np.full_like(off.depth_m, np.nan))
    elif what == "one frame":
        truth, scene = frames_of(truth, 1), frames_of(off, 1)
    elif what == "half out of view":
        cut = 40
        truth, scene = (lower_part_cut(result, cut) for result in (truth, off))
    elif what == "gaps":
        seen = np.arange(len(off)) % 3 != 1
        scene = with_person(off, present=seen)
    fitted = fit_bodies(scene, body)
    before, after = root_errors_m(scene, truth), root_errors_m(fitted, truth)
    assert np.isfinite(fitted.people[0].vertices_world).all()
    assert after.mean() < (0.6 if what != "half out of view" else 1.05) * before.mean(), (before.mean(), after.mean())


def test_two_people_close_together_are_told_apart(body):
    truth = make_walk(body, frames=3, people=2, seed=5)
    near = displaced(truth, body, (0.1, 0.05, 0.3))
    fitted = fit_bodies(near, body)
    assert (root_errors_m(fitted, truth).mean(1) < 0.7 * root_errors_m(near, truth).mean(1)).all()


def test_points_of_the_mini_s_people_are_compared_where_body_and_lens_put_them(truth, body, monkeypatch):
    """What the floor says of the scale and the points do not is an error of the points of people alone."""
    told = PersonScale(np.log(0.8), 0.02, 6, floor_log=0.0, floor_sigma=0.02, floor_frames=6)
    monkeypatch.setattr(fit, "person_scale", lambda *_: told)
    gains = []
    monkeypatch.setattr(
        fit, "fit_frames", lambda subject, frames, *_: gains.append(subject.points_gain) or subject.course(frames)
    )
    scales = []
    monkeypatch.setattr(fit, "clip_scale", lambda *told: scales.append(clip_scale(*told)) or scales[-1])
    for weights in ("mini", "release"):
        provenance = dataclasses.replace(truth.provenance, weights=weights)
        fit_bodies(dataclasses.replace(truth, provenance=provenance), body)
    assert gains[0] * scales[0] == pytest.approx(0.8) and gains[1] == 1.0
    assert 0.95 < scales[0] < 1.0 and scales[1] < 0.93
    subject = Subject(truth, 0, fit._sparse(truth.people[0], body, settings.AUTO, "cpu"), settings.AUTO, "cpu", 0.8)
    frames = np.arange(len(truth))
    as_it_is = dataclasses.replace(subject, points_gain=1.0).problem(frames, 0.05).evidence.depth_m
    assert torch.allclose(subject.problem(frames, 0.05).evidence.depth_m, 0.8 * as_it_is)


def test_the_floor_comes_under_somebody_whose_feet_never_stand(truth, body):
    """A skater glides: the lower foot is on the floor."""
    raised = moved_scene(truth, 1.0, 0.4, body)
    for seconds in (1.0, 0.1):  # a walk, and one so fast that no foot stands
        fast = dataclasses.replace(raised, times_s=seconds * raised.times_s)
        subject = Subject(fast, 0, fit._sparse(fast.people[0], body, settings.AUTO, "cpu"), settings.AUTO, "cpu")
        rise_m, _ = find_floor([subject], {0: np.inf}, NO_FLOOR, 1.4)
        assert rise_m == pytest.approx(-0.4, abs=0.05)


def test_who_keeps_the_network_s_motion_looks_the_same_in_a_scene_that_grew(body, monkeypatch):
    scene = displaced(make_walk(body, frames=3, people=2, seed=5), body, (0.1, 0.05, 0.3))
    monkeypatch.setattr(fit, "clip_scale", lambda *_: 1.3)
    verdicts = iter([["outline"], []])
    monkeypatch.setattr(fit, "worse", lambda *_: next(verdicts))
    fitted = fit_bodies(scene, body)
    assert fitted.fitting.scale == 1.3 and [person.fitted for person in fitted.fitting.people] == [False, True]
    kept, as_it_was = (joints_px(result, 0) for result in (fitted, scene))
    assert np.abs(kept - as_it_was).max() < 0.01


def test_a_fit_that_is_worse_is_named():
    good = {"outline_iou": 0.7, "body_to_points_median": 3.0, "jerk": 50.0, "foot_sliding": 5.0}
    assert worse(good, good) == [] and worse({}, good) == []
    assert worse(good, good | {"outline_iou": 0.6}) == ["outline"]
    assert worse(good, good | {"jerk": 70.0, "body_to_points_median": 6.0}) == ["distance to the points", "jerk"]
    assert worse(good, good | {"outline_iou": 0.85, "foot_sliding": 20.0, "jerk": 70.0}) == []
    assert worse(good, good | {"outline_iou": 0.69, "jerk": 51.0, "foot_sliding": 7.5}) == []


def test_feet_on_a_step_are_not_off_the_floor(truth, body):
    """On a step that the points show, feet stand as they do on the plane."""
    rng = np.random.default_rng(0)
    step = FloorMap(np.column_stack([rng.uniform(-3, 3, (20_000, 2)), np.full(20_000, 0.5)]), None).moved(1.0, 0.0)
    person = truth.people[0]
    raised = with_person(
        truth, joints_world=person.joints_world + np.float32([0, 0, 0.5]),
        vertices_world=person.vertices_world + np.float32([0, 0, 0.5]),
    )  # fmt: skip
    off = [
        measure(*pair)["feet_off_floor"] for pair in ((truth, 0, NO_FLOOR), (raised, 0, step), (raised, 0, NO_FLOOR))
    ]
    assert off[1] == pytest.approx(off[0], abs=0.01) and off[2] > 45


def test_feet_tell_the_scale_only_over_a_floor_that_points_show(truth, body):
    """Without one the floor is where the network's feet are: it would hold whatever scale the network gave."""
    larger = moved_scene(truth, 1.3, 0.0, body)
    subject = Subject(larger, 0, fit._sparse(larger.people[0], body, settings.AUTO, "cpu"), settings.AUTO, "cpu")
    shown, hidden = (
        person_scale(subject, np.arange(len(truth.times_s)), floor) for floor in (FloorMap.of(larger), NO_FLOOR)
    )
    assert shown is not None and hidden is not None
    assert shown.floor_frames > 0 and shown.floor_log == pytest.approx(-np.log(1.3), abs=0.1)
    assert hidden.floor_frames == 0 and hidden.log_scale == shown.log_scale


def test_the_report_measures_feet_on_stairs_as_the_fit_does(body):
    """Stairs that the camera sees: over the plane the feet would be rated poor."""
    sample = generate_clip(
        940_000_010, frames=24, fps=6.0, long_side_px=252, script=CLIMB, people_count=1, clear_view=True
    )
    fitted = fit_bodies(oracle(sample, body, 10), body)
    after = {name: value for name, _, value in fitted.fitting.people[0].measures}
    reported = {one.name: one for one in fit_report(fitted).people[0].measures}
    over_plane = {one.name: one for one in fit_measures(fitted, 0, NO_FLOOR)}
    for name in ("feet_gap", "feet_penetration", "foot_sliding"):
        assert reported[name].value == pytest.approx(after[name], abs=0.5)
        assert reported[name].word != "poor"
    assert over_plane["feet_gap"].word == "poor" and over_plane["feet_gap"].value > 2 * reported["feet_gap"].value


def test_scenes_grow_about_the_floor_and_bodies_do_not(truth, body):
    larger = moved_scene(truth, 1.5, 0.2, body)
    assert np.allclose(larger.depth_m, 1.5 * truth.depth_m)
    tall = [np.ptp(scene.people[0].vertices_world[..., 2], axis=1) for scene in (truth, larger)]
    assert np.allclose(*tall, atol=1e-4)
    seen = [measure(scene, 0, FloorMap.of(scene))["outline_iou"] for scene in (truth, larger)]
    assert seen[0] > 0.75 > seen[1]  # the body is as large as before, and farther away
    camera = larger.cameras.centers_world[:, 2]
    assert np.allclose(camera, 1.5 * truth.cameras.centers_world[:, 2] + 0.2, atol=1e-5)
    assert moved_scene(truth, 1.0, 0.0, body) is truth


def frames_of(scene: Reconstruction, count: int) -> Reconstruction:
    """The first frames of a result."""

    def cut(holder):
        names = [f.name for f in dataclasses.fields(holder) if isinstance(getattr(holder, f.name), np.ndarray)]
        once = {"betas", "network_betas", "faces", "world_up"}
        return dataclasses.replace(holder, **{n: getattr(holder, n)[:count] for n in names if n not in once})

    return dataclasses.replace(
        cut(scene), cameras=cut(scene.cameras), people=tuple(cut(person) for person in scene.people)
    )


def lower_part_cut(scene: Reconstruction, rows: int) -> Reconstruction:
    """The image without its lowest rows."""
    height = scene.cameras.height_px - rows
    maps = {name: getattr(scene, name)[:, :height] for name in ("images", "depth_m", "confidence", "person_mask")}
    boxes = np.minimum(scene.people[0].boxes_px, np.float32([1e4, 1e4, 1e4, height]))
    cut = dataclasses.replace(scene, **maps, cameras=dataclasses.replace(scene.cameras, height_px=height))
    return with_person(cut, boxes_px=boxes)
