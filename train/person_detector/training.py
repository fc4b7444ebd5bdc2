"""Trains the detector on rendered and real images, with the loop that every training shares."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from train.data.labelled_images import LabelledImage, labelled_images
from train.data.numbered_batches import NumberedBatches
from train.data.schema import load_clips
from train.engine.loop import accelerator_for
from train.engine.person_network import PersonNetworkConfig, train_network
from train.person_detector.augmentation import ImageSources, sample_image
from train.person_detector.detector_scores import evaluate_detector
from train.person_detector.objective import DetectorBatch, DetectorObjective, make_batch
from train.person_detector.person_images import RealImage, rendered_images
from unish.errors import InputError
from unish.people.mini_detector import MiniDetectorConfig, MiniDetectorNet, load_mini_detector, save_mini_detector

SHAPES = ((256, 160), (256, 160), (288, 160), (160, 256), (192, 192), (224, 160))
"""(width, height) of training images, one a batch."""
CERTAIN_SCORE = 0.3
"""Training believes one of two teachers who is very sure: MoveNet sees six people at most, and few close-ups."""


@dataclass(frozen=True)
class TrainConfig(PersonNetworkConfig):
    """Train a detector on rendered clips, real images, or both."""

    degraded_share: float = 1.0
    """Share of training images whose colours and sharpness are changed; less towards the end of a training."""
    every: int = 2
    """Of each synthetic clip, every so many frames are used."""
    batch: int = 8
    start_from: Path | None = None
    """Folder of weights to go on from, of this size or a smaller one."""
    model: tyro.conf.Suppress[MiniDetectorConfig] = MiniDetectorConfig()  # noqa: RUF009 (frozen)


class DetectorBatches(NumberedBatches[DetectorBatch]):
    """Batches of `size` training images of one shape."""

    def __init__(self, sources: ImageSources, size: int, seed: int) -> None:
        super().__init__(seed)
        self.sources, self.size = sources, size

    def draw(self, random: np.random.Generator) -> DetectorBatch:
        shape = SHAPES[random.integers(len(SHAPES))]
        return make_batch([sample_image(self.sources, shape, random) for _ in range(self.size)])


def image_sources(config: TrainConfig) -> ImageSources:
    """What the run learns from. Raises `InputError` where that is nothing."""
    if config.rendered is None and config.real is None:
        raise InputError("Expected --rendered, --real or both, received neither: there is nothing to learn from.")
    rendered = () if config.rendered is None else rendered_images(load_clips(config.rendered), config.every)
    clips: dict[tuple[str, str], list[LabelledImage]] = {}
    for image in labelled_images(config.real, "train") if config.real else ():
        clips.setdefault((image.source, image.clip), []).append(image)
    real = [[RealImage(image, CERTAIN_SCORE) for image in clip] for clip in clips.values()]
    return ImageSources(rendered, real, config.real_share, config.degraded_share)


def train(config: TrainConfig) -> dict[str, float]:
    """Train until the budget is spent; the averaged weights lie in `out/weights`. Returns the last validation."""
    accelerator = accelerator_for(config.loop, config.out)
    torch.manual_seed(config.seed)
    network = MiniDetectorNet(config.model)
    if config.start_from is not None:
        grow(load_mini_detector(config.start_from).network, network)
    sources = image_sources(config)
    accelerator.print(f"{len(sources.rendered)} rendered images, {sum(map(len, sources.clips))} real ones")
    objective = DetectorObjective(network.to(memory_format=torch.channels_last), config.bfloat16)  # type: ignore[call-overload]
    batches = DetectorBatches(sources, config.batch, config.seed + accelerator.process_index)

    def validate() -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, folder in (("rendered", config.rendered), ("real", config.real)):
            if folder is not None and (folder / "validation").is_dir():
                report = evaluate_detector(network, folder, real=name == "real")
                numbers |= {f"{name}.{key}": value for key, value in report.items()}
        return numbers

    def save(folder: Path) -> None:
        save_mini_detector(network, folder)

    return train_network(config, accelerator, objective, batches, validate, save)


@torch.no_grad()
def grow(small: MiniDetectorNet, large: MiniDetectorNet) -> None:
    """Make the larger network answer like the smaller one: its learning goes on where the other's ended.

    Old channels come first and hear nothing of new ones; new blocks add nothing until they learn to (Net2Net).
    Raises `InputError` where a size of `large` is below that of `small`.
    """
    for field_name in ("channels", "depths", "decoder_channels"):
        sizes = [np.atleast_1d(getattr(net.config, field_name)) for net in (small, large)]
        if (sizes[0] > sizes[1]).any():
            raise InputError(f"Expected at least as many {field_name} as in the weights to start from.")
    old = small.state_dict()
    for name, value in large.state_dict().items():
        if name not in old:
            if ".narrow." in name:
                value.zero_()
            continue
        corner = tuple(slice(side) for side in old[name].shape)
        if value.ndim == 4 and value.shape[1] > 1:
            value[corner[0], old[name].shape[1] :] = 0
        value[corner] = old[name]
