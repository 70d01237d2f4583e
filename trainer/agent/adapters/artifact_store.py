"""The artifact bucket: sealed snapshots, the quarantine, releases.

What lies here is immutable; whatever is written is written once, by whoever comes first.
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
    """What the agent reads and writes of the artifacts.

    Every method may raise `aws.s3.StoreUnavailableError`, and those that read a document
    `trainer.agent.errors.DocumentError`.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Work on ``bucket``."""
        self._bucket = bucket

    def seal(self, snapshot: Snapshot) -> None:
        """Write a snapshot; its name is its content, so one that is there is the same."""
        key = names.snapshot_key(snapshot.site, snapshot.digest)
        self._bucket.put_once(key, snapshot.model_dump_json(by_alias=True).encode())

    def quarantined(self, site: str) -> frozenset[str]:
        """Ids of the surveys of a site that are set aside."""
        prefix = names.quarantine_prefix(site)
        return frozenset(
            found.key.removeprefix(prefix).removesuffix(".json")
            for found in self._bucket.objects(prefix)
        )

    def quarantine(self, site: str, survey_id: str) -> Quarantine | None:
        """Why a survey is set aside; None if it is not."""
        return self._read(names.quarantine_key(site, survey_id), Quarantine)

    def set_aside(self, quarantine: Quarantine) -> bool:
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
