"""benchmarks/real_bodies.py: what its errors mean."""

import numpy as np
import pytest

from benchmarks.real_bodies import BodyScore, limb_errors, table


def test_a_shifted_person_is_wrong_in_place_alone():
    wanted = np.random.default_rng(0).uniform(0, 100, (12, 2))
    joints, sideways, moved, fitted = limb_errors(wanted + np.array([6.0, -8.0]), wanted, np.ones(12), height_px=200)
    assert joints == pytest.approx(5) and sideways == pytest.approx(3)
    assert moved == pytest.approx(0, abs=1e-9) and fitted == pytest.approx(0, abs=1e-9)


def test_a_person_of_another_size_is_wrong_until_fitted():
    wanted = np.random.default_rng(1).uniform(0, 100, (12, 2))
    weight = np.ones(12)
    weight[3] = 0
    limbs = 1.5 * wanted
    limbs[3] = 1e6  # not labelled
    joints, _, moved, fitted = limb_errors(limbs, wanted, weight, height_px=100)
    assert joints > moved > 5 and fitted == pytest.approx(0, abs=1e-9)


def test_the_table_names_every_clip():
    text = table({"street": BodyScore(4, 12.34, -1.0, 8.0, 6.0, 0.51), "total": BodyScore(4, 1, 1, 1, 1, 1)})
    assert "| street | 4 | 12.3 | -1.0 | 8.0 | 6.0 | 0.51 |" in text.splitlines()
