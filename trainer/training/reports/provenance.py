"""What a release's reports say besides the data: where it comes from, and which champion was live.

The model never depends on any of this. Each value has a form for "unknown", as in a training from
files.
"""

import platform
from dataclasses import dataclass
from importlib import metadata

from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.evaluation.champion import CHAMPION_UNKNOWN, ChampionModel, NoChampion
from trainer.training.fitting.device import device_name
from trainer.training.reports.floor_plan import NoPicture, Picture
from trainer.training.settings import TRAINER_VERSION


@dataclass(frozen=True, slots=True)
class SurveyOrigin:
    """Where one survey comes from."""

    sha256: str
    """SHA-256 of the file's bytes, in hex."""
    version_id: str | None = None
    """The version in the data bucket; None for a file of this machine."""
    id: str | None = None
    """Names this very upload."""
    known_to_champion: bool = False
    """Whether it is in the champion's snapshot."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportContext:
    """All that the reports say besides the data."""

    surveys: tuple[SurveyOrigin, ...] = ()
    """In the order of the surveys; empty where nothing is known of them."""
    snapshot: str | None = None
    """The digest of the sealed list of surveys; None for a training from files."""
    trainer_version: str = TRAINER_VERSION
    image: str = "process"
    champion: ChampionModel | NoChampion = CHAMPION_UNKNOWN
    floor_plan: Picture | NoPicture | None = None
    """None where the site names no picture."""

    @property
    def known_to_champion(self) -> tuple[bool, ...]:
        """For each survey, whether it is in the champion's snapshot."""
        return tuple(origin.known_to_champion for origin in self.surveys)


def package_versions() -> dict[str, str]:
    """The versions of Python and the numerical libraries, MXNet's with the device."""
    mxnet = f"{load_mxnet().__version__} ({device_name()})"
    found = {"python": platform.python_version(), "mxnet": mxnet}
    return found | {name: metadata.version(name) for name in ("numpy", "polars")}
