"""Real frames with a teacher's relative depth: labels, batches, and the losses of the scene branch."""

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.videos import gray_ramp, write_video
from train.data.prepare import label_depth
from train.data.prepare.depth import RelativeDepth, depth_labeller
from train.data.prepare.label_depth import LabelDepthConfig, labelled_clips
from train.data.prepare.relative_depth import OnnxDepthTeacher, stored_depth
from train.data.pretrain_batches import ViewSettings, relative_depth_batch
from train.data.schema import iterate_clips
from train.objectives.pretrain_losses import relative_depth_losses
from unish.errors import InputError, MissingAssetError


class SlopeTeacher:
    """The lower a pixel, the nearer: inverse depth from 1 at the top to 3 at the bottom."""

    def inverse_depth(self, image):
        return np.repeat(np.linspace(1, 3, 24, dtype=np.float32)[:, None], 32, axis=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("videos") / "walk.mp4", gray_ramp(24, 128, 96), rate=12)
    config = LabelDepthConfig(path.parent, "teacher", path.parent, frames=4, fps=6)
    return list(labelled_clips(path, SlopeTeacher(), config))


def test_labels_are_the_teachers_up_to_a_factor(clips):
    assert clips[0].frames == 4 and clips[0].people == 0 and clips[0].pseudo == ("depth_m",)
    inverse = 1 / clips[0].depth_m[0]
    expected = np.linspace(1, 3, 96)
    column = inverse[:, 50] / np.median(inverse) * 2
    np.testing.assert_allclose(column[4:-4], expected[4:-4], atol=0.03)


def test_images_are_clips_of_one_frame_beside_videos(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "photos" / "holiday"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "beach.png"), np.full((60, 80, 3), (10, 80, 200), np.uint8))
    cv2.imwrite(str(folder.parent / "beach.png"), np.full((20, 30, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no image")
    write_video(folder.parent / "walk.mp4", gray_ramp(12, 64, 48), rate=12)
    monkeypatch.setattr(label_depth, "open_depth_teacher", lambda choice: SlopeTeacher())
    config = LabelDepthConfig(folder.parent, "teacher", tmp_path / "out", frames=2, fps=6, long_side_px=40)
    assert label_depth.label_depth(config) == 5
    assert "broken.jpg" in caplog.text
    samples = {sample.clip_id: sample for sample in iterate_clips(str(tmp_path / "out"))}
    assert len(samples) == 5 and samples["beach.png"].images.shape == (1, 20, 30, 3), "one name in two folders"
    photo = samples["holiday/beach.png"]
    assert photo.images.shape == (1, 30, 40, 3)
    assert np.abs(photo.images.mean((0, 1, 2)) - [200, 80, 10]).max() < 5, "RGB"
    pair = relative_depth_batch([photo], ViewSettings(sizes=((28, 28),)), np.random.default_rng(0))
    assert pair.images.shape[1] == 2


def test_unknown_where_the_teacher_says_nothing_near():
    depth_m = stored_depth(np.array([[1.0, 1.0], [-1.0, 1.0]], np.float32), 2, 2)
    assert depth_m[1, 0] == 0 and depth_m[0, 0] == pytest.approx(4.0)


def test_a_missing_teacher_is_one_sentence(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(MissingAssetError, match="teacher"):
        OnnxDepthTeacher(tmp_path / "teacher.onnx")


def test_videos_can_be_labelled_with_relative_depth(clips, tmp_path):
    labels = RelativeDepth(SlopeTeacher(), "relative:slope", fov_deg=60).label(clips[0].images)
    np.testing.assert_allclose(labels.depth_m, clips[0].depth_m)
    assert labels.intrinsics is not None and labels.intrinsics.shape == (4, 3, 3)
    assert RelativeDepth(SlopeTeacher(), "relative:slope").label(clips[0].images[:1]).intrinsics is None
    with pytest.raises(InputError, match="ONNX file"):
        depth_labeller("relative:", torch.device("cpu"))
    pytest.importorskip("onnxruntime")
    with pytest.raises(MissingAssetError, match="nowhere"):
        depth_labeller(f"relative:{tmp_path / 'nowhere.onnx'}", torch.device("cpu"))


def test_batches_show_pairs_and_mirror_depth_with_the_image(clips):
    settings = ViewSettings(sizes=((56, 42),), real_images_per_batch=6)
    batch = relative_depth_batch(clips, settings, np.random.default_rng(0))
    assert batch.images.shape == (3, 2, 3, 42, 56) and batch.inverse_depth.shape == (3, 2, 42, 56)
    assert (batch.inverse_depth[:, :, 1:] >= batch.inverse_depth[:, :, :-1] - 1e-4).all(), "lower pixels are nearer"
    again = relative_depth_batch(clips, settings, np.random.default_rng(0))
    torch.testing.assert_close(again.images, batch.images)


def test_losses_do_not_depend_on_scale_and_shift_of_inverse_depth():
    inverse = torch.rand(2, 24, 32) + 0.5
    error, edges = relative_depth_losses(1 / (0.3 * inverse + 0.1), inverse)
    assert error < 1e-4 and edges < 1e-3
    other, other_edges = relative_depth_losses(1 / (inverse.flip(2) + 0.1), inverse)
    assert other > 0.3 and other_edges > 0.3


def test_blurred_edges_cost_more_than_sharp_ones():
    inverse = torch.full((1, 32, 32), 0.2)
    inverse[:, 8:24, 10:20] = 1.0
    blurred = torch.nn.functional.avg_pool2d(inverse[None], 7, stride=1, padding=3, count_include_pad=False)[0]
    assert relative_depth_losses(1 / blurred, inverse)[1] > 2 * relative_depth_losses(1 / inverse, inverse)[1] + 0.01


def test_unknown_pixels_and_frames_give_no_gradient():
    inverse = torch.rand(2, 16, 16) + 0.5
    inverse[0] = 0
    inverse[1, :8] = 0
    depth = (1 / (torch.rand(2, 16, 16) + 0.5)).requires_grad_()
    sum(relative_depth_losses(depth, inverse)).backward()
    assert depth.grad is not None and torch.isfinite(depth.grad).all()
    assert (depth.grad[0] == 0).all() and (depth.grad[1, :8] == 0).all() and (depth.grad[1, 8:] != 0).any()
