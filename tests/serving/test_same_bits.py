"""The same fingerprint is answered with the same bits, however many stand around it."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from trainer.localization import network
from trainer.localization.decoding import decode
from trainer.localization.features import FeatureParameters, featurize
from trainer.localization.network import Dense, Network, by_panels, probabilities, times

BEACONS, CELLS = 13, 105
Matrix = npt.NDArray[np.float32]


def recipe_a() -> Network:
    """Random weights in the shapes of recipe A for the UCI library."""
    random = np.random.default_rng(0)
    widths = (8 * BEACONS, 128, 128, CELLS)
    return Network(
        tuple(
            Dense(
                weight=(random.normal(size=(after, before)) * 0.15).astype(np.float32),
                bias=random.normal(size=after).astype(np.float32),
            )
            for before, after in pairwise(widths)
        )
    )


def fingerprints(rows: int) -> Matrix:
    random = np.random.default_rng(1)
    rssi = random.uniform(-95, -50, size=(rows, BEACONS)).astype(np.float32)
    rssi[random.random(rssi.shape) < 0.6] = np.nan
    return rssi


def answered(rssi: Matrix) -> list[bytes]:
    positions = np.random.default_rng(2).uniform(0, 60, size=(CELLS, 2))
    found = decode(probabilities(recipe_a(), featurize(rssi, FeatureParameters())), positions)
    assert found.points is not None
    return [
        probability.tobytes() + point.tobytes()
        for probability, point in zip(found.probabilities, found.points, strict=True)
    ]


@pytest.mark.parametrize("rows", [2, 15, 16, 17, 64, 65, 128, 129, 256, 257, 512, 700])
def test_a_fingerprint_has_the_same_bits_in_every_width_of_panel(rows: int) -> None:
    rssi = fingerprints(rows)
    together = answered(rssi)

    picked = sorted({0, 1, 7, 8, rows // 2, rows - 2, rows - 1} & set(range(rows)))

    assert [answered(rssi[row : row + 1])[0] for row in picked] == [together[row] for row in picked]


@pytest.mark.parametrize("even", [True, False], ids=["whole panels", "tiles"])
def test_products_are_right_and_even_where_panels_have_to_be_cut_into_tiles(
    monkeypatch: pytest.MonkeyPatch, *, even: bool
) -> None:
    if not even:
        monkeypatch.setattr(network, "_even", lambda _outputs, _inputs: False)
    weight = recipe_a().layers[0].weight
    rows = np.random.default_rng(3).normal(size=(300, weight.shape[1])).astype(np.float32)

    together = by_panels(rows, lambda panel: times(weight, panel))
    alone = [by_panels(rows[row : row + 1], lambda panel: times(weight, panel)) for row in (0, 299)]

    np.testing.assert_allclose(together, rows @ weight.T, rtol=1e-4, atol=1e-4)
    assert [one.tobytes() for one in alone] == [together[0].tobytes(), together[299].tobytes()]
