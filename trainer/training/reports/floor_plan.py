"""The picture of a site's floor, which ``site.json`` names and the model card carries.

It is an untrusted file and leaves the building inside the card. Its kind is therefore recognized by
content, its size is bounded, and it is drawn as an image, where no script runs and nothing is
loaded. A picture that can't be used costs the drawing, never the training.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from trainer.training.reading.site_description import FloorPlan, SiteDescription

MOST_BYTES = 2 * 1024 * 1024
"""The card is opened in a browser and kept with every release."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_HEAD = 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """A floor's picture and where it belongs on the floor."""

    place: FloorPlan
    media_type: str
    content: bytes

    @property
    def data_uri(self) -> str:
        """The picture as a URI that needs no file."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True, slots=True)
class NoPicture:
    """A site names a picture that can't be drawn."""

    reason: str


def parse_picture(place: FloorPlan, content: bytes) -> Picture | NoPicture:
    """The picture in a file's content, or why a card can't carry it."""
    if len(content) > MOST_BYTES:
        return NoPicture(
            f"{place.image} has {len(content) / 2**20:.1f} MiB, and a card carries "
            f"{MOST_BYTES / 2**20:g} MiB at most."
        )
    media_type = _media_type(content)
    if media_type is None:
        return NoPicture(f"{place.image} is neither a PNG, a JPEG nor an SVG.")
    return Picture(place, media_type, content)


def read_picture(site: SiteDescription, folder: Path) -> Picture | NoPicture | None:
    """The picture that a site names, beside its description in a folder; None if it names none."""
    if site.floor_plan is None:
        return None
    try:
        with (folder / site.floor_plan.image).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        return NoPicture(f"{site.floor_plan.image} can't be read: {error.strerror}.")
    return parse_picture(site.floor_plan, content)


def _media_type(content: bytes) -> str | None:
    if content.startswith(_PNG):
        return "image/png"
    if content.startswith(_JPEG):
        return "image/jpeg"
    return "image/svg+xml" if b"<svg" in content[:_HEAD] else None
