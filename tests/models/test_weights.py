"""Weights come in whole, finite and by their right names, or not at all."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import unish.models.weights as weights_module
from tests.models.conftest import TINY, clip
from unish.errors import CheckpointError, InputError, MissingAssetError
from unish.models import convert, hub
from unish.models.unish import UniSH


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    hub.save(tiny, tmp_path / "net")
    return tmp_path / "net"


def rewrite(folder: Path, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_save_and_load_give_the_same_network(tiny, folder):
    loaded = hub.load(folder, device="cpu")
    assert loaded.config == TINY and loaded.weights_name == "net" and not loaded.training
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    for name, tensor in tiny.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        assert torch.allclose(loaded.state_dict()[name], tensor, atol=1e-3), name
    assert torch.equal(loaded.scene_branch.image_mean, tiny.scene_branch.image_mean)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    hub.save(loaded, folder, dtype=torch.float32)
    with torch.inference_mode():
        inputs = clip(1, 1, 2, 28, 28)
        first, second = loaded(*inputs), hub.load(folder, device="cpu")(*inputs)
    assert torch.equal(first.points_camera, second.points_camera)


def missing(state):
    del state["scene_branch.decoder.blocks.1.mlp.fc1.weight"]


def unexpected(state):
    state["scene_branch.decoder.blocks.9.extra"] = torch.zeros(2)


def misshapen(state):
    state["human_branch.head.decshape.bias"] = torch.zeros(11)


def not_finite(state):
    state["align_net.scale_head.weight"][0, 3] = float("nan")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (missing, "scene_branch.decoder.blocks.1.mlp.fc1.weight"),
        (unexpected, "scene_branch.decoder.blocks.9.extra"),
        (misshapen, "human_branch.head.decshape.bias"),
        (not_finite, "align_net.scale_head.weight"),
    ],
)
def test_the_first_wrong_tensor_is_named(folder, change, key):
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=key.replace(".", r"\.")):
        hub.load(folder, device="cpu")


def test_a_truncated_file_names_the_first_tensor_that_is_cut(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    for share in (0.3, 0.9):
        data_start, cut = 8 + int.from_bytes(whole[:8], "little"), int(share * len(whole))
        file.write_bytes(whole[:cut])
        ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
        first = min((end, name) for name, end in ends.items() if end > cut - data_start)[1]
        with pytest.raises(CheckpointError, match=f"'{first}'".replace(".", r"\.")):
            hub.load(folder, device="cpu")
    for start in (whole[:100], b"", b"not weights at all"):
        file.write_bytes(start)
        with pytest.raises(CheckpointError, match="whole safetensors"):
            hub.load(folder, device="cpu")


def test_a_foreign_file_is_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors")
    with pytest.raises(CheckpointError, match="right file"):
        hub.load(tmp_path / "resnet.safetensors", device="cpu")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="safetensors"):
        hub.load(tmp_path / "notes.txt", device="cpu")


def with_header(change) -> bytes:
    """A safetensors file of one tensor, with another header."""
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = json.dumps(change(header)).encode() if callable(change) else change
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        with_header(lambda h: []),
        with_header(lambda h: None),
        with_header(lambda h: {"a": []}),
        with_header(lambda h: {"a": {**h["a"], "data_offsets": None}}),
        with_header(lambda h: {"a": {**h["a"], "data_offsets": [0, "8"]}}),
        with_header(lambda h: {"a": {**h["a"], "data_offsets": [0, 2**70]}}),
        with_header(lambda h: {"a": {**h["a"], "data_offsets": [8, 0]}}),
        with_header(lambda h: {"a": {**h["a"], "shape": [-2]}}),
        with_header(lambda h: {"a": {**h["a"], "shape": [10**12]}}),
        with_header(lambda h: {"a": {**h["a"], "dtype": "F99"}}),
        with_header('{"a": 1}'.encode("utf-16")),
        with_header(b"[" * 10_000),
        with_header(b"\xff" * 10),
        b"",
        b"\xff" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
    ],
)
def test_headers_that_are_none(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        hub.load(tmp_path / "model.safetensors", device="cpu")


def test_configurations_that_are_none(folder):
    config = (folder / "config.json").read_bytes()
    huge = json.loads(config)
    huge["scene"]["decoder_depth"] = 10**6
    for content in (config.decode().encode("utf-16"), b"\xff\xfe", json.dumps(huge).encode(), b"[]", b""):
        (folder / "config.json").write_bytes(content)
        with pytest.raises(InputError, match=r"configuration|decoder_depth"):
            hub.load(folder, device="cpu")


def whole_numbers(state):
    state["align_net.scale_token"] = state["align_net.scale_token"].to(torch.int32)


def test_numbers_that_are_no_floats(folder):
    rewrite(folder, whole_numbers)
    with pytest.raises(CheckpointError, match=r"scale_token.*floating type"):
        hub.load(folder, device="cpu")


@pytest.mark.parametrize(
    "state",
    [
        {1: torch.zeros(2)},
        {"a": torch.zeros(2, device="meta")},
        {"a": torch.zeros(1).expand(10**12)},
        {"a": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,))},
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": [1, 2]},
        [torch.zeros(2)],
        torch.zeros(2),
        {},
        {"state_dict": {None: torch.zeros(1)}},
    ],
)
def test_torch_files_of_odd_tensors(tmp_path, state):
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt"):
        hub.load(tmp_path / "odd.pt", device="cpu")


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK\x03\x04" + bytes(40), b"cos\nsystem\n.", b"\x80\x02}q\x00."])
def test_torch_files_that_are_none(tmp_path, content):
    (tmp_path / "odd.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"odd\.pt"):
        hub.load(tmp_path / "odd.pt", device="cpu")


@pytest.mark.parametrize("weights", ["x" * 5000, "a\0b", "~nobody-of-this-name/net"])
def test_paths_that_cannot_be(weights):
    with pytest.raises(MissingAssetError, match="No weights"):
        hub.load(weights, device="cpu")


class Dangerous:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_torch_files_hold_tensors_only(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights_module, "RELEASE", TINY)
    state = convert.to_official(tiny.state_dict())
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "release.pt")
    loaded = hub.load(tmp_path / "release.pt", device="cpu")
    assert torch.equal(loaded.align_net.scale_token, tiny.align_net.scale_token)
    torch.save({"state_dict": {"a": Dangerous()}}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="more than tensors"):
        hub.load(tmp_path / "bad.pt", device="cpu")
    assert "must not run" not in capsys.readouterr().out
    (tmp_path / "cut.pt").write_bytes((tmp_path / "release.pt").read_bytes()[:5000])
    with pytest.raises(CheckpointError):
        hub.load(tmp_path / "cut.pt", device="cpu")


@pytest.fixture
def official_file(tiny, tmp_path, monkeypatch) -> Path:
    """A file by the released names, that the network of the test stands for."""
    monkeypatch.setattr(weights_module, "RELEASE", TINY)
    state = {name: tensor.clone() for name, tensor in convert.to_official(tiny.state_dict()).items()}
    save_file(state, tmp_path / "unish_release.safetensors")
    return tmp_path / "unish_release.safetensors"


def test_the_release_is_read_by_its_own_name(tiny, official_file, monkeypatch):
    asked = []

    def download(repository, file, local_files_only=False):
        asked.append((repository, file))
        return str(official_file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    model = hub.load("release", device="cpu")
    assert asked == [("Murphyyyy/UniSH", "checkpoints/unish_release.safetensors")]
    assert model.weights_name == "release" and model.weights_note == ""
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tiny.state_dict().items())


def test_the_release_is_strict_in_its_own_names(official_file):
    state = load_file(official_file)
    for name, change in (("pi3.decoder.0.ls1.gamma", None), ("alignnet.init_cam", torch.zeros(1, 4))):
        broken = {key: tensor for key, tensor in state.items() if key != name or change is not None}
        if change is not None:
            broken[name] = change
        save_file(broken, official_file)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            hub.load(official_file, device="cpu")


def test_a_hub_repository_of_ours(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, file, **_: str(folder / file))
    assert hub.load("someone/small-unish", device="cpu").weights_name == "someone/small-unish"


def test_offline_without_the_file_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("release", "someone/nothing-here", "some--one/nothing"):
        with pytest.raises(MissingAssetError, match="--weights mini"):
            hub.load(name, device="cpu")
    with pytest.raises(MissingAssetError, match="Hub repository"):
        hub.load("./not/there", device="cpu")
    monkeypatch.setattr(hub, "MINI_WEIGHTS", tmp_path / "mini")
    with pytest.raises(MissingAssetError, match="pretrain"):
        hub.load("mini", device="cpu")


def test_auto_takes_the_mini_on_a_cpu_and_says_so_once(folder, monkeypatch, caplog):
    monkeypatch.setattr(hub, "MINI_WEIGHTS", folder)
    hub._announce.cache_clear()
    with caplog.at_level(logging.WARNING, logger="unish"):
        model = hub.load("auto", device="cpu")
        hub.load("auto", device="cpu")
    assert model.weights_name == "mini" and "the device is a CPU" in model.weights_note
    assert len(caplog.records) == 1 and "mini" in caplog.records[0].getMessage()


def test_auto_takes_the_release_where_a_device_can_carry_it(official_file, tmp_path, monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=24 << 30))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert "neither cached nor reachable" in hub._release_obstacle(gpu, torch.float32)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(official_file))
    assert hub._release_obstacle(gpu, torch.float32) == ""
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=10 << 30))
    assert "expected 12 GiB of GPU memory, cuda has 10.0" in hub._release_obstacle(gpu, torch.float32)
    assert hub._release_obstacle(gpu, torch.float16) == ""
    monkeypatch.setattr("torch.mps.recommended_max_memory", lambda: 6 << 30)
    assert "mps has 6.0" in hub._release_obstacle(torch.device("mps"), torch.float16)


def test_auto_on_a_cpu_with_the_release_cached_says_how_long_it_takes(folder, monkeypatch):
    monkeypatch.setattr(hub, "MINI_WEIGHTS", folder)
    monkeypatch.setattr(hub, "cached_release", lambda: folder)
    rates = {torch.float32: 0.18e12, torch.bfloat16: 0.41e12}
    monkeypatch.setattr(hub, "_product_rate", rates.get)
    hub.cpu_estimate.cache_clear()
    note = hub.load("auto", device="cpu").weights_note
    assert "about 5 minutes per 30 frames" in note and "--weights release --precision bfloat16" in note
    rates[torch.bfloat16] = 0.01e12
    hub.cpu_estimate.cache_clear()
    assert hub.cpu_estimate().endswith("12 minutes per 30 frames on this CPU; ask for it with --weights release")
    hub.cpu_estimate.cache_clear()


def test_a_trunk_held_in_half_precision(folder):
    inputs = clip(1, 1, 2, 28, 42)
    with torch.inference_mode():
        exact = hub.load(folder, device="cpu")(*inputs)
        model = hub.load(folder, device="cpu", dtype=torch.bfloat16)
        rough = model(*inputs)
    assert model.scene_branch.decoder.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert model.scene_branch.point_head.proj.weight.dtype == torch.float32
    for name, value in vars(rough).items():
        assert torch.allclose(value, getattr(exact, name), atol=0.1), name
    for bad in (torch.int8, torch.float64):
        with pytest.raises(InputError, match="dtype"):
            hub.load(folder, device="cpu", dtype=bad)


def test_saving_refuses_what_is_not_finite(tiny, tmp_path):
    with torch.no_grad():
        tiny.align_net.scale_token[0, 0, 0] = 1e6
    with pytest.raises(CheckpointError, match="scale_token"):
        hub.save(tiny, tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("head", ["head", "smpl_head", "human_head"])
def test_training_starts_from_pi3_and_camerahmr(tiny, tmp_path, head):
    official = convert.to_official(tiny.state_dict())
    pi3 = {name.removeprefix("pi3."): 2 * tensor for name, tensor in official.items() if name.startswith("pi3.")}
    body = {
        name.replace("human_head.", f"{head}."): 3 * tensor
        for name, tensor in official.items()
        if name.startswith(("backbone.", "human_head."))
    }
    extra = {f"{head}.deccam.weight": torch.zeros(3, 4), f"{head}.deckp.bias": torch.zeros(9)}
    save_file(pi3, tmp_path / "pi3.safetensors")
    torch.save({"state_dict": body | extra}, tmp_path / "camerahmr.ckpt")
    torch.manual_seed(9)
    model = UniSH(TINY)
    before = model.align_net.scale_token.clone()
    hub.load_priors(model, tmp_path / "pi3.safetensors", tmp_path / "camerahmr.ckpt")
    assert torch.equal(model.scene_branch.decoder.register_token, 2 * tiny.scene_branch.decoder.register_token)
    assert torch.equal(model.human_branch.head.decpose.weight, 3 * tiny.human_branch.head.decpose.weight)
    assert torch.equal(model.align_net.scale_token, before)
    del body["backbone.pos_embed"]
    torch.save(body, tmp_path / "camerahmr.ckpt")
    with pytest.raises(CheckpointError, match="pos_embed"):
        hub.load_priors(model, camerahmr=tmp_path / "camerahmr.ckpt")
    save_file(pi3 | {"metric_decoder.weight": torch.zeros(2)}, tmp_path / "pi3.safetensors")
    with pytest.raises(CheckpointError, match="metric_decoder"):
        hub.load_priors(model, pi3=tmp_path / "pi3.safetensors")
    with pytest.raises(CheckpointError, match="projector"):
        convert.from_camerahmr(body | {"projector.weight": torch.zeros(2)})
