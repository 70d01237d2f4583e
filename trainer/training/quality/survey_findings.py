"""Findings on surveys as they were written: formats, sentinels, dropped rows."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.localization.readings import NOT_HEARD_BELOW
from trainer.training.quality.findings import Finding, Severity
from trainer.training.reading.missing_values import LOWEST_GAP_DB, LOWEST_SIGNAL
from trainer.training.reading.surveys import Survey
from trainer.training.reading.training_set import TrainingSet

NEAR_SENTINEL = 3.0
"""dB. A value this close above -200 is a sentinel that something has shifted."""
LOWEST_SHARE = 0.05
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}


def on_file_formats(surveys: Sequence[Survey]) -> list[Finding]:
    """How the files are written."""
    formats = [survey.file_format for survey in surveys]
    written = Counter(
        file.encoding
        + (f", columns separated by {_DELIMITER_NAMES[file.delimiter]}" if file.delimiter else "")
        + (f", times as {file.time_format}" if file.time_format else ", no times")
        + (f", {file.columns}" if file.columns else "")
        for file in formats
    )
    ways = "; ".join(
        way if times == len(surveys) else f"{way} ({times} of {len(surveys)} surveys)"
        for way, times in written.most_common()
    )
    return [
        Finding(
            "how it is written",
            Severity.NOTE,
            f"{ways}.",
            "The format was detected.",
            "Times separate visits; they are no feature of the model.",
        )
    ]


def on_scattered_points(data: TrainingSet) -> list[Finding]:
    """Which cells were made of points that nobody came back to."""
    snapped = data.snapped
    if snapped is None:
        return []
    why = (
        "a size that follows from how many points there are and how far apart"
        if snapped.is_default
        else "the cell_size_m of site.json"
    )
    return [
        Finding(
            "scattered points",
            Severity.NOTE,
            f"{snapped.points} points, nearly each of them measured once.",
            "A walk, or points without a grid: a location for each of them could not be learnt.",
            f"They were snapped to {snapped.cells} cells of {snapped.cell_size_m:g} m, {why}; "
            "errors are measured from the points themselves. Set cell_size_m in site.json for "
            "another size.",
        )
    ]


def on_sentinels(surveys: Sequence[Survey]) -> list[Finding]:
    """How "not heard" is written."""
    written: Counter[str] = Counter()
    for survey in surveys:
        written.update(dict(survey.file_format.not_heard))
    odd = {
        word: times
        for word, times in written.items()
        if word != "blank" and 0 < float(word) + 200.0 <= NEAR_SENTINEL
    }
    ways = ", ".join(f"{word} ({times} times)" for word, times in written.most_common())
    findings = []
    if written:
        findings.append(
            Finding(
                "not heard",
                Severity.NOTE,
                f"Written as {ways}.",
                "A beacon that was not heard is a missing value, not a weak signal.",
                "All of these count as not heard.",
            )
        )
    if odd:
        listed = ", ".join(f"{word} ({times} times)" for word, times in odd.items())
        findings.append(
            Finding(
                "off-by-one sentinels",
                Severity.WARNING,
                f"{listed} where -200 is meant.",
                "Something changed the readings after they were logged; the signals may be shifted "
                "by the same amount.",
                "They count as not heard. Check how the file was produced.",
            )
        )
    return findings


def on_masked_sentinel(data: TrainingSet, surveys: Sequence[Survey]) -> list[Finding]:
    """The site's own sentinel, if :func:`mask_sentinel` found one."""
    if data.not_heard_below == NOT_HEARD_BELOW:
        return []
    word = f"{data.not_heard_below - LOWEST_GAP_DB / 2:g}"
    times = sum(dict(survey.file_format.not_heard).get(word, 0) for survey in surveys)
    readings = times + int(np.count_nonzero(~np.isnan(data.rssi)))
    return [
        Finding(
            "a number for not heard",
            Severity.NOTE,
            f"{word} dBm, {times} times ({times / readings:.0%} of what would be readings), and "
            f"nothing within {LOWEST_GAP_DB:g} dB above it.",
            "It is no signal, but how this site writes that a beacon was not heard.",
            f"It counts as not heard, in training and in requests to the model: all below "
            f"{data.not_heard_below:g} dBm.",
        )
    ]


def on_lowest_reading(data: TrainingSet) -> list[Finding]:
    """A possible sentinel that is too rare for :func:`mask_sentinel` to be sure."""
    heard = data.rssi[~np.isnan(data.rssi)]
    if not len(heard) or heard.min() > LOWEST_SIGNAL:
        return []
    lowest = float(heard.min())
    times, others = int((heard == lowest).sum()), heard[heard > lowest]
    is_isolated = not len(others) or float(others.min()) - lowest >= LOWEST_GAP_DB
    if times < LOWEST_SHARE * len(heard) or not is_isolated:
        return []
    return [
        Finding(
            "a lowest reading apart",
            Severity.WARNING,
            f"{lowest:g} dBm, {times} times ({times / len(heard):.0%} of the readings), and "
            f"nothing within {LOWEST_GAP_DB:g} dB above it.",
            "It is probably no signal, but means that a beacon was not heard.",
            "It is used unchanged. Write such readings as blank or -200 and upload the file again.",
        )
    ]


def on_dropped_rows(dropped: Mapping[str, int]) -> list[Finding]:
    """Rows that are not used, counted by the kind of their fault."""
    if not dropped:
        return []
    kinds = ", ".join(f"{rows} with {kind}" for kind, rows in dropped.items())
    return [
        Finding(
            "dropped rows",
            Severity.WARNING,
            f"{sum(dropped.values())} rows are not used: {kinds}.",
            "They are no usable measurements.",
            "They were left out and are listed by `rssi audit`; the rest of their surveys is used.",
        )
    ]
