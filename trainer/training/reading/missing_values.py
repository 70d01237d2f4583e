"""Detects a site's own sentinel for "not heard", such as -110, and masks it.

A logger that fills gaps with one number below its receiver's sensitivity yields surveys that repeat
that number, with no reading close above it. Weak signals, in contrast, occur at every strength down
to the sensitivity, and no radio repeats one reading half of the time. To spare real readings, all
surveys of a site are searched together, and a single reading close above the lowest keeps it a
reading; the audit warns of doubtful cases.
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
"""dBm. The sensitivity of receivers of beacons is about -100."""
HIGHEST_SENTINEL = -95.0
"""dBm. Between the two only a wide gap tells a sentinel, such as -100, from weak signals."""
LOWEST_GAP_DB = 4.0
"""No reading is this close above a sentinel; weak signals occur at every dB."""
SENTINEL_SHARE = 0.5
"""Least share of one survey's readings; the most frequent one of the UCI set has 0.11."""
WIDE_GAP_DB, WIDE_GAP_SHARE = 10.0, 0.01
"""Below a gap this wide, which signal strengths never have, a smaller share suffices."""
FEWEST_SENTINELS = 20
"""Fewer equal readings may be coincidence."""


def mask_sentinel(surveys: Sequence[Survey], site: SiteDescription) -> list[Survey]:
    """Mask the sentinel of a site, if there clearly is one.

    Rows without any other reading are dropped as silent. Surveys that are masked already are
    returned unchanged.

    Args:
        surveys: all surveys of the site.
        site: where they were taken; its thresholds count.

    Raises:
        BadSurvey: too many rows of one survey hear no beacon; ``survey_index`` is its index.
    """
    if any(survey.not_heard_below > NOT_HEARD_BELOW for survey in surveys):
        return list(surveys)
    sentinel = _find_sentinel(surveys)
    if sentinel is None:
        return list(surveys)
    return [_masked(survey, index, sentinel, site) for index, survey in enumerate(surveys)]


def _find_sentinel(surveys: Sequence[Survey]) -> float | None:
    """The lowest reading of all surveys, in dBm, if it is a sentinel."""
    lowest = float(np.fmin.reduce([_lowest(survey.rssi) for survey in surveys], initial=np.inf))
    if lowest > HIGHEST_SENTINEL:
        return None
    above = min(_lowest_above(survey.rssi, lowest) for survey in surveys)
    gap = above - lowest
    # Without any other reading, a sentinel can't be told from a signal.
    others_exist = bool(np.isfinite(above))
    share = WIDE_GAP_SHARE if gap >= WIDE_GAP_DB else SENTINEL_SHARE
    is_frequent = any(_is_frequent(survey.rssi, lowest, share) for survey in surveys)
    least_gap = LOWEST_GAP_DB if lowest <= LOWEST_SIGNAL else WIDE_GAP_DB
    return lowest if gap >= least_gap and others_exist and is_frequent else None


def _lowest(rssi: FloatMatrix) -> float:
    return float(np.fmin.reduce(rssi, axis=None, initial=np.float32(np.inf)))


def _lowest_above(rssi: FloatMatrix, dbm: float) -> float:
    return float(np.min(rssi, where=rssi > dbm, initial=np.float32(np.inf)))


def _is_frequent(rssi: FloatMatrix, dbm: float, share: float) -> bool:
    times = int(np.count_nonzero(rssi == dbm))
    readings = rssi.size - int(np.count_nonzero(np.isnan(rssi)))
    return times >= FEWEST_SENTINELS and times >= share * readings


def _masked(survey: Survey, index: int, sentinel: float, site: SiteDescription) -> Survey:
    masked = survey.rssi == sentinel
    rssi = np.where(masked, np.float32(np.nan), survey.rssi)
    silent = np.isnan(rssi).all(axis=1)
    added = silent_rows(survey.lines[silent])
    faults = sorted([*survey.faults, *added], key=lambda fault: fault.line)
    rows = len(survey.labels) + survey.ignored_rows + len(survey.faults)
    try:
        check_share(faults, rows, site.thresholds)
    except BadSurvey as error:
        raise BadSurvey(f"{survey.name}: {error.reason}", survey_index=index) from error
    # A survey may be large: copy it again only if rows are dropped.
    kept = np.flatnonzero(~silent) if silent.any() else slice(None)
    ways = dict(survey.file_format.not_heard) | {f"{sentinel:g}": int(np.count_nonzero(masked))}
    return replace(
        survey,
        rssi=rssi[kept],
        labels=tuple(np.array(survey.labels, dtype=object)[kept].tolist()),
        positions=None if survey.positions is None else survey.positions[kept],
        lines=survey.lines[kept],
        times=None if survey.times is None else survey.times[kept],
        storeys=None if survey.storeys is None else survey.storeys.filter(~silent),
        faults=tuple(faults),
        file_format=replace(survey.file_format, not_heard=tuple(ways.items())),
        not_heard_below=sentinel + LOWEST_GAP_DB / 2,
    )
