"""The artifact bucket, as the agent uses it: snapshots, the quarantine, releases.

Objects here are immutable: each key is written once, by the first writer.
"""

from typing import TypeVar

from pydantic import ValidationError

from aws.s3 import Bucket, ObjectMissingError
from events import names
from events.base import Contract
from events.manifests import Quarantine, Release, Snapshot
from trainer.agent.errors import DocumentError

Document = TypeVar("Document", bound=Contract)


class ArtifactStore:
    """Reads and writes artifacts.

    Every method may raise `aws.s3.StoreUnavailableError`, and those that read a document
    `trainer.agent.errors.DocumentError`.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Work on ``bucket``."""
        self._bucket = bucket

    def seal(self, snapshot: Snapshot) -> None:
        """Write a snapshot; its name is its content's digest, so an existing one is the same."""
        key = names.snapshot_key(snapshot.site, snapshot.digest)
        self._bucket.put_once(key, snapshot.model_dump_json(by_alias=True).encode())

    def quarantined(self, site: str) -> frozenset[str]:
        """Ids of a site's surveys that are in quarantine."""
        prefix = names.quarantine_prefix(site)
        return frozenset(
            found.key.removeprefix(prefix).removesuffix(".json")
            for found in self._bucket.objects(prefix)
        )

    def quarantine(self, site: str, survey_id: str) -> Quarantine | None:
        """Why a survey is in quarantine; None if it is not."""
        return self._read(names.quarantine_key(site, survey_id), Quarantine)

    def put_in_quarantine(self, quarantine: Quarantine) -> bool:
        """Put a survey into quarantine; False if it was there already."""
        key = names.quarantine_key(quarantine.site, quarantine.survey.id)
        return self._bucket.put_once(key, quarantine.model_dump_json(by_alias=True).encode())

    def is_released(self, run_id: str) -> bool:
        """Whether a run has a release."""
        return self._bucket.exists(names.release_key(run_id))

    def release(self, run_id: str) -> Release | None:
        """A run's release; None without one."""
        return self._read(names.release_key(run_id), Release)

    def _read(self, key: str, kind: type[Document]) -> Document | None:
        try:
            return kind.model_validate_json(self._bucket.get(key).body)
        except ObjectMissingError:
            return None
        except ValidationError as error:
            raise DocumentError(
                f"{key} in {self._bucket.name} can't be read, move it away or restore it: {error}"
            ) from error
