"""Which number is a signal, which means "not heard" and which is no RSSI at all.

Training and serving both decide by this file. Every logger writes "not heard" in its own way, and
such a number taken for a signal would make a very wrong fingerprint.

==========================  ==================================================================
reading (dBm)               meaning
==========================  ==================================================================
blank, NaN, NA, null        not heard
100                         not heard (the UJI data sets write it so)
0                           not heard (iOS reports 0 when it could not measure; no radio
                            receives at 0 dBm)
-200 up to, not with, -150  not heard (-200 in the UCI library set, with a few -199 and -198)
-150 up to, not with, 0     a signal
all else, infinity          not an RSSI: refused
==========================  ==================================================================
"""

import re

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
BoolMatrix = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

LOWEST_READING = -200.0
NOT_HEARD_BELOW = -150.0
NOT_HEARD_VALUES = (0.0, 100.0)
MISSING_WORDS = ("", "NaN", "nan", "NAN", "NA", "N/A", "null", "NULL", "None")
EXPECTED = "expected dBm from -200 to 0, or 100, -200 or nothing for a beacon that was not heard"

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def number_in(field: str) -> float | None:
    """The number in a field of a CSV, NaN for a missing one, None for any other text.

    Stricter than ``float``, which also takes ``1_000``, ``infinity`` and digits of every script.
    """
    word = field.strip()
    if word in MISSING_WORDS:
        return float("nan")
    return float(word) if _NUMBER.fullmatch(word) else None


def is_rssi(values: Floats) -> BoolMatrix:
    """Whether each value is a signal or means "not heard", as NaN does."""
    known: BoolMatrix = (values >= LOWEST_READING) & (values <= 0.0)
    known |= np.isnan(values)
    # Value by value: np.isin sorts, which takes longer than running the model.
    for value in NOT_HEARD_VALUES:
        known |= values == value
    return known


def all_plain(values: FloatMatrix) -> bool:
    """Whether all values are negative from -200 on, or NaN.

    Then the model takes them unchanged, and no value has to be looked at. ``fmin`` and ``fmax``
    ignore NaN; if all are NaN they return NaN, for which every comparison is false.
    """
    lowest = np.fmin.reduce(values, axis=None)
    highest = np.fmax.reduce(values, axis=None)
    return not (lowest < LOWEST_READING or highest >= 0.0)


def heard_only(values: Floats) -> FloatMatrix:
    """The same readings with NaN wherever a value means "not heard".

    Args:
        values: dBm, any shape; each passes :func:`is_rssi`.

    Returns:
        float32 of the same shape: signals from -150 up to below 0 dBm, else NaN.
    """
    heard = (values >= NOT_HEARD_BELOW) & (values < 0.0)
    return np.where(heard, values.astype(np.float32), np.float32(np.nan))
