"""From dBm to the network's inputs: eight numbers per beacon (recipe A of the model's design).

Strength alone would make a weak beacon and an unheard one neighbours; six Gaussian bumps let the
network treat ranges of strength separately, and the mask says whether the beacon was heard at all.
What may go wrong: columns in another order than the weights were trained for; only
:class:`~trainer.localization.bundle.LoadedModel` and the training put them together.
"""

from dataclasses import dataclass

import numpy as np

from trainer.localization.readings import FloatMatrix


@dataclass(frozen=True, slots=True)
class FeatureParameters:
    """Where the bumps sit and how strength is scaled; all in dBm.

    The defaults are recipe A's: the strongest reading of the UCI set is -55, most are -60 to -86.
    """

    floor_dbm: float = -100.0
    span_db: float = 45.0
    bump_centres_dbm: tuple[float, ...] = (-86.0, -80.0, -74.0, -68.0, -62.0, -56.0)
    bump_sigma_db: float = 5.0

    @property
    def per_beacon(self) -> int:
        """How many features one beacon yields."""
        return len(self.bump_centres_dbm) + 2


def featurize(rssi: FloatMatrix, parameters: FeatureParameters) -> FloatMatrix:
    """The features of each fingerprint.

    Args:
        rssi: (rows, beacons) in dBm, NaN where a beacon was not heard.
        parameters: scale and bumps.

    Returns:
        (rows, per_beacon * beacons) float32, grouped by feature, not by beacon: the strength of
        every beacon, then each bump of every beacon, then every mask. All are 0 where unheard.
    """
    rows, beacons = rssi.shape
    heard = ~np.isnan(rssi)
    dbm = np.where(heard, rssi, np.float32(parameters.floor_dbm))
    features = np.empty((rows, parameters.per_beacon, beacons), dtype=np.float32)
    features[:, 0] = (dbm - np.float32(parameters.floor_dbm)) / np.float32(parameters.span_db)
    for place, centre in enumerate(parameters.bump_centres_dbm, start=1):
        offset = (dbm - np.float32(centre)) / np.float32(parameters.bump_sigma_db)
        np.exp(offset * offset * np.float32(-0.5), out=features[:, place])
    features[:, -1] = 1.0
    features *= heard[:, np.newaxis, :]
    return features.reshape(rows, parameters.per_beacon * beacons)
