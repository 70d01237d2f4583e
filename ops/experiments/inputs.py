"""Files that an experiment starts from, and the trainer's errors as those of a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ops.errors import OpsError, UsageError
from trainer.localization.errors import LocalizationError
from trainer.training.errors import TrainingError
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import (
    InvalidSiteError,
    SiteDescription,
    parse_site,
)

Document = TypeVar("Document", bound=BaseModel)


def read_site(file: Path | None, cell_size: float | None = None) -> SiteDescription:
    """The site that a ``site.json`` describes, or a plain one.

    Raises:
        UsageError: the file does not describe a site.
    """
    if file is None:
        return SiteDescription() if cell_size is None else SiteDescription(cell_size_m=cell_size)
    try:
        site = parse_site(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error
    except InvalidSiteError as error:
        raise UsageError(f"{file} can't be used: {error}") from error
    return site if cell_size is None else site.model_copy(update={"cell_size_m": cell_size})


def read_settings(file: Path | None) -> Hyperparameters | None:
    """Hyperparameters from a file, None without one.

    Raises:
        UsageError: the file holds something else.
    """
    return None if file is None else _read(file, Hyperparameters)


def check_exists(model: Path) -> None:
    """Check that a bundle is there.

    Raises:
        UsageError: it is not.
    """
    if not model.exists():
        raise UsageError(f"{model} is not there: name a model.tar.gz, or the folder it unpacks to.")


@contextmanager
def trainer_errors() -> Iterator[None]:
    """Raise the trainer's errors and those of files as :class:`OpsError`."""
    try:
        yield
    except (TrainingError, LocalizationError) as error:
        raise OpsError(f"{error}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UsageError(f"{where}{error.strerror or error}.") from error


def _read(file: Path, kind: type[Document]) -> Document:
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        raise UsageError(f"{file} can't be used: {error}") from error
