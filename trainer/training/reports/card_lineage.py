"""The model card's account of where a release comes from, complete enough to make it again.

What may go wrong: a digest cut short is one that nobody can look up; all are written out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from trainer.training.evaluation.champion import ChampionModel
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reports.provenance import ReportContext, SurveyOrigin

MOST_SURVEYS = 50
"""The others are in ``metrics.json``."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What a release was made from, and with."""

    release_id: str
    digest: str
    context: ReportContext
    surveys: tuple[tuple[str, int], ...]
    """Name and labelled rows of each."""
    ignored_rows: int
    packages: Mapping[str, str]
    hyperparameters: Hyperparameters


def lineage(origin: Origin) -> str:
    """A table of names and digests, and one of the surveys."""
    context, settings = origin.context, origin.hyperparameters
    recipe = settings.model_dump(exclude={"schema_version", "seed"})
    champion = context.champion
    live = _code(champion.release.run_id) if isinstance(champion, ChampionModel) else "none known"
    snapshot = "none, trained from files" if context.snapshot is None else context.snapshot
    return _table(
        [
            ("Release", _code(origin.release_id)),
            ("Digest of the bundle", _code(origin.digest)),
            ("Snapshot of the surveys", _code(snapshot)),
            ("Trainer", f"version {escape(context.trainer_version)}"),
            ("Image", _code(context.image)),
            ("Packages", _listed(origin.packages)),
            ("Seed", str(settings.seed)),
            ("Settings", _listed(recipe)),
            ("Live when it was trained", live),
            ("Rows without a location, not used", str(origin.ignored_rows)),
        ]
    ) + _surveys(origin.surveys, context.surveys)


def _surveys(surveys: Sequence[tuple[str, int]], origins: Sequence[SurveyOrigin]) -> str:
    known: Sequence[SurveyOrigin | None] = origins or [None] * len(surveys)
    rows = "".join(
        _survey(name, rows, origin)
        for (name, rows), origin in list(zip(surveys, known, strict=True))[:MOST_SURVEYS]
    )
    more = len(surveys) - MOST_SURVEYS
    rest = f'<p class="mute">and {more} more, in metrics.json</p>' if more > 0 else ""
    head = "<thead><tr><th>survey</th><th>rows</th><th>SHA-256, version</th></tr></thead>"
    return f'<table class="wide surveys">{head}<tbody>{rows}</tbody></table>{rest}'


def _survey(name: str, rows: int, origin: SurveyOrigin | None) -> str:
    if origin is None:
        return f"<tr><td>{escape(name)}</td><td>{rows}</td><td>not known</td></tr>"
    version = "" if origin.version_id is None else f"<br>version {_code(origin.version_id)}"
    known = ' <span class="badge">known to the champion</span>' if origin.known_to_champion else ""
    return (
        f"<tr><td>{escape(name)}{known}</td><td>{rows}</td>"
        f"<td>{_code(origin.sha256)}{version}</td></tr>"
    )


def _listed(values: Mapping[str, object]) -> str:
    return escape(", ".join(f"{name} {value}" for name, value in values.items()))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    drawn = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{drawn}</table>"
