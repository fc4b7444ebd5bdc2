"""Windows joined into one world, with a network that knows the truth and tells it with faults, and with the mini."""

import numpy as np
import pytest

import unish
from benchmarks.joining import JoiningConfig, aligned, concatenated, measure, one_pass
from tests.helpers.long_clips import errors_m, one_leaves_and_returns, there_and_back, two_people, up_error_deg
from tests.helpers.oracle import make_track
from train.data.sequences import reconstruct_with_boxes
from train.synthetic.oracle import EXACT, Oracle, OracleFaults
from unish.body import open_body
from unish.errors import Interrupted
from unish.evaluation import metrics
from unish.fusion.windows import split_frames
from unish.pipeline import reconstruction, run_windows
from unish.pipeline.capacity import USABLE_SHARE, frame_bytes

CONFIG = JoiningConfig(frames=90, window=30)
SEAMS = [range(29, 30), range(59, 60)]


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def clip():
    return two_people()


@pytest.fixture(scope="module")
def found(clip, body):
    return reconstruct_with_boxes(clip, Oracle(clip, OracleFaults(wrong_votes=0.3), seed=2), body)


def test_joined_windows_lie_within_a_centimetre_of_the_truth(found, clip):
    """Every window has units and a world of its own, 1 % noise, 5 % outliers and cameras that tremble."""
    cameras, joints = errors_m(found, clip)
    assert len(found.windows) == 4
    assert cameras.max() < 0.01 and np.sqrt((joints**2).mean()) < 0.01
    assert up_error_deg(found, clip) < 1


def test_people_keep_one_shape_and_one_scale(found, clip):
    for person in found.people:
        np.testing.assert_allclose(person.betas, clip.betas[person.id - 1], atol=1e-4)
    for window in found.windows:
        assert window.join_error < 0.02
    assert [person.id for person in found.people] == [1, 2]


def test_a_wrong_scale_of_some_windows_is_rejected(found):
    scales = np.array([scale / window.metres_per_unit for window in found.windows for _, scale in window.votes])
    assert scales.max() > 1.4, "this seed has a window with a wrong scale"
    assert np.abs(np.median(scales) - 1) < 0.01


def test_without_faults_joined_windows_are_one_pass(clip, body):
    one, many = (reconstruct_with_boxes(clip, Oracle(clip, EXACT), body, window=window) for window in (90, 30))
    assert len(one.windows) == 1 and len(many.windows) == 4
    np.testing.assert_allclose(one.cameras.world_from_camera, many.cameras.world_from_camera, atol=0.01)
    np.testing.assert_allclose(one.depth_m, many.depth_m, rtol=1e-4)
    for a, b in zip(one.people, many.people, strict=True):
        np.testing.assert_allclose(a.joints_world[a.present], b.joints_world[a.present], atol=0.015)


@pytest.mark.parametrize("faults", [OracleFaults(), OracleFaults(drift=0.04)], ids=["noise", "drift"])
def test_joining_is_as_good_as_one_pass_and_far_better_than_stringing_together(clip, body, faults):
    rows = {
        way.__name__: measure(way(clip, Oracle(clip, faults), body, CONFIG), clip, body, SEAMS)
        for way in (one_pass, aligned, concatenated)
    }
    mean = {name: {column: np.nanmean(values) for column, values in row.items()} for name, row in rows.items()}
    assert mean["aligned"]["camera_ate_cm"] < mean["one_pass"]["camera_ate_cm"] + 0.5
    for column in ("camera_ate_cm", "wa_mpjpe_mm", "rte_percent", "seam_cm"):
        assert mean["aligned"][column] < 0.35 * mean["concatenated"][column], column
    assert rows["aligned"]["seam_cm"].max() < 2


@pytest.mark.long
def test_the_minis_windows_jump_less_than_concatenated(clip, body):
    mini = unish.load("mini")
    rows = [measure(way(clip, mini, body, CONFIG), clip, body, SEAMS) for way in (aligned, concatenated)]
    assert rows[0]["seam_cm"].mean() < 0.7 * rows[1]["seam_cm"].mean()
    assert rows[0]["camera_ate_cm"][0] < rows[1]["camera_ate_cm"][0]


@pytest.mark.slow
def test_a_clip_that_comes_back_closes_its_loop(body, monkeypatch):
    clip = there_and_back()
    faults = OracleFaults(bend_deg=3.0, drift=0.05)

    def ate_and_gap(network):
        cameras = reconstruct_with_boxes(clip, network, body).cameras.world_from_camera.astype(np.float64)
        ate = metrics.camera_ate(cameras, clip.world_from_camera.astype(np.float64))
        return np.sqrt((ate**2).mean()), 100 * np.linalg.norm(cameras[0, :3, 3] - cameras[-1, :3, 3])

    network = Oracle(clip, faults)
    closed = ate_and_gap(network)
    assert len(network.units) > len(split_frames(180, 30, 10)), "loop-closure passes were run"
    monkeypatch.setattr(reconstruction, "find_revisits", lambda *arguments, **options: ())
    opened = ate_and_gap(Oracle(clip, faults))
    assert closed[0] < 0.6 * opened[0] and closed[1] < 0.5 * opened[1]


def test_somebody_who_comes_and_goes_is_one_person(body):
    """The second person is out of the picture for longer than a window sees."""
    again = one_leaves_and_returns()
    result = reconstruct_with_boxes(again, Oracle(again, OracleFaults()), body)
    person = result.people[1]
    assert not person.present.all() and person.present.any()
    assert np.isfinite(person.vertices_world).all() and np.isfinite(person.body_rotations).all()
    gone = np.flatnonzero(~person.present)
    steps = np.linalg.norm(np.diff(person.translation_world, axis=0), axis=-1)
    assert steps[gone[gone < len(steps)]].max() < 1.0, "absences are bridged evenly, not jumped over"
    cameras, joints = errors_m(result, again)
    assert cameras.max() < 0.02 and np.sqrt((joints**2).mean()) < 0.02


def test_ctrl_c_leaves_the_finished_windows_usable(clip, body, tmp_path):
    def stop(share, message):
        if "frames 41–70" in message:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        reconstruct_with_boxes(clip, Oracle(clip, OracleFaults()), body, progress=stop)
    assert isinstance(caught.value, KeyboardInterrupt)
    partial = caught.value.partial
    assert len(partial) == partial.windows[-1].stop < 90 and len(partial.windows) == 2
    cameras, joints = errors_m(partial, clip)
    assert cameras.max() < 0.01 and np.sqrt((joints**2).mean()) < 0.01
    assert any("Stopped early" in warning for warning in partial.provenance.warnings)
    loaded = unish.Reconstruction.load(partial.save(tmp_path / "partial"))
    assert loaded.windows == partial.windows
    np.testing.assert_array_equal(loaded.depth_m, partial.depth_m)


def test_ctrl_c_before_the_first_window_leaves_nothing(clip, body):
    def stop(share, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        reconstruct_with_boxes(clip, Oracle(clip), body, progress=stop)
    assert not isinstance(caught.value, Interrupted)


def test_a_small_gpu_gets_shorter_windows(clip, body, monkeypatch):
    import torch

    class Small(Oracle):
        def scene(self, images):
            if images.shape[1] > 20:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().scene(images)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    result = reconstruct_with_boxes(clip, Small(clip, OracleFaults()), body)
    assert max(window.stop - window.start for window in result.windows) <= 15
    assert any("memory does not hold" in warning for warning in result.provenance.warnings)
    assert errors_m(result, clip)[0].max() < 0.02


@pytest.mark.parametrize(("share", "expected"), [(0.5, 15), (0.01, 8), (100.0, 30)])
def test_windows_are_as_long_as_the_free_memory_lets_them(clip, body, monkeypatch, share, expected):
    network = Oracle(clip, OracleFaults())
    height, width = clip.images.shape[1:3]
    frame = frame_bytes(network.config.scene, width, height, 2)
    monkeypatch.setattr(run_windows, "free_bytes", lambda device: int(share * 30.5 * frame / USABLE_SHARE))
    result = reconstruct_with_boxes(clip, network, body)
    assert expected - 2 <= max(window.stop - window.start for window in result.windows) <= expected
    expected_warning = f"does not hold 30 frames at once, so windows of {expected} frames"
    assert (expected < 30) == any(expected_warning in warning for warning in result.provenance.warnings)


def test_people_who_are_not_there_together_need_no_memory_together():
    present = np.zeros((3, 60), bool)
    present[0, :20] = present[1, 15:30] = present[2, 50:] = True
    tracks = tuple(make_track(60, absent=tuple(np.flatnonzero(~here)), person=n) for n, here in enumerate(present, 1))
    assert run_windows._max_people(tracks, (range(0, 30), range(30, 60))) == 2
    assert run_windows._max_people(tracks, (range(0, 60),)) == 3
