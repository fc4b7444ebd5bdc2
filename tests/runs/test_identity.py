"""Identities change with the content of clips, weights and bodies and with the options, and with nothing else."""

import os

import numpy as np
import pytest
import torch

from tests.helpers.reconstructions import make_reconstruction
from tests.models.conftest import TINY
from unish.body import open_body
from unish.errors import InputError
from unish.models.unish import UniSH
from unish.pipeline import Options
from unish.runs import identity
from unish.runs.identity import (
    arrays_digest,
    as_identity,
    batch_identity,
    clip_identity,
    difference,
    file_digest,
    is_replaced,
    result_identity,
    tensors_digest,
    weights_digest,
)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(identity, "_BLOCK_BYTES", 100)


@pytest.mark.parametrize("place", [0, 99, 100, 550, 999])
def test_every_byte_of_a_file_counts_and_nothing_else_does(tmp_path, small_blocks, place):
    content = bytearray(os.urandom(1000))
    (tmp_path / "a.mp4").write_bytes(content)
    (tmp_path / "b.mp4").write_bytes(content)
    before = file_digest(tmp_path / "a.mp4")
    assert before == file_digest(tmp_path / "b.mp4")
    content[place] ^= 1
    (tmp_path / "a.mp4").write_bytes(content)
    assert file_digest(tmp_path / "a.mp4") != before


def test_a_folder_is_its_images_and_their_names(tmp_path):
    (tmp_path / "1.png").write_bytes(b"one")
    (tmp_path / "2.png").write_bytes(b"two")
    digests = [file_digest(tmp_path)]
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".1.png").write_text("hidden")
    assert file_digest(tmp_path) == digests[0]
    (tmp_path / "2.png").rename(tmp_path / "0.png")
    digests.append(file_digest(tmp_path))
    (tmp_path / "1.png").write_bytes(b"once")
    digests.append(file_digest(tmp_path))
    assert len(set(digests)) == 3
    assert clip_identity(tmp_path) == {"clip": tmp_path.name, "clip_sha256": digests[-1]}


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for name in ("loop.mp4", "nowhere.mp4", "a" * 300):
        with pytest.raises(InputError, match="cannot be read"):
            file_digest(tmp_path / name)


def test_weights_are_every_number_their_type_and_the_configuration():
    torch.manual_seed(0)
    model, digests = UniSH(TINY), []
    digests.append(weights_digest(model))
    assert weights_digest(model) == digests[0]
    with torch.no_grad():
        model.align_net.scale_token.view(-1)[-1] += 1e-3
    digests.append(weights_digest(model))
    digests.append(weights_digest(model.half()))
    model.config = type(TINY)(scene=TINY.scene, human=TINY.human)
    digests.append(weights_digest(model))
    assert len(set(digests)) == 4


def test_tensors_and_arrays_of_other_shapes_and_types_differ():
    numbers = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros(8, np.float32), np.zeros(4, bool)]
    assert len({arrays_digest([array]) for array in numbers}) == len(numbers)
    assert arrays_digest([numbers[0], numbers[2]]) != arrays_digest([numbers[2], numbers[0]])
    tensor = torch.arange(6.0).reshape(2, 3)
    assert (
        tensors_digest({"a": tensor.T})
        == tensors_digest({"a": tensor.T.contiguous()})
        != tensors_digest({"b": tensor.T})
    )


def test_options_weights_and_body_make_a_batch_what_it_is(tmp_path):
    model = UniSH(TINY)
    one = batch_identity(model, open_body(), Options(fps=3, height={2: 1.7}))
    assert (
        one == as_identity(**one) == batch_identity(model, open_body(), Options(fps=3.0, height={2: 1.7}, device="cpu"))
    )
    assert difference(one, batch_identity(model, open_body(), Options(fps=3, height={2: 1.8}))) == "height"
    body = open_body()
    body.template[0, 0] += 0.01
    another = batch_identity(model, body, Options(fps=3, height={2: 1.7}))
    assert difference(one, another) == "body_sha256" and is_replaced(one, another)
    (tmp_path / "1.png").write_bytes(b"mask")
    masked = [batch_identity(model, body, Options(masks=str(tmp_path)))]
    (tmp_path / "1.png").write_bytes(b"other")
    masked.append(batch_identity(model, body, Options(masks=str(tmp_path))))
    assert difference(*masked) == "masks_sha256"


def test_a_result_is_its_two_files(tmp_path):
    assert result_identity(tmp_path / "nowhere") == {}
    folder = make_reconstruction(3).save(tmp_path / "out")
    before = result_identity(folder)
    (folder / "notes.md").write_text("mine")
    assert result_identity(folder) == before and len(before) == 2
    make_reconstruction(4).save(folder)
    assert all(result_identity(folder)[name] != digest for name, digest in before.items())


def test_replaced_means_that_content_alone_differs():
    before = {"seed": 0, "weights_sha256": "a", "clip_sha256": "b"}
    assert difference(before, dict(before)) is None and not is_replaced(before, dict(before))
    assert is_replaced(before, {**before, "clip_sha256": "c", "weights_sha256": "d"})
    assert not is_replaced(before, {**before, "clip_sha256": "c", "seed": 1})
    assert not is_replaced({"seed": 0}, before), "nobody knows what it was made from"
