"""Trains from files on this machine, without any cloud."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.pipeline import Progress, TrainingResult, train
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey
from trainer.training.reports.floor_plan import read_picture
from trainer.training.reports.provenance import ReportContext, SurveyOrigin


def train_files(
    data: Sequence[Path],
    out: Path,
    seed: int,
    site: SiteDescription,
    hyperparameters: Hyperparameters | None = None,
    progress: Progress = lambda _: None,
    site_folder: Path | None = None,
) -> TrainingResult:
    """Train from files on this machine.

    Args:
        data: surveys.
        out: a folder for the release's files; created if it is missing.
        seed: of everything random; wins over the one in ``hyperparameters``.
        site: where the surveys were taken.
        hyperparameters: the recipe's settings; its defaults if None.
        progress: called with a few words before each step.
        site_folder: the folder of the site's description, with its floor plan's picture.

    Returns:
        The result; its release id is named by the content of the surveys and the settings.

    Raises:
        BadSurvey: a survey can't be used.
        NotEnoughData: there is too little to learn from.
        BundleMismatch: the packaged model does not answer as the trained one.
        OSError: a file can't be read or written.
    """
    settings = (hyperparameters or Hyperparameters()).model_copy(update={"seed": seed})
    progress(f"reading {len(data)} survey{'s' * (len(data) != 1)}")
    digests = [_sha256(path) for path in data]
    surveys = [read_survey(path, site) for path in data]
    out.mkdir(parents=True, exist_ok=True)
    context = ReportContext(
        surveys=tuple(SurveyOrigin(digest.hex()) for digest in digests),
        floor_plan=None if site_folder is None else read_picture(site, site_folder),
    )
    release_id = _local_run_id(digests, site, settings)
    return train(surveys, site, settings, release_id, out, progress, context)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _local_run_id(
    digests: Sequence[bytes], site: SiteDescription, settings: Hyperparameters
) -> str:
    """A run id like the agent's, from what is trained, whatever the order of the files."""
    digest = hashlib.sha256()
    for content in sorted(digests):
        digest.update(content)
    digest.update(site.identity().encode())
    digest.update(settings.model_dump_json().encode())
    return f"{site.name}-{digest.hexdigest()[:12]}"
