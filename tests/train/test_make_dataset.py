"""The data set's command line, and the bundled clip with its ground truth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import unish
from train.data.schema import iterate_clips
from train.synthetic.__main__ import main
from train.synthetic.dataset import SPLIT_SEEDS, DatasetConfig, make_dataset
from train.synthetic.sample_clip import SampleClipConfig, truth_path
from unish.body import open_body
from unish.video.reader import read_clip

ASSETS = Path(unish.__file__).parent / "assets"


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    config = DatasetConfig(tmp_path, clips=3, frames=1, long_side_px=56, per_shard=2, workers=1, split="validation")
    make_dataset(config)
    shards = sorted((tmp_path / "validation").glob("*.parquet"))
    assert [shard.name for shard in shards] == ["00000.parquet", "00001.parquet"]
    before = [clip.clip_id for clip in iterate_clips(tmp_path, "validation")]
    assert before[0] == f"synthetic-{SPLIT_SEEDS['validation']:08d}" and len(set(before)) == 3
    kept = shards[0].stat().st_mtime_ns
    shards[1].unlink()
    make_dataset(config)
    assert shards[0].stat().st_mtime_ns == kept
    assert [clip.clip_id for clip in iterate_clips(tmp_path, "validation")] == before


@pytest.mark.parametrize("wrong", [["--split", "mine"], ["--clips", "0"], ["--fps", "0"], ["--long-side-px", "100"]])
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, wrong, capsys):
    assert main(["--out", str(tmp_path / "data"), *wrong]) == 2
    assert capsys.readouterr().err.startswith(f"error: {wrong[0]}")
    assert not (tmp_path / "data").exists()


def test_the_bundled_clip_is_outside_every_split():
    assert SampleClipConfig().seed > max(SPLIT_SEEDS.values()) + 100_000_000


def test_the_bundled_truth_matches_its_video():
    video = ASSETS / SampleClipConfig().out.name
    truth = load_file(truth_path(video))
    clip = read_clip(video, fps=30)
    frames, height, width = clip.frames.shape[:3]
    assert truth["world_from_camera"].shape == (frames, 4, 4)
    k, box = truth["intrinsics"][0], truth["boxes_px"][0]
    assert k[0, 2] * 2 == width and k[1, 2] * 2 == height
    with torch.no_grad():
        body = open_body()(
            torch.from_numpy(truth["betas"][0]).expand(frames, 10),
            torch.from_numpy(truth["body_rotations"][0]),
            torch.from_numpy(truth["translation_camera"][0]),
        )
    points = body.vertices.numpy()
    pixels = points[..., :2] / points[..., 2:] * k[0, 0] + k[:2, 2]
    size = [width, height]
    beyond = np.concatenate([pixels.min(1).clip(0, size) - box[:, :2], box[:, 2:] - pixels.max(1).clip(0, size)], 1)
    assert beyond.min() > -0.6 and beyond.max() < 12, "the box holds the body, and clothes a few pixels around it"
    pose = truth["world_from_camera"]
    lowest = (np.einsum("tij,tvj->tvi", pose[:, :3, :3], points) + pose[:, None, :3, 3])[..., 2].min(1)
    assert lowest.min() > -0.01 and lowest.max() < 0.04, "soles on the floor, the body in the shoes above them"
    assert truth["visibility"].min() > 0.9
