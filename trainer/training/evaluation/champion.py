"""Reads the live release of a site: the pointer, the manifest, the bundle and how it was measured.

All of it lies in a bucket that others write. A champion that can't be read never stops a training:
nothing is compared then, and the reason is recorded.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from aws.s3 import Bucket, ObjectMissingError, StoreError
from events import names
from events.manifests import Artifact, Release
from events.manifests import Champion as Pointer
from events.metrics_document import HeldOutRows
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.errors import BadBundle


class _MetricsFile(BaseModel):
    """The part of a release's ``metrics.json`` that is read again."""

    held_out: HeldOutRows | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ChampionModel:
    """The release that is live while a candidate is trained."""

    release: Release
    model: LoadedModel
    held_out: HeldOutRows | None = None
    """None where its training did not record it."""


@dataclass(frozen=True, slots=True)
class NoChampion:
    """There is no release to compare with."""

    reason: str
    """A sentence for the log and the card."""


CHAMPION_UNKNOWN = NoChampion("The live release is not known, as usual outside the cloud.")


class _Unreadable(Exception):  # noqa: N818 - named for what was found; it does not leave this file
    """Why there is no champion to compare with."""


def read_champion(artifacts: Bucket, site: str, folder: Path) -> ChampionModel | NoChampion:
    """Read the live release of a site, or find out why it can't be read.

    Args:
        artifacts: the bucket of the releases.
        site: its name.
        folder: an existing folder to unpack the bundle in.
    """
    try:
        pointer = _pointer(artifacts, site)
        release = _release(artifacts, pointer)
        return ChampionModel(
            release, _model(artifacts, release, folder), _held_out(artifacts, release)
        )
    except _Unreadable as error:
        return NoChampion(str(error))
    except (StoreError, OSError) as error:
        return NoChampion(f"The live release could not be read: {error}.")


def _pointer(artifacts: Bucket, site: str) -> Pointer:
    try:
        pointer = Pointer.model_validate_json(artifacts.get(names.champion_key(site)).body)
    except ObjectMissingError as error:
        raise _Unreadable("Nothing is live at this site yet.") from error
    except ValidationError as error:
        raise _Unreadable("The pointer to the live release can't be understood.") from error
    if pointer.site != site:
        raise _Unreadable(f"The pointer to the live release belongs to {pointer.site}.")
    return pointer


def _release(artifacts: Bucket, pointer: Pointer) -> Release:
    try:
        body = artifacts.get(names.release_key(pointer.release)).body
        release = Release.model_validate_json(body)
    except ObjectMissingError as error:
        raise _Unreadable(f"The manifest of {pointer.release}, which is live, is gone.") from error
    except (ValidationError, names.InvalidNameError) as error:
        raise _Unreadable(f"The manifest of {pointer.release} can't be understood.") from error
    if (release.run_id, release.digest) != (pointer.release, pointer.digest):
        raise _Unreadable(f"The manifest of {pointer.release} is not the one that went live.")
    return release


def _model(artifacts: Bucket, release: Release, folder: Path) -> LoadedModel:
    path = folder / "champion.tar.gz"
    try:
        path.write_bytes(_content(artifacts, release.model))
        model = load_bundle(path)
    except BadBundle as error:
        raise _Unreadable(f"The bundle of {release.run_id} can't be opened: {error}") from error
    if model.digest != release.digest:
        raise _Unreadable(f"The bundle of {release.run_id} is not the one that its manifest names.")
    return model


def _held_out(artifacts: Bucket, release: Release) -> HeldOutRows | None:
    try:
        return _MetricsFile.model_validate_json(_content(artifacts, release.metrics_file)).held_out
    except ValidationError:  # written by another version: its other figures still stand
        return None


def _content(artifacts: Bucket, artifact: Artifact) -> bytes:
    try:
        body = artifacts.get(artifact.key).body
    except ObjectMissingError as error:
        raise _Unreadable(f"{artifact.key} is gone.") from error
    if hashlib.sha256(body).hexdigest() != artifact.sha256:
        raise _Unreadable(f"{artifact.key} is not the file that its release names.")
    return body
