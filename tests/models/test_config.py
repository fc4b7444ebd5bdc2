"""The configuration travels as JSON and refuses what no network can be."""

import dataclasses
import json

import pytest

from tests.models.conftest import TINY
from unish.errors import InputError
from unish.models.config import MINI, RELEASE, AlignConfig, HumanConfig, SceneConfig, UniSHConfig


@pytest.mark.parametrize("config", [RELEASE, MINI, TINY])
def test_json_round_trip(config):
    assert UniSHConfig.from_json(config.to_json()) == config


def changed(**values) -> str:
    data = json.loads(MINI.to_json())
    for path, value in values.items():
        part, name = path.split("__")
        data[part][name] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ('{"scenes": {}}', "scenes"),
        ('{"scene": 3}', "scene"),
        (changed(scene__colour=3), "colour"),
        (changed(scene__width="160"), "scene.width"),
        (changed(scene__width=True), "scene.width"),
        (changed(human__normalise_crops=1), "normalise_crops"),
        (changed(scene__decoder_depth=5), "even"),
        (changed(align__dropout=1.0), "dropout"),
        (changed(human__patch_size=24), "divide"),
        (changed(scene__decoder_depth=10**6), "decoder_depth must be in 1..200"),
        (changed(scene__width=10**12), "width must be in"),
        (changed(human__head_hidden=0), "head_hidden"),
        (changed(scene__mlp_ratio=1e308), "mlp_ratio"),
        (changed(scene__focal_gain=0), "focal_gain"),
        (changed(scene__refine_channels=-1), "refine_channels"),
        (changed(scene__stem="cone"), "stem"),
        (changed(scene__width=[160]), "scene.width"),
        ('{"scene": {"mlp_ratio": NaN}}', "NaN"),
        ('{"scene": ' * 10_000, "too deep"),
        ("{}".encode("utf-16"), "not JSON"),
    ],
)
def test_foreign_json_is_one_sentence(text, words):
    with pytest.raises(InputError, match=words):
        UniSHConfig.from_json(text)


@pytest.mark.parametrize(
    "build",
    [
        lambda: SceneConfig(width=0),
        lambda: SceneConfig(decoder_heads=3),
        lambda: SceneConfig(image_long_side_px=500),
        lambda: SceneConfig(refine_channels=-1),
        lambda: SceneConfig(patch_size=7, image_long_side_px=77, stem="conv"),
        lambda: HumanConfig(patch_size=24),
        lambda: AlignConfig(heads=3),
    ],
)
def test_impossible_sizes_are_refused(build):
    with pytest.raises(InputError):
        build()


def test_configs_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MINI.scene.width = 3  # type: ignore[misc]
