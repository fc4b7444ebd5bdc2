"""The clip with bodies over it: read back with another decoder."""

import dataclasses

import av
import cv2
import numpy as np
import pytest

from tests.analysis.test_fit_report import true_reconstruction
from tests.helpers.posed import make_posed
from tests.helpers.reconstructions import make_reconstruction
from train.synthetic.clips import generate_clip
from unish.errors import InputError
from unish.export.video import overlay, write_video
from unish.structures import Clip, Reconstruction


@pytest.fixture(scope="module")
def true_scene():
    return true_reconstruction(generate_clip(910000018, frames=4, people_count=1, long_side_px=336, clear_view=True))


def read(path, codec: str = "h264") -> tuple[np.ndarray, list[float]]:
    """Pictures and times."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec and stream.codec_context.pix_fmt == "yuv420p"
        frames = list(container.decode(stream))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [frame.time for frame in frames]


def drawn_over(scene: Reconstruction, frame: int, picture: np.ndarray) -> np.ndarray:
    """The picture with the bodies of a frame."""
    bodies = [(p.vertices_world[frame].astype(float), p.id) for p in scene.people if p.present[frame]]
    return overlay(scene, frame, picture, bodies, scene.cameras, frame)


def share(picture: np.ndarray, plain: np.ndarray, person: np.ndarray) -> float:
    """Intersection over union of what was changed and where the person is."""
    changed = np.abs(picture.astype(int) - plain).max(-1) > 8
    return (changed & person).sum() / (changed | person).sum()


def clip_of(scene: Reconstruction, fps: float, scale: int = 2) -> Clip:
    """The scene's own pictures, larger, at another rate."""
    times = np.arange(scene.times_s[0], scene.times_s[-1] + 1e-6, 1 / fps)
    nearest = np.abs(times[:, None] - scene.times_s).argmin(1)
    pictures = scene.images[nearest].repeat(scale, axis=1).repeat(scale, axis=2)
    return Clip(pictures, times, float(fps), "clip.mp4", pictures.shape[2:0:-1])


def test_true_bodies_cover_true_people(true_scene):
    """What is drawn over a picture agrees with the mask of the person in it."""
    for frame in range(len(true_scene)):
        plain = true_scene.images[frame]
        assert share(drawn_over(true_scene, frame, plain), plain, true_scene.person_mask[frame] > 0) > 0.85


def test_frames_of_another_size_and_a_cut_margin_are_met(true_scene):
    """The network saw the middle of a frame twice as large, whose sides did not fit its patches."""
    height, width = true_scene.images.shape[1:3]
    assert height < width
    cut = 6
    inner = dataclasses.replace(
        true_scene,
        images=true_scene.images[:, cut:-cut],
        depth_m=true_scene.depth_m[:, cut:-cut],
        confidence=true_scene.confidence[:, cut:-cut],
        person_mask=true_scene.person_mask[:, cut:-cut],
        cameras=dataclasses.replace(
            true_scene.cameras,
            intrinsics=true_scene.cameras.intrinsics - np.float32([[0, 0, 0], [0, 0, cut], [0, 0, 0]]),
            height_px=height - 2 * cut,
        ),
    )
    large = cv2.resize(true_scene.images[0], (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    drawn = drawn_over(inner, 0, large)
    person = cv2.resize(true_scene.person_mask[0], (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST) > 0
    assert share(drawn, large, person) > 0.85


def test_what_stands_before_a_person_hides_the_body(true_scene):
    """A wall a metre before the camera, over the left half of the person."""
    mask = true_scene.person_mask[0] > 0
    middle = int(np.nonzero(mask)[1].mean())
    depth, people = true_scene.depth_m.copy(), true_scene.person_mask.copy()
    depth[0, :, :middle], people[0, :, :middle] = 1.0, 0
    walled = dataclasses.replace(true_scene, depth_m=depth, person_mask=people)
    plain = true_scene.images[0]
    changed = np.abs(drawn_over(walled, 0, plain).astype(int) - plain).max(-1) > 8
    assert not changed[:, : middle - 3].any()
    assert (changed & mask)[:, middle:].sum() > 0.8 * mask[:, middle:].sum()


def test_without_the_clip_the_video_has_the_results_frames_and_times(tmp_path):
    scene = make_reconstruction(7)
    shares = []
    path = write_video(scene, tmp_path / "overlay.mp4", progress=shares.append)
    frames, times = read(path)
    assert times == pytest.approx(scene.times_s, abs=1e-3) and shares == sorted(shares) and shares[-1] == 1
    assert frames.shape[1] % 2 == 0 and frames.shape[2] % 2 == 0


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_the_clips_own_size_and_times_are_kept(tmp_path, suffix, codec):
    scene = make_posed(frames=4, people=2)
    clip = clip_of(scene, 3 * scene.fps, scale=8)
    frames, times = read(write_video(scene, tmp_path / f"o{suffix}", clip), codec)
    assert times == pytest.approx(clip.times_s - clip.times_s[0], abs=2e-3)
    assert frames.shape[1:3] == clip.frames.shape[1:3]


def test_between_the_results_frames_bodies_move_on(tmp_path):
    """The middle of what is drawn at a moment between two frames lies between theirs."""
    scene = make_posed(frames=3, people=1)
    clip = clip_of(scene, 2 * scene.fps, scale=4)
    clip = dataclasses.replace(clip, frames=np.full_like(clip.frames, 128))
    frames, _ = read(write_video(scene, tmp_path / "o.mp4", clip))
    drawn = np.abs(frames.astype(int) - 128).max(-1) > 30
    assert drawn.any((1, 2)).all()
    middles = np.array([np.argwhere(picture).mean(0) for picture in drawn])
    moved = np.linalg.norm(middles[2] - middles[0])
    assert np.linalg.norm(middles[1] - middles[[0, 2]].mean(0)) < 0.25 * moved + 1


def test_beside_the_clip_is_a_view_of_the_world(tmp_path):
    scene = make_posed(frames=3, people=2)
    frames, _ = read(write_video(scene, tmp_path / "o.mp4", layout="side-by-side"))
    left, right = np.split(frames, 2, axis=2)
    plain, _ = read(write_video(scene, tmp_path / "plain.mp4"))
    assert np.abs(left.astype(int) - plain).mean() < 6
    people = np.ptp(right.astype(int), axis=-1) > 60
    assert (people.mean((1, 2)) > 0.002).all() and not np.array_equal(people[0], people[2])


def test_a_person_alone_in_the_world_view_is_in_its_picture():
    """However the camera moves, people and cameras of the whole clip project into the view."""
    from unish.export.world_view import WorldView

    scene = make_posed(frames=6, people=2)
    view = WorldView.of(scene, (320, 240))
    wanted = np.concatenate([scene.cameras.centers_world, *(p.joints_world[p.present, 0] for p in scene.people)])
    seen = wanted @ view.camera_from_world[:3, :3].T + view.camera_from_world[:3, 3]
    pixels = seen @ view.still.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    assert (seen[:, 2] > 0).all() and (pixels > 0).all() and (pixels < [320, 240]).all()


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_nobody_is_drawn_where_nobody_is_seen(tmp_path, ending):
    """The files are the same to the byte, however often they are made."""
    scene = make_posed(frames=3, people=1)
    gone = dataclasses.replace(scene.people[0], present=np.zeros(3, bool))
    away, nobody = dataclasses.replace(scene, people=(gone,)), dataclasses.replace(scene, people=())
    clip = clip_of(scene, 12, scale=4)
    files = {write_video(shown, tmp_path / f"o.{ending}", clip).read_bytes() for shown in (away, nobody) * 5}
    assert len(files) == 1


def test_detected_keypoints_are_dots_where_they_lie(tmp_path):
    """In a black clip ten times as large, of nobody: one keypoint is not detected in the second frame, one never."""
    scene = make_reconstruction(3)
    keypoints = np.zeros((3, 17, 3), np.float32)
    keypoints[:, 0], keypoints[:, 1] = (10.5, 5.5, 0.9), (20.5, 15.5, 0.1)
    keypoints[1, 0, 2] = 0
    person = dataclasses.replace(scene.people[0], present=np.zeros(3, bool), keypoints_px=keypoints)
    scene = dataclasses.replace(scene, images=np.zeros_like(scene.images), people=(person,))
    frames, _ = read(write_video(scene, tmp_path / "dots.mp4"))
    bright = frames.max(-1) > 60
    assert bright[:, 50:60, 100:110].any(axis=(1, 2)).tolist() == [True, False, True]
    bright[:, 50:60, 100:110] = False
    assert not bright.any()


def test_what_cannot_be_is_one_sentence_and_no_file(tmp_path):
    scene = make_reconstruction(5)
    late = dataclasses.replace(clip_of(scene, 6), times_s=clip_of(scene, 6).times_s + 60)
    upright = dataclasses.replace(clip_of(scene, 6), frames=np.zeros((5, 64, 24, 3), np.uint8))
    for clip in (late, upright):
        with pytest.raises(InputError, match="Expected the clip that the result was made from"):
            write_video(scene, tmp_path / "x.mp4", clip)
    with pytest.raises(InputError, match=r"ending in .mp4 or .webm"):
        write_video(scene, tmp_path / "x.avi")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_off_video_leaves_no_file(tmp_path):
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(make_reconstruction(5), tmp_path / "x.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []
