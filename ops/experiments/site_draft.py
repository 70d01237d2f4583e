"""Drafts the ``site.json`` that surveys need, with the reason for each of its keys.

What refusals advise is tried as a person would try it. What reading chose by itself (columns by
common names, a number for "not heard", a cell size) is written down, so that it stays so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import OpsError
from ops.experiments.inputs import read_site, trainer_errors
from trainer.localization.readings import NOT_HEARD_BELOW
from trainer.training.errors import BadSurvey
from trainer.training.reading.columns import find_columns, find_long_form
from trainer.training.reading.formats.port import FileLayout
from trainer.training.reading.formats.registry import open_survey
from trainer.training.reading.missing_values import LOWEST_GAP_DB, mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import join_masked

MOST_ATTEMPTS = 8
"""Refusals of one file; each that helps adds a key."""


@dataclass(slots=True)
class SiteDraft:
    """A draft of a ``site.json``."""

    document: dict[str, object]
    """The keys to write; empty where the surveys need none."""
    reasons: list[str] = field(default_factory=list)
    """Why, a line for each key."""

    @property
    def site(self) -> SiteDescription:
        """The site that the draft describes."""
        return SiteDescription.model_validate(self.document)

    def add(self, keys: Mapping[str, object], why: str) -> bool:
        """Add keys to those that are there; False if they are there already."""
        before = self.site
        self.document |= {key: _joined(self.document.get(key), keys[key]) for key in keys}
        if self.site == before:
            return False
        self.reasons.append(f"{', '.join(keys)}: {why}")
        return True


def _joined(there: object, added: object) -> object:
    """What stands at one key, with what is added; patterns come together, names that stand stay."""
    if isinstance(there, list) and isinstance(added, list):
        return [*there, *(entry for entry in added if entry not in there)]
    if isinstance(there, dict) and isinstance(added, dict):
        return {**added, **there}
    return added


def draft_site(files: Sequence[Path], site_file: Path | None) -> SiteDraft:
    """Draft what a site has to say of its surveys.

    Args:
        files: surveys of one site.
        site_file: what the site says already; it stays.

    Raises:
        OpsError: no description makes a file a survey; the reason is that of its refusal.
    """
    given = read_site(site_file).model_dump(mode="json", exclude_unset=True)
    draft = SiteDraft(given)
    with trainer_errors():
        for file in files:
            _read_with_advice(file, draft)
            _add_columns(file, draft)
        surveys = [read_survey(file, draft.site) for file in files]
        _add_what_was_found(surveys, draft)
    return draft


def _read_with_advice(file: Path, draft: SiteDraft) -> None:
    for _ in range(MOST_ATTEMPTS):
        try:
            read_survey(file, draft.site)
        except BadSurvey as error:
            if not draft.add(error.advice, f"{file.name} was refused without: {error.reason}"):
                raise OpsError(
                    f"No site.json makes a survey of {file.name}: {error.reason}"
                ) from error
        else:
            return


def _add_columns(file: Path, draft: SiteDraft) -> None:
    """Write down which columns were taken."""
    site = draft.site
    opened = open_survey(file, file.name, FileLayout(site.delimiter, site.decimal))
    chosen: dict[str, str] = {}
    long_form = find_long_form(opened.column_names, site)
    if long_form is not None:
        names = opened.column_names
        chosen = {"beacon": names[long_form[0]], "rssi": names[long_form[1]]}
        opened = opened.pivoted(*long_form)
    roles = find_columns(opened.column_names, site)
    x, y = roles.point or (None, None)
    places = {"location": roles.location, "x": x, "y": y}
    for role, index in {**places, "floor": roles.floor, "building": roles.building}.items():
        if index is not None and roles.names[index] != role:
            chosen[role] = roles.names[index]
    added = {role: name for role, name in chosen.items() if role not in site.columns.by_role}
    if added:
        found = ", ".join(f"{role} is {name!r}" for role, name in added.items())
        draft.add({"columns": added}, f"taken in {file.name} by common names: {found}.")
    if roles.unit != "m":
        draft.add({"unit": roles.unit}, f"the header of {file.name} says so.")


def _add_what_was_found(surveys: Sequence[Survey], draft: SiteDraft) -> None:
    masked = mask_sentinel(surveys, draft.site)
    below = masked[0].not_heard_below
    if below > NOT_HEARD_BELOW:
        number = below - LOWEST_GAP_DB / 2
        draft.add(
            {"not_heard": [number]}, "so frequent, with no reading close above it, that it is none."
        )
    snapped = join_masked(masked, draft.site).snapped
    if snapped is not None and snapped.is_default:
        draft.add(
            {"cell_size_m": round(snapped.cell_size_m, 3)},
            f"{snapped.points} points, nearly each of them measured once; the size follows from "
            "how many there are and how far apart.",
        )
