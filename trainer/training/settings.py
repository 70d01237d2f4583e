"""Settings of a training process, from environment variables.

The agent imports this module to describe a Job, so it must not import MXNet or Polars.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from events.manifests import RunSpec, Text
from events.names import RunId, Site, check_site

TRAINER_VERSION = "5"
"""Part of every run's id: raise it to train the same data again with changed code."""

KUBERNETES_TERMINATION_LOG = Path("/dev/termination-log")

_PREFIX = "RSSI_"


def site_description_key(site: str) -> str:
    """Key of a site's description in the data bucket."""
    return site_file_key(site, "site.json")


def site_file_key(site: str, name: str) -> str:
    """Key, in the data bucket, of a file that belongs to a site's description."""
    return f"sites/{check_site(site)}/{name}"


class ProcessSettings(BaseSettings):
    """Settings of any process that works on surveys; the variables start with ``RSSI_``."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    artifact_bucket: Text
    termination_log: Path | None = None
    data_endpoint_url: str | None = None
    data_profile: str | None = None
    data_ca_bundle: str | None = None
    """Path of the certificates that authenticate the store of the surveys."""

    @property
    def note_path(self) -> Path | None:
        """Where to write the outcome; None if it is not to be written."""
        if self.termination_log is not None:
            return self.termination_log
        return KUBERNETES_TERMINATION_LOG if KUBERNETES_TERMINATION_LOG.exists() else None


class JobSettings(ProcessSettings):
    """Settings of one run."""

    site: Site
    run_id: RunId
    run_spec: RunSpec
    snapshot: Text
    """Key of the sealed snapshot, in the artifact bucket."""
    attempt: Text = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=253)
    """Unique per attempt, such as the pod's name; part of object keys."""
    image: Text
    """Reference of the container image, or ``process``."""
    correlation_id: Text | None = None
    """Correlates the run's log with its cause."""

    @model_validator(mode="after")
    def _check_run_spec(self) -> Self:
        if self.run_spec.run_id != self.run_id:
            raise ValueError(
                f"RSSI_RUN_ID is {self.run_id} but RSSI_RUN_SPEC describes {self.run_spec.run_id}"
            )
        if self.run_spec.site != self.site:
            raise ValueError(
                f"RSSI_SITE is {self.site} but RSSI_RUN_SPEC describes {self.run_spec.site}"
            )
        return self

    def environment(self) -> dict[str, str]:
        """These settings as environment variables."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"{_PREFIX}{name.upper()}": value.model_dump_json()
            if isinstance(value, RunSpec)
            else str(value)
            for name, value in values.items()
            if value is not None
        }
