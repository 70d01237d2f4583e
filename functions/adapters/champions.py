"""``champion.json`` in the artifact bucket: what is live, for readers without the ledger.

Two steps may write at once. Each write is conditional on what was read before it, so the slower one
fails and has to read again.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from aws.s3 import Bucket, ObjectMissingError
from events.manifests import Champion
from events.names import champion_key


@dataclass(frozen=True)
class StoredPointer:
    """The content of a site's key: no champion if there is no object, or no valid one."""

    champion: Champion | None
    etag: str | None
    """None if there is no object."""


class Champions:
    """Reads and conditional writes of the sites' pointers.

    Every method may raise `aws.s3.StoreUnavailableError`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, site: str) -> StoredPointer:
        """A site's pointer as it is stored."""
        try:
            found = self._bucket.get(champion_key(site))
        except ObjectMissingError:
            return StoredPointer(None, None)
        try:
            champion = Champion.model_validate_json(found.body)
        except ValidationError:  # overwritten by hand: the next write replaces it
            champion = None
        return StoredPointer(champion, found.etag)

    def write(self, champion: Champion, replacing: StoredPointer) -> bool:
        """Replace the pointer that was read; False if it has changed in the meantime."""
        key = champion_key(champion.site)
        return self._bucket.replace(key, champion.model_dump_json().encode(), replacing.etag)
