"""The data bucket: the sites and their surveys; read only.

People and tools upload here by hand, so the bucket may hold anything: folders, drafts, other files.
"""

import hashlib
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from aws.s3 import Bucket, ListedObject, ObjectMissingError
from events import names
from events.manifests import SurveyRef
from trainer.agent.core.observed import Listing
from trainer.training.settings import site_description_key

_SITES = "sites/"
_MOST_REMEMBERED = 10_000


class _Description(NamedTuple):
    identity: tuple[str, str]
    digest: str


class SurveyStore:
    """Lists the surveys that were uploaded."""

    def __init__(self, bucket: Bucket, log: FilteringBoundLogger) -> None:
        """Read ``bucket``; log each ignored object once."""
        self._bucket = bucket
        self._log = log
        self._ignored: set[str] = set()
        self._descriptions: dict[str, _Description] = {}

    @property
    def bucket_name(self) -> str:
        """The name of the bucket with the surveys."""
        return self._bucket.name

    def sites(self) -> tuple[str, ...]:
        """Every site that has an object in the bucket.

        Raises:
            aws.s3.StoreUnavailableError: the store gave no useful answer.
        """
        return tuple(name for name in self._bucket.folders(_SITES) if self._is_site(name))

    def listing(self, site: str) -> Listing:
        """A site's content, found with one listing.

        Its description is read only if the listing shows another version than last time.

        Raises:
            aws.s3.StoreUnavailableError: the store gave no useful answer.
        """
        description, surveys = None, list[SurveyRef]()
        described_at = site_description_key(site)
        for found in self._bucket.current(f"{_SITES}{names.check_site(site)}/"):
            if found.key == described_at:
                description = self._digest_of(found)
            elif found.key.startswith(names.surveys_prefix(site)) and self._is_survey(found.key):
                surveys.append(self._reference(found))
        return Listing(tuple(surveys), description)

    def _digest_of(self, found: ListedObject) -> str | None:
        identity = (found.version_id, found.etag)
        known = self._descriptions.get(found.key)
        if known is None or known.identity != identity:
            try:
                body = self._bucket.get(found.key, found.version_id).body
            except ObjectMissingError:  # deleted since it was listed
                return None
            known = _Description(identity, hashlib.sha256(body).hexdigest())
            self._descriptions[found.key] = known
        return known.digest

    def _is_site(self, name: str) -> bool:
        try:
            names.check_site(name)
        except names.InvalidNameError as error:
            self._ignore(f"{_SITES}{name}/", error)
            return False
        return True

    def _is_survey(self, key: str) -> bool:
        try:
            names.parse_survey_key(key)
        except names.InvalidNameError as error:
            self._ignore(key, error)
            return False
        return True

    def _ignore(self, key: str, error: names.InvalidNameError) -> None:
        if key not in self._ignored and len(self._ignored) < _MOST_REMEMBERED:
            self._ignored.add(key)
            self._log.info("passed over", key=key, reason=str(error))

    def _reference(self, found: ListedObject) -> SurveyRef:
        return SurveyRef(
            bucket=self._bucket.name,
            key=found.key,
            version_id=found.version_id,
            etag=found.etag,
            size=found.size,
            uploaded_at=found.modified,
        )
