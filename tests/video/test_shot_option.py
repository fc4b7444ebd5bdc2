"""`unish run --shot`: one shot is reconstructed, or each in a folder of its own."""

import numpy as np
import pytest

from tests.video.test_shots import shot
from unish.cli import main, run
from unish.errors import InputError
from unish.video.reader import read_clip


@pytest.fixture
def film(tmp_path):
    from tests.helpers.videos import write_video

    frames = np.concatenate([shot(seed, 12) for seed in range(3)])
    return write_video(tmp_path / "film.mp4", frames, rate=6)


def test_every_shot_has_a_folder_and_one_that_fails_stops_no_other(film, tmp_path, monkeypatch, capsys):
    done = []

    def into(out, options, interrupts):
        if options.shot == 2:
            raise InputError("Nobody is there.")
        done.append((out.name, options.shot, round(float(read_clip(film, shot=options.shot).times_s[0]), 2)))
        return 0

    monkeypatch.setattr(run, "_run_into", into)
    assert main(["run", str(film), "--out", str(tmp_path / "out"), "--shot", "all"]) == 2
    assert done == [("shot_1", 1, 0.0), ("shot_3", 3, 4.0)]
    printed = capsys.readouterr()
    assert "Shot 3 of 3" in printed.out and "shot 2: Nobody is there." in printed.err


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--shot", "all", "--box", "1,2,30,40"], "--shot N"),
        (["--shot", "0"], "a shot's number from 1"),
        (["--shot", "first"], "a shot's number from 1"),
        (["--shot", "9"], "Expected a shot from 1 to 3"),
    ],
)
def test_shots_that_cannot_be(film, tmp_path, capsys, words, sentence):
    assert main(["run", str(film), "--out", str(tmp_path / "out"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_batch_takes_one_shot_of_each(film, tmp_path, capsys):
    assert main(["batch", str(film.parent), "--out", str(tmp_path / "out"), "--shot", "all"]) == 2
    assert "one shot of each clip" in capsys.readouterr().err
