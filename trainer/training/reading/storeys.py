"""Buildings and floors: a place is (building, floor, x, y), so that equal plans are never merged.

Points are labelled with their building and floor in front: ``floor=2,x=1.5,y=3.0``. The label of
a location stays as it is, unless one label names places on several floors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.localization.readings import MISSING_WORDS, number_in
from trainer.training.reading.formats.port import CategoricalColumn

Codes = npt.NDArray[np.int32]


class Storey(NamedTuple):
    """A floor of a building; what is not known is blank."""

    building: str = ""
    floor: str = ""

    @property
    def prefix(self) -> str:
        """What a label begins with to tell it from the same one on another floor."""
        parts = zip(self._fields, self, strict=True)
        return "".join(f"{name}={part}," for name, part in parts if part)


NOWHERE = Storey()


@dataclass(frozen=True, slots=True, eq=False)
class StoreyColumn:
    """The building and floor of rows, as codes."""

    categories: tuple[Storey, ...]
    codes: Codes
    """(rows,) the index of each row's storey."""

    @classmethod
    def of(cls, buildings: CategoricalColumn, floors: CategoricalColumn) -> "StoreyColumn":
        """Two columns as one."""
        pairs = np.column_stack([buildings.codes, floors.codes])
        distinct, codes = np.unique(pairs, axis=0, return_inverse=True)
        names = [list(map(_name, column.categories)) for column in (buildings, floors)]
        storeys = [Storey(names[0][one], names[1][other]) for one, other in distinct.tolist()]
        return joined_storeys([cls(tuple(storeys), codes.reshape(-1).astype(np.int32))])

    @classmethod
    def nowhere(cls, rows: int) -> "StoreyColumn":
        """The column of rows of which no floor is known."""
        return cls((NOWHERE,), np.zeros(rows, dtype=np.int32))

    def filter(self, kept: npt.NDArray[np.bool_]) -> "StoreyColumn":
        """The same column with some of its rows."""
        return replace(self, codes=self.codes[kept])


def _name(written: str) -> str:
    """A floor as people write it: 1.0, which an export made of 1, is 1."""
    word = written.strip()
    if word in MISSING_WORDS:
        return ""
    number = number_in(word)
    return f"{number:.0f}" if number is not None and number == round(number) else word


def joined_storeys(columns: Sequence[StoreyColumn]) -> StoreyColumn:
    """The columns of several blocks as one."""
    known: dict[Storey, int] = {}
    codes = []
    for column in columns:
        mapped = [known.setdefault(storey, len(known)) for storey in column.categories]
        codes.append(np.array(mapped, dtype=np.int32)[column.codes])
    return StoreyColumn(tuple(known), np.concatenate(codes))


def with_storeys(
    labels: CategoricalColumn, storeys: StoreyColumn, *, always: bool
) -> CategoricalColumn:
    """Labels that are told apart by floor.

    Args:
        labels: of the rows, blank for a row without one.
        storeys: of the rows.
        always: whether every label gets its floor, not just one that stands for several places.
    """
    pairs = np.column_stack([labels.codes, storeys.codes])
    distinct, codes = np.unique(pairs, axis=0, return_inverse=True)
    places = [(labels.categories[one], storeys.categories[other]) for one, other in distinct]
    ambiguous = _ambiguous(places)
    known: dict[str, int] = {}
    mapped = [
        known.setdefault(
            storey.prefix + label if label and (always or label in ambiguous) else label,
            len(known),
        )
        for label, storey in places
    ]
    return CategoricalColumn(tuple(known), np.array(mapped, dtype=np.int32)[codes.reshape(-1)])


def _ambiguous(places: Sequence[tuple[str, Storey]]) -> set[str]:
    """Labels that stand for places on several floors."""
    seen: dict[str, Storey] = {}
    return {
        label
        for label, storey in places
        if storey != NOWHERE and seen.setdefault(label, storey) != storey
    }


@dataclass(frozen=True, slots=True)
class QualifiedLabels:
    """The labels of all surveys' rows, and what is known of each label."""

    labels: tuple[tuple[str, ...], ...]
    """For each survey the label of each row."""
    storeys: dict[str, Storey]
    """By label."""
    bases: dict[str, str]
    """By label, the label without building and floor, as a site's description may name it."""


def qualify(
    labels: Sequence[Sequence[str]], storeys: Sequence[StoreyColumn | None]
) -> QualifiedLabels:
    """Tell labels apart that stand for places on different floors of different surveys.

    Args:
        labels: for each survey the label of each row.
        storeys: for each survey those of its rows.
    """
    rows = [
        [(label, NOWHERE) for label in own]
        if column is None
        else [
            (label, column.categories[code])
            for label, code in zip(own, column.codes.tolist(), strict=True)
        ]
        for own, column in zip(labels, storeys, strict=True)
    ]
    places = sorted({place for survey in rows for place in survey})
    bases = {(label, storey): label.removeprefix(storey.prefix) for label, storey in places}
    ambiguous = _ambiguous([(bases[place], place[1]) for place in places])
    names = {
        (label, storey): storey.prefix + base if base in ambiguous else label
        for (label, storey), base in bases.items()
    }
    known = {names[place]: place[1] for place in places if place[1] != NOWHERE}
    return QualifiedLabels(
        labels=tuple(tuple(names[place] for place in survey) for survey in rows),
        storeys={name: known.get(name, NOWHERE) for name in names.values()},
        bases={names[place]: base for place, base in bases.items()},
    )
