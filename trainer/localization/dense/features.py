"""From dBm to the network's inputs: eight numbers per beacon (recipe A of the model's design).

With the strength alone, a weak beacon and an unheard one would be neighbours. Six Gaussian bumps
let the network treat ranges of strength separately, and a mask says whether the beacon was heard.
The columns have to be in the order that the weights were trained for.
"""

from dataclasses import dataclass

import numpy as np

from trainer.localization.readings import NOT_HEARD_BELOW, FloatMatrix


@dataclass(frozen=True, slots=True)
class FeatureParameters:
    """Where the bumps sit and how strength is scaled; all in dBm.

    The defaults are recipe A's: the strongest reading of the UCI set is -55, most are -60 to -86.
    """

    floor_dbm: float = -100.0
    span_db: float = 45.0
    bump_centres_dbm: tuple[float, ...] = (-86.0, -80.0, -74.0, -68.0, -62.0, -56.0)
    bump_sigma_db: float = 5.0
    not_heard_below_dbm: float = NOT_HEARD_BELOW
    """Higher if a site writes "not heard" as a number of its own, such as -110."""

    @property
    def per_beacon(self) -> int:
        """The number of features of one beacon."""
        return len(self.bump_centres_dbm) + 2


def featurize(rssi: FloatMatrix, parameters: FeatureParameters) -> FloatMatrix:
    """The features of each fingerprint.

    Args:
        rssi: (rows, beacons) in dBm, NaN where a beacon was not heard.
        parameters: scale, bumps, and the bound below which a number means "not heard" too.

    Returns:
        (rows, per_beacon * beacons) float32, grouped by feature, not by beacon: the strength of
        every beacon, then each bump of every beacon, then every mask. All are 0 where unheard.
    """
    rows, beacons = rssi.shape
    # Beacon by beacon in memory, so that every step runs over contiguous rows.
    dbm = np.array(rssi.T, dtype=np.float32, order="C")
    # False for NaN as well.
    heard = dbm >= np.float32(parameters.not_heard_below_dbm)
    np.copyto(dbm, np.float32(parameters.floor_dbm), where=~heard)
    features = np.empty((parameters.per_beacon, beacons, rows), dtype=np.float32)
    strength, bumps, masks = features[0], features[1:-1], features[-1]
    np.subtract(dbm, np.float32(parameters.floor_dbm), out=strength)
    strength /= np.float32(parameters.span_db)
    centres = np.array(parameters.bump_centres_dbm, dtype=np.float32)
    np.subtract(dbm, centres[:, np.newaxis, np.newaxis], out=bumps)
    bumps /= np.float32(parameters.bump_sigma_db)
    bumps *= bumps
    bumps *= np.float32(-0.5)
    np.exp(bumps, out=bumps)
    masks.fill(1.0)
    features *= heard
    return features.reshape(parameters.per_beacon * beacons, rows).T
