"""The data bucket: which sites there are and which surveys each of them has.

People and their tools drop things here, so anything may lie around: folders, drafts, other files.
"""

import hashlib

from structlog.typing import FilteringBoundLogger

from events import names
from events.manifests import SurveyRef
from trainer.s3 import Bucket, Listed, ObjectMissingError
from trainer.training.settings import site_description_key

_SITES = "sites/"
_MOST_REMEMBERED = 10_000


class Surveys:
    """The surveys that were uploaded; only reads."""

    def __init__(self, bucket: Bucket, log: FilteringBoundLogger) -> None:
        """Look into ``bucket``; say once about each thing that is passed over."""
        self._bucket = bucket
        self._log = log
        self._passed_over: set[str] = set()

    @property
    def bucket_name(self) -> str:
        """The bucket that surveys lie in."""
        return self._bucket.name

    def sites(self) -> tuple[str, ...]:
        """Every site that has anything in the bucket.

        Raises:
            trainer.s3.StoreUnavailableError: the store gave no useful answer.
        """
        return tuple(name for name in self._bucket.folders(_SITES) if self._is_site(name))

    def current(self, site: str) -> tuple[SurveyRef, ...]:
        """The newest version of each survey of a site, whatever its file's name ends with.

        Raises:
            trainer.s3.StoreUnavailableError: the store gave no useful answer.
        """
        listed = self._bucket.current(names.surveys_prefix(site))
        return tuple(self._reference(found) for found in listed if self._is_survey(found.key))

    def description_digest(self, site: str) -> str | None:
        """SHA-256 (hex) of the site's ``site.json``; None if it has none.

        Raises:
            trainer.s3.StoreUnavailableError: the store gave no useful answer.
        """
        try:
            return hashlib.sha256(self._bucket.get(site_description_key(site)).body).hexdigest()
        except ObjectMissingError:
            return None

    def _is_site(self, name: str) -> bool:
        try:
            names.check_site(name)
        except names.InvalidNameError as error:
            self._pass_over(f"{_SITES}{name}/", error)
            return False
        return True

    def _is_survey(self, key: str) -> bool:
        try:
            names.parse_survey_key(key)
        except names.InvalidNameError as error:
            self._pass_over(key, error)
            return False
        return True

    def _pass_over(self, key: str, error: names.InvalidNameError) -> None:
        if key not in self._passed_over and len(self._passed_over) < _MOST_REMEMBERED:
            self._passed_over.add(key)
            self._log.info("passed over", key=key, reason=str(error))

    def _reference(self, found: Listed) -> SurveyRef:
        return SurveyRef(
            bucket=self._bucket.name,
            key=found.key,
            version_id=found.version_id,
            etag=found.etag,
            size=found.size,
            uploaded_at=found.modified,
        )
