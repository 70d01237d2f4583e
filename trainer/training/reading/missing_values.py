"""Finds a number that stands for "not heard" where only looking can tell, such as -110.

A logger that fills gaps with one number below its receiver's floor yields a survey that holds that
number over and over, with nothing near above it. A receiver's own floor is not so: weak signals
come at every strength down to it, and no radio repeats one reading half of the time. What may go
wrong: real weak readings taken for such a filler. So all surveys of a site are looked at together,
and one reading close above the lowest keeps all as they are; the audit warns where that looks odd.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainer.localization.readings import NOT_HEARD_BELOW, FloatMatrix
from trainer.training.errors import BadSurvey
from trainer.training.reading.row_checks import silent_rows
from trainer.training.reading.row_faults import check_share
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey

LOWEST_SIGNAL = -105.0
"""dBm. Receivers of beacons hear down to about -100."""
LOWEST_GAP_DB = 4.0
"""Nothing is read this close above a filler; a receiver's floor is approached dB by dB."""
FILLED_SHARE = 0.5
"""Of the readings of one survey at least; the most frequent reading of the UCI set has 0.11."""
WIDE_GAP_DB, WIDE_GAP_SHARE = 10.0, 0.05
"""Above a gap as wide, which no scale of signal strengths has, this share is enough."""
FEWEST_FILLED = 30
"""Fewer equal readings may be chance."""


def mask_sentinel(surveys: Sequence[Survey], site: SiteDescription) -> list[Survey]:
    """The same surveys with a filler, if there clearly is one, as not heard.

    Rows that then hear no beacon are dropped like others that hear none. Surveys that were looked
    at together before come back as they are.

    Args:
        surveys: all there are of the site.
        site: where they were taken; its thresholds count.

    Raises:
        BadSurvey: too many rows of one hear no beacon; ``place`` tells which.
    """
    if any(survey.not_heard_below > NOT_HEARD_BELOW for survey in surveys):
        return list(surveys)
    filler = _filler(surveys)
    if filler is None:
        return list(surveys)
    return [_without(filler, survey, place, site) for place, survey in enumerate(surveys)]


def _filler(surveys: Sequence[Survey]) -> float | None:
    """The lowest reading of all, in dBm, if it is none."""
    lowest = float(np.fmin.reduce([_lowest(survey.rssi) for survey in surveys], initial=np.inf))
    if lowest > LOWEST_SIGNAL:
        return None
    above = min(_lowest_above(survey.rssi, lowest) for survey in surveys)
    gap = above - lowest
    # Where nothing else is read at all, nothing tells a filler from a signal.
    others_exist = bool(np.isfinite(above))
    share = WIDE_GAP_SHARE if gap >= WIDE_GAP_DB else FILLED_SHARE
    fills = any(_fills(survey.rssi, lowest, share) for survey in surveys)
    return lowest if gap >= LOWEST_GAP_DB and others_exist and fills else None


def _lowest(rssi: FloatMatrix) -> float:
    return float(np.fmin.reduce(rssi, axis=None, initial=np.float32(np.inf)))


def _lowest_above(rssi: FloatMatrix, dbm: float) -> float:
    return float(np.min(rssi, where=rssi > dbm, initial=np.float32(np.inf)))


def _fills(rssi: FloatMatrix, dbm: float, share: float) -> bool:
    times = int(np.count_nonzero(rssi == dbm))
    readings = rssi.size - int(np.count_nonzero(np.isnan(rssi)))
    return times >= FEWEST_FILLED and times >= share * readings


def _without(filler: float, survey: Survey, place: int, site: SiteDescription) -> Survey:
    filled = survey.rssi == filler
    rssi = np.where(filled, np.float32(np.nan), survey.rssi)
    silent = np.isnan(rssi).all(axis=1)
    added = silent_rows(survey.lines[silent])
    faults = sorted([*survey.faults, *added], key=lambda fault: fault.line)
    rows = len(survey.labels) + survey.ignored_rows + len(survey.faults)
    try:
        check_share(faults, rows, site.thresholds)
    except BadSurvey as error:
        raise BadSurvey(f"{survey.name}: {error.reason}", survey_index=place) from error
    # Another copy only where rows go: a survey may be large.
    kept = np.flatnonzero(~silent) if silent.any() else slice(None)
    ways = dict(survey.file_format.not_heard) | {f"{filler:g}": int(np.count_nonzero(filled))}
    return replace(
        survey,
        rssi=rssi[kept],
        labels=tuple(np.array(survey.labels, dtype=object)[kept].tolist()),
        positions=None if survey.positions is None else survey.positions[kept],
        lines=survey.lines[kept],
        times=None if survey.times is None else survey.times[kept],
        faults=tuple(faults),
        file_format=replace(survey.file_format, not_heard=tuple(ways.items())),
        not_heard_below=filler + LOWEST_GAP_DB / 2,
    )
