"""The sample of training and its shards."""

import dataclasses

import datasets
import numpy as np
import pytest

from train.data.schema import (
    ClipSample,
    decode_sample,
    encode_sample,
    features,
    iterate_clips,
    load_clips,
    write_shards,
)
from unish.errors import InputError


def make_sample(seed: int = 0, people: int = 2, frames: int = 3, height: int = 28, width: int = 42) -> ClipSample:
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        return rng.normal(size=shape).astype(np.float32)

    ramp = np.linspace(0, 255, width)[None, None, :, None] * np.ones((frames, height, 1, 3))
    return ClipSample(
        clip_id=f"clip-{seed}",
        fps=6.0,
        images=ramp.astype(np.uint8),
        depth_m=rng.uniform(0, 30, (frames, height, width)).astype(np.float32),
        person_mask=rng.integers(0, people + 1, (frames, height, width)).astype(np.uint8),
        intrinsics=numbers(frames, 3, 3),
        world_from_camera=numbers(frames, 4, 4),
        body_rotations=numbers(people, frames, 24, 3, 3),
        translation_camera=numbers(people, frames, 3),
        betas=numbers(people, 10),
        boxes_px=numbers(people, frames, 4),
        visibility=rng.uniform(size=(people, frames)).astype(np.float32),
        joints_px=numbers(people, frames, 24, 2),
        pseudo=("depth_m",),
        unknown=("betas",),
    )


def assert_same(one: ClipSample, other: ClipSample) -> None:
    for field in dataclasses.fields(ClipSample):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "images":
            assert np.abs(a.astype(int) - b).mean() < 3
        elif field.name == "depth_m":
            np.testing.assert_allclose(a, b, atol=0.0006)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        else:
            assert a == b


@pytest.mark.parametrize("people", [0, 1, 3])
def test_encoding_and_decoding_give_the_sample_back(people):
    sample = make_sample(people=people)
    assert_same(sample, decode_sample(encode_sample(sample)))


def test_far_depth_is_unknown():
    sample = dataclasses.replace(make_sample(), depth_m=np.full((3, 28, 42), 80.0, np.float32))
    assert (decode_sample(encode_sample(sample)).depth_m == 0).all()


@pytest.mark.parametrize("streaming", [True, False])
def test_shards_load_as_a_data_set(tmp_path, streaming):
    samples = [make_sample(seed, people=1 + seed % 2) for seed in range(5)]
    paths = write_shards(samples, tmp_path / "train", per_shard=2)
    assert [path.name for path in paths] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    rows = list(load_clips(tmp_path, "train", streaming=streaming))
    assert len(rows) == 5
    for sample, row in zip(samples, rows, strict=True):
        assert_same(sample, decode_sample(row))
    assert [clip.clip_id for clip in iterate_clips(tmp_path)] == [sample.clip_id for sample in samples]


def test_datasets_reads_the_folder_without_us(tmp_path):
    sample = make_sample()
    write_shards([sample], tmp_path / "train")
    write_shards([make_sample(1)], tmp_path / "validation")
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation"}
    assert loaded["train"].features == features()
    assert_same(sample, decode_sample(loaded["train"][0]))


def test_a_missing_column_is_named():
    row = encode_sample(make_sample())
    del row["betas"], row["depth_m"]
    with pytest.raises(InputError, match="lacks depth_m, betas"):
        decode_sample(row)


def test_a_wrong_shape_is_named():
    with pytest.raises(InputError, match="boxes_px should have shape"):
        dataclasses.replace(make_sample(), boxes_px=np.zeros((2, 3, 5), np.float32))


def test_a_broken_image_is_an_input_error():
    row = encode_sample(make_sample())
    row["depth_m"][0]["bytes"] = b"not a picture"
    with pytest.raises(InputError, match="does not decode"):
        decode_sample(row)


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(InputError, match=r"should hold train/\*\.parquet"):
        load_clips(tmp_path)
