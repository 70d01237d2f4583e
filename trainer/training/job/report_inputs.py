"""Reads from the buckets what a run's reports contain besides the data.

A store that fails is no reason to end a run: what could not be read is mentioned in the log and on
the card.
"""

from collections.abc import Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from aws.s3 import Bucket, StoreError
from events.manifests import Snapshot, SurveyRef
from trainer.training.evaluation.champion import ChampionModel, NoChampion, read_champion
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reports.floor_plan import MOST_BYTES, NoPicture, Picture, parse_picture
from trainer.training.reports.provenance import ReportContext, SurveyOrigin
from trainer.training.settings import JobSettings, site_file_key


def report_context(
    settings: JobSettings,
    snapshot: Snapshot,
    surveys: Sequence[tuple[SurveyRef, str]],
    champion: ChampionModel | NoChampion,
    floor_plan: Picture | NoPicture | None,
) -> ReportContext:
    """Assemble what the reports contain besides the data.

    Args:
        settings: the run's.
        snapshot: the sealed list of surveys.
        surveys: the surveys in their order, each with the SHA-256 of its file.
        champion: the live release.
        floor_plan: the site's.
    """
    known = set()
    if isinstance(champion, ChampionModel):
        known = {survey.id for survey in champion.release.snapshot.surveys}
    return ReportContext(
        surveys=tuple(
            SurveyOrigin(
                sha256=sha256,
                version_id=survey.version_id,
                id=survey.id,
                known_to_champion=survey.id in known,
            )
            for survey, sha256 in surveys
        ),
        snapshot=snapshot.digest,
        trainer_version=settings.run_spec.trainer_version,
        image=settings.image,
        champion=champion,
        floor_plan=floor_plan,
    )


def read_champion_and_log(
    artifacts: Bucket, site: str, folder: Path, log: FilteringBoundLogger
) -> ChampionModel | NoChampion:
    """Read the live release of a site and log the outcome; its bundle is unpacked in ``folder``."""
    champion = read_champion(artifacts, site, folder)
    if isinstance(champion, NoChampion):
        log.info("nothing to compare with", reason=champion.reason)
    else:
        log.info("comparing with what is live", release=champion.release.run_id)
    return champion


def read_floor_plan(store: Bucket, name: str, site: SiteDescription) -> Picture | NoPicture | None:
    """The picture that a site's description names, unless it is too large to download."""
    if site.floor_plan is None:
        return None
    key = site_file_key(name, site.floor_plan.image)
    try:
        size = next((one.size for one in store.objects(key) if one.key == key), 0)
        if 0 < size <= MOST_BYTES:
            return parse_picture(site.floor_plan, store.get(key).body)
    except StoreError as error:
        return NoPicture(f"{key} could not be read: {error}")
    return NoPicture(f"{key} has {size} bytes, and 1 to {MOST_BYTES} can be drawn.")
