"""Converts a training's results into the contract of ``metrics.json``."""

import json
from dataclasses import asdict
from pathlib import Path

from events.metrics_document import (
    ChampionComparison,
    ChampionDifference,
    ConfidenceInterval,
    FigureUnit,
    Headline,
    HeadlineQuestion,
    Lineage,
    MetricsDocument,
    SurveyLineage,
)
from trainer.training.evaluation.champion import ChampionModel
from trainer.training.evaluation.comparison import Comparison
from trainer.training.evaluation.hold_out import HoldOutScheme
from trainer.training.evaluation.reliability import Interval
from trainer.training.reports.content import ReportContent
from trainer.training.reports.provenance import package_versions

_QUESTIONS = {
    HoldOutScheme.WHOLE_VISITS: HeadlineQuestion.UNSEEN_VISITS,
    HoldOutScheme.CUT_VISITS: HeadlineQuestion.ENDS_OF_SEEN_VISITS,
    HoldOutScheme.WHOLE_CELLS: HeadlineQuestion.UNSEEN_LOCATIONS,
}


def write_metrics(path: Path, document: MetricsDocument) -> None:
    """Write ``metrics.json``."""
    text = json.dumps(document.model_dump(mode="json"), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def metrics_document(content: ReportContent) -> MetricsDocument:
    """Everything that was measured of a release."""
    evaluation = content.evaluation
    return MetricsDocument.model_validate(
        content.metrics.model_dump()
        | {
            "headline": _headline(content),
            "protocol": content.protocol.value,
            "intervals": evaluation.intervals,
            "calibration": evaluation.calibration,
            "baselines": evaluation.baselines,
            "confidence": content.confidence,
            "radius": content.radius,
            "cells": content.cells,
            "confusions": content.confusions,
            "training_curve": content.curve,
            "audit": content.audit,
            "held_out": content.held_out,
            "comparison": _comparison(content.comparison),
            "lineage": _lineage(content),
        },
        from_attributes=True,
    )


def _headline(content: ReportContent) -> Headline:
    """The mean error, or without positions the share of exact answers."""
    evaluation, intervals = content.evaluation, content.evaluation.intervals
    value, unit = evaluation.mean_error_m, FigureUnit.METRES
    between = intervals.mean_error_m if intervals else None
    if value is None:
        value, unit = evaluation.exact_accuracy, FigureUnit.SHARE
        between = intervals.exact_accuracy if intervals else None
    return Headline(
        question=_QUESTIONS[content.protocol],
        value=value,
        unit=unit,
        interval=_interval(between),
        rows=evaluation.rows,
        locations=sum(cell.rows > 0 for cell in content.cells),
    )


def _comparison(comparison: Comparison | None) -> ChampionComparison | None:
    if comparison is None or comparison.candidate is None or comparison.champion is None:
        return None
    return ChampionComparison.model_validate(
        {
            "difference": _difference(comparison),
            "candidate_intervals": comparison.candidate.intervals,
            "champion_intervals": comparison.champion.intervals,
            "baselines": comparison.baselines,
        },
        from_attributes=True,
    )


def _difference(comparison: Comparison) -> ChampionDifference | None:
    """In metres, or where a site has labels only in the share of exact answers."""
    against, unit = comparison.summary, FigureUnit.METRES
    value, between = against.mean_error_difference_m, against.mean_error_difference_between_m
    if value is None or between is None:
        unit = FigureUnit.SHARE
        value, between = (
            against.exact_accuracy_difference,
            against.exact_accuracy_difference_between,
        )
    if value is None or between is None:
        return None
    interval = ConfidenceInterval(low=between[0], high=between[1])
    return ChampionDifference(
        value=value, unit=unit, interval=interval, rows=against.rows, basis=against.basis
    )


def _lineage(content: ReportContent) -> Lineage:
    context, champion = content.context, content.context.champion
    origins = context.surveys or [None] * len(content.surveys)
    return Lineage(
        surveys=tuple(
            SurveyLineage(name=name, rows=rows, **(asdict(origin) if origin else {}))
            for (name, rows), origin in zip(content.surveys, origins, strict=True)
        ),
        snapshot=context.snapshot,
        trainer_version=context.trainer_version,
        image=context.image,
        packages=package_versions(),
        hyperparameters=content.hyperparameters.model_dump(mode="json"),
        champion=champion.release.run_id if isinstance(champion, ChampionModel) else None,
        no_champion=None if isinstance(champion, ChampionModel) else champion.reason,
    )


def _interval(between: Interval | None) -> ConfidenceInterval | None:
    return None if between is None else ConfidenceInterval(low=between.low, high=between.high)
