import dataclasses
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unish.errors import CheckpointError, InputError, MissingAssetError, MissingDependencyError
from unish.people import hf_models as pretrained
from unish.people.detector import Preprocessing, TransformersDetector, load_detector
from unish.people.tracking import FrameDetector

transformers = pytest.importorskip("transformers")

KINDS = ("rt_detr_v2", "d_fine")
_SMALL = {
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "num_queries": 12,
}


def _small_network(kind: str):
    if kind == "rt_detr_v2":
        backbone = {
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 32, 64],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        }
        names = {0: "cat", 1: "person", 2: "dog"}
        config = transformers.RTDetrV2Config(
            backbone_config=backbone, encoder_in_channels=[16, 32, 64], id2label=names, **_SMALL
        )
        return transformers.RTDetrV2ForObjectDetection(config)
    backbone = {
        "model_type": "hgnet_v2",
        "stem_channels": [3, 8, 8],
        "embedding_size": 8,
        "hidden_sizes": [16, 16, 32, 32],
        "depths": [1, 1, 1, 1],
        "stage_in_channels": [8, 16, 16, 32],
        "stage_mid_channels": [8, 8, 16, 16],
        "stage_out_channels": [16, 16, 32, 32],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5],
        "stage_numb_of_layers": [2, 2, 2, 2],
        "out_features": ["stage2", "stage3", "stage4"],
    }
    names = {0: "Person", 1: "dog"}
    config = transformers.DFineConfig(
        backbone_config=backbone, encoder_in_channels=[16, 32, 32], hidden_expansion=0.5, id2label=names, **_SMALL
    )
    return transformers.DFineForObjectDetection(config)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, Path]:
    """Folders of small networks of the real classes, with random weights that tell pictures and places apart."""
    folders = {}
    for kind in KINDS:
        torch.manual_seed(0)
        network = _small_network(kind)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
        folders[kind] = tmp_path_factory.mktemp(kind)
        network.save_pretrained(folders[kind])
        preparation = {"do_resize": True, "size": {"height": 128, "width": 160}, "do_normalize": False}
        (folders[kind] / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folders


@pytest.fixture
def broken(networks, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(networks["rt_detr_v2"], tmp_path / "broken"))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 90, 220, 3), dtype=np.uint8)
    pictures[1, :, :110] = 255
    return pictures


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_the_real_classes(networks, frames, kind):
    detector = load_detector(networks[kind], "cpu")
    assert isinstance(detector, FrameDetector)
    assert detector.person_class == (1 if kind == "rt_detr_v2" else 0)
    assert detector.preprocessing == Preprocessing(width_px=160, height_px=128)
    detector = dataclasses.replace(detector, min_score=0.0)
    found = detector.detect(frames)
    assert len(found) == 3 and all(len(people) for people in found)
    for people in found:
        assert (np.diff(people.scores) <= 0).all() and (people.scores < 1).all()
        assert (people.boxes_px >= 0).all() and (people.boxes_px <= [220, 90, 220, 90]).all()
        np.testing.assert_allclose(np.linalg.norm(people.colors, axis=1), 1.0)
    assert abs(found[0].scores[0] - found[1].scores[0]) > 1e-4, "the random network must see something"
    one_by_one = dataclasses.replace(detector, batch=1).detect(frames)
    for people, same in zip(found, one_by_one, strict=True):
        np.testing.assert_allclose(people.scores, same.scores, atol=1e-4)
        np.testing.assert_allclose(people.boxes_px, same.boxes_px, atol=0.1)


class Scripted:
    """A network that says the same of every picture: scores of (cat, person) and boxes as middle and size."""

    def __init__(self, scores, boxes) -> None:
        self.logits, self.boxes = torch.logit(torch.tensor(scores)), torch.tensor(boxes)
        self.seen: list[torch.Tensor] = []

    def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        self.seen.append(pixel_values)
        count = len(pixel_values)
        return SimpleNamespace(logits=self.logits.repeat(count, 1, 1), pred_boxes=self.boxes.repeat(count, 1, 1))


CPU = torch.device("cpu")


def test_boxes_come_back_in_pixels_of_the_frame():
    network = Scripted(
        [[0.01, 0.6], [0.9, 0.1], [0.3, 0.9], [0.1, 0.8], [0.1, 0.7]],
        [[0.5, 0.5, 0.2, 0.5], [0.2, 0.2, 0.2, 0.2], [0.9, 0.1, 0.4, 0.4], [0.25, 0.5, 0.1, 1.0], [1.5, 0.5, 0.2, 0.2]],
    )
    people = TransformersDetector(network, 1, CPU).detect(np.zeros((1, 100, 400, 3), np.uint8))[0]
    # The cat and what lies outside are not reported; what reaches over the edge is cut.
    np.testing.assert_allclose(people.scores, [0.9, 0.8, 0.6], atol=1e-6)
    expected = [[280, 0, 400, 30], [80, 0, 120, 100], [160, 25, 240, 75]]
    np.testing.assert_allclose(people.boxes_px, expected, atol=1e-3)
    assert people.masks is None
    (cat,) = TransformersDetector(network, 0, CPU, min_score=0.5).detect(np.zeros((1, 100, 400, 3), np.uint8))
    np.testing.assert_allclose(cat.boxes_px, [[40, 10, 120, 30]], atol=1e-3)


def test_batches_and_limits():
    network = Scripted([[0.1, 0.6 + 0.01 * n] for n in range(20)], [[0.5, 0.5, 0.2, 0.5]] * 20)
    detector = TransformersDetector(network, 1, CPU, batch=2, max_people=4)
    found = detector.detect(np.zeros((5, 30, 40, 3), np.uint8))
    assert [len(people) for people in found] == [4] * 5
    assert [len(pictures) for pictures in network.seen] == [2, 2, 1]
    nobody = TransformersDetector(network, 1, CPU, min_score=0.95).detect(np.zeros((2, 30, 40, 3), np.uint8))
    assert [len(people) for people in nobody] == [0, 0]
    assert nobody[0].boxes_px.shape == (0, 4) and nobody[0].colors.shape == (0, 216)
    assert detector.detect(np.zeros((0, 30, 40, 3), np.uint8)) == ()


def test_images_are_stretched_and_normalised_as_the_network_wants_them():
    frames = np.zeros((1, 40, 100, 3), np.uint8)
    frames[:, :, :50] = (51, 102, 255)
    network = Scripted([[0.0, 0.5]], [[0.5, 0.5, 0.2, 0.2]])
    TransformersDetector(network, 1, CPU).detect(frames)
    (plain,) = network.seen
    assert plain.shape == (1, 3, 640, 640) and plain.dtype == torch.float32
    torch.testing.assert_close(plain[0, :, 320, 100], torch.tensor([0.2, 0.4, 1.0]))
    torch.testing.assert_close(plain[0, :, 320, 600], torch.zeros(3))
    wanted = Preprocessing(64, 32, mean=(0.2, 0.2, 0.5), std=(0.5, 0.1, 0.25))
    TransformersDetector(network, 1, CPU, wanted).detect(frames)
    assert network.seen[1].shape == (1, 3, 32, 64)
    torch.testing.assert_close(network.seen[1][0, :, 16, 10], torch.tensor([0.0, 2.0, 2.0]))


def test_shrinking_does_not_alias():
    """Thin bright lines become an even grey; none is skipped."""
    lines = np.zeros((1, 64, 640, 3), np.uint8)
    lines[:, :, ::10] = 200
    small = pretrained.network_images(lines, (64, 64), CPU)
    torch.testing.assert_close(small, torch.full_like(small, 20 / 255), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, Preprocessing()),
        ({"do_resize": True}, Preprocessing()),
        ({"size": {"height": 320, "width": 480}, "image_mean": [0.5] * 3}, Preprocessing(480, 320)),
        (
            {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]},
            Preprocessing(640, 640, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
        ),
        ({"size": {"shortest_edge": 800}}, None),
        ({"do_normalize": True}, None),
        ("not json", None),
    ],
)
def test_the_preparation_is_read(tmp_path, values, expected):
    if values is not None:
        text = values if isinstance(values, str) else json.dumps(values)
        (tmp_path / "preprocessor_config.json").write_text(text)
    if expected is None:
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
            Preprocessing.read(tmp_path)
    else:
        assert Preprocessing.read(tmp_path) == expected


# ---------------------------------------------------------------- loading


def _change_config(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _first_layer(weights) -> str:
    return next(name for name in sorted(weights) if name.endswith("enc_output.0.weight"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_there(broken, name):
    (broken / name).unlink()
    with pytest.raises(MissingAssetError, match=name.replace(".", r"\.")):
        load_detector(broken, "cpu")


@pytest.mark.parametrize("source", ["/nowhere/at/all", "no such name"])
def test_a_place_that_is_not_there(source):
    with pytest.raises(MissingAssetError, match="found nothing"):
        load_detector(source, "cpu")


def test_weights_that_are_cut_short(broken):
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_detector(broken, "cpu")


def test_weights_that_lack_a_part(broken):
    _change_weights(broken, lambda weights: weights.pop(_first_layer(weights)))
    with pytest.raises(CheckpointError, match=r"have no .*enc_output"):
        load_detector(broken, "cpu")


def test_weights_that_are_not_finite(broken):
    _change_weights(broken, lambda weights: weights[_first_layer(weights)].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"enc_output\.0\.weight in .* not finite"):
        load_detector(broken, "cpu")


def test_a_network_that_knows_no_person(broken):
    _change_config(broken, id2label={"0": "cat", "1": "parrot", "2": "dog"})
    with pytest.raises(CheckpointError, match="knows cat, dog, parrot;"):
        load_detector(broken, "cpu")


def test_a_network_of_another_kind(broken):
    _change_config(broken, use_focal_loss=False)
    with pytest.raises(CheckpointError, match="scores every class by itself"):
        load_detector(broken, "cpu")


def test_devices_that_are_not_there(networks):
    with pytest.raises(InputError, match="got 'toaster'"):
        load_detector(networks["d_fine"], "toaster")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="there is none"):
            load_detector(networks["d_fine"], "cuda")


def test_without_transformers(networks, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        load_detector(networks["d_fine"], "cpu")


def test_the_cache_of_the_hub_is_looked_at_first(networks, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrained, "hub_in_reach", lambda: False)
    with pytest.raises(MissingAssetError, match="Could not get some/net from the Hugging Face Hub: it is not in"):
        load_detector("some/net", "cpu")
    repository = tmp_path / "models--some--net"
    snapshot = repository / "snapshots" / "0123456789"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123456789")
    snapshot.mkdir(parents=True)
    shutil.copy(networks["d_fine"] / "config.json", snapshot)
    with pytest.raises(MissingAssetError, match="cannot be reached"):
        load_detector("some/net", "cpu")  # half of it is not enough
    shutil.copytree(networks["d_fine"], snapshot, dirs_exist_ok=True)
    assert load_detector("some/net", "cpu").preprocessing.width_px == 160


def test_a_download_says_its_size_and_goes_on_without(networks, monkeypatch, caplog):
    import huggingface_hub

    files = [
        SimpleNamespace(rfilename="model.safetensors", size=41_500_000),
        SimpleNamespace(rfilename="x.onnx", size=9e9),
    ]
    monkeypatch.setattr(pretrained, "cached_folder", lambda repository: None)
    monkeypatch.setattr(pretrained, "hub_in_reach", lambda: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: str(networks["d_fine"]))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: SimpleNamespace(siblings=files))
    assert pretrained.weights_folder("some/net") == networks["d_fine"]
    assert "Fetching some/net from the Hugging Face Hub, once: 42 MB." in caplog.text

    def fail(*args, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    assert pretrained.weights_folder("some/net") == networks["d_fine"]
    assert "Hub, once.\n" in caplog.text
