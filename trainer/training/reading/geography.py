"""Positions in degrees, as satellites and maps give them, on a plane in metres."""

import numpy as np

from trainer.localization.decoding import Positions
from trainer.training.errors import BadSurvey

EARTH_RADIUS_M = 6_371_008.8
"""The mean radius (IUGG)."""
SMALLEST_EXTENT_M = 0.1
"""A survey whose points all lie nearer together than this has no points in metres."""


def in_metres(points: Positions, unit: str) -> Positions:
    """Points on a plane in metres.

    Degrees are projected by the sinusoidal projection around the whole degrees nearest to the
    points, so that all surveys of a site share an origin; it distorts by less than 1 %.

    Args:
        points: (rows, 2) x and y, or longitude and latitude; NaN for a row without one.
        unit: "degrees", or another for points that are in metres already.

    Raises:
        BadSurvey: the points look like degrees that nobody declared, or are none.
    """
    known = points[~np.isnan(points[:, 0])]
    if not len(known):
        return points
    if unit != "degrees":
        _check_extent(known)
        return points
    if (np.abs(known) > (180.0, 90.0)).any():
        raise BadSurvey(
            "x and y are declared as degrees, and longitude ends at 180, latitude at 90: x is the "
            "longitude and y the latitude; correct them or the unit in site.json."
        )
    east, north = np.round(np.median(known, axis=0))
    radians = np.deg2rad(points - (east, north))
    width = np.cos(np.deg2rad(points[:, 1]))
    return EARTH_RADIUS_M * np.column_stack([radians[:, 0] * width, radians[:, 1]])


def _check_extent(points: Positions) -> None:
    extent = np.ptp(points, axis=0)
    within_degrees = (np.abs(points) <= (180.0, 90.0)).all()
    if len(np.unique(points, axis=0)) > 1 and within_degrees and extent.max() < SMALLEST_EXTENT_M:
        raise BadSurvey(
            f"All points lie within {extent.max():.2g} m of each other, so x and y look like "
            'degrees: write "unit": "degrees" in site.json, with x the longitude.',
            advice={"unit": "degrees"},
        )
