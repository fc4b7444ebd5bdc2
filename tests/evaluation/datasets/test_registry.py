"""The benchmarks by name, and what they say of themselves."""

import subprocess
import sys

import pytest

from unish.errors import InputError
from unish.evaluation.datasets import NAMES, benchmark

METRICS = {
    "abs_rel", "delta_125", "wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "jitter", "foot_sliding_mm", "accel",
    "pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "ate_m", "rpe_trans_m", "rpe_rot_deg",
}  # fmt: skip
OURS = [name for name in NAMES if name != "synthetic"]


@pytest.mark.parametrize("name", OURS)
def test_a_benchmark_bears_its_name_and_reports_known_measures(name: str) -> None:
    found = benchmark(name)
    assert found.name == name and found.title
    assert found.metrics and set(found.metrics) <= METRICS
    for row in found.published:
        assert row.source and row.numbers and set(row.numbers) <= set(found.metrics)


def test_protocols() -> None:
    assert {name for name in OURS if benchmark(name).sampled_fps == 6 and benchmark(name).window == 30} == {
        "emdb1", "emdb2", "rich", "3dpw",
    }  # fmt: skip
    assert all(benchmark(name).window is None for name in ("bonn", "tum", "sintel", "sintel_clean"))


def test_published_numbers() -> None:
    def numbers(name: str, *keys: str) -> dict[str, tuple[float, ...]]:
        return {row.method: tuple(row.numbers[key] for key in keys) for row in benchmark(name).published}

    world = ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent")
    assert numbers("emdb2", *world)["JOSH3R"] == (220.0, 661.7, 13.1)
    assert numbers("emdb2", *world)["UniSH"] == (118.5, 270.1, 5.8)
    assert len(numbers("emdb2", *world)) == 7 and len(numbers("rich", *world)) == 3
    assert numbers("rich", *world)["GVHMR"] == (78.8, 126.3, 2.4)
    assert numbers("bonn", "abs_rel", "delta_125")["π³"] == (0.049, 0.975)
    assert len(numbers("bonn", "abs_rel", "delta_125")) == 5


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(InputError, match=r"benchmark out of bonn, tum, .*synthetic, got 'kitti'"):
        benchmark("kitti")


def test_names_need_no_reader() -> None:
    code = (
        "import sys, unish.evaluation.datasets as readers; readers.NAMES;"
        "print([name for name in sys.modules if name.startswith('unish.evaluation.datasets.')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
