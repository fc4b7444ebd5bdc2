"""The benchmarks by name, and what they say of themselves."""

import subprocess
import sys

import pytest

from unish.errors import InputError
from unish.evaluation.datasets import NAMES, benchmark
from unish.evaluation.scoring import METRICS

OURS = [name for name in NAMES if name != "synthetic"]


@pytest.mark.parametrize("name", OURS)
def test_a_benchmark_bears_its_name_and_reports_known_measures(name: str) -> None:
    found = benchmark(name)
    assert found.name == name and found.title
    assert found.metrics and set(found.metrics) <= set(METRICS)
    for row in found.published:
        assert row.source and row.numbers and set(row.numbers) <= set(found.metrics)


def test_protocols() -> None:
    assert {name for name in OURS if benchmark(name).sampled_fps == 6 and benchmark(name).window == 30} == {
        "emdb1", "emdb2", "rich", "3dpw",
    }  # fmt: skip
    assert all(benchmark(name).window is None for name in ("bonn", "tum", "sintel", "sintel_clean"))


def test_published_numbers() -> None:
    def numbers(name: str, source: str, *keys: str) -> dict[str, tuple[float | None, ...]]:
        rows = [row for row in benchmark(name).published if source in row.source]
        return {row.method: tuple(row.numbers.get(key) for key in keys) for row in rows}

    world = ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent")
    assert numbers("emdb2", "2601.01222", *world)["JOSH3R"] == (220.0, 661.7, 13.1)
    assert numbers("emdb2", "2601.01222", *world)["UniSH"] == (118.5, 270.1, 5.8)
    assert numbers("emdb2", "2606.27720", *world) == {"SHOW": (109.1, 262.3, 2.1)}
    assert numbers("emdb2", "2026-11", *world)["CHROMM (mono)"] == (102.6, 255.0, None)
    sizes = numbers("emdb2", "own formulas", "world_size", "foot_floor_gap_cm", "foot_sliding_cm_s", "rigid_ate_m")
    assert sizes["UniSH"] == (0.47, 15.5, 28.1, 0.98) and sizes["WildHSR"] == (0.99, 3.6, 17.4, 0.13)
    assert numbers("rich", "2601.01222", *world)["GVHMR"] == (78.8, 126.3, 2.4)
    assert numbers("rich", "2609.29106", *world)["WildHSR"] == (73.2, 163.1, 2.7)
    assert numbers("emdb1", "SHOW", "pa_mpjpe_mm", "mpjpe_mm", "pve_mm")["Human3R"] == (48.5, 73.9, 86.0)
    assert numbers("bonn", "", "abs_rel", "delta_125")["π³"] == (0.049, 0.975)
    assert [len(benchmark(name).published) for name in ("emdb1", "emdb2", "rich", "bonn")] == [2, 17, 10, 5]


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(InputError, match=r"benchmark out of bonn, tum, .*synthetic, got 'kitti'"):
        benchmark("kitti")


def test_names_need_no_reader() -> None:
    code = (
        "import sys, unish.evaluation.datasets as readers; readers.NAMES;"
        "print([name for name in sys.modules if name.startswith('unish.evaluation.datasets.')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
