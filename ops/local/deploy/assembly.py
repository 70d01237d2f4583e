"""A CDK cloud assembly (``cdk.out``) on disk: its stacks, in order, and their assets."""

import io
import json
import zipfile
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ops.local.errors import AssemblyError
from ops.local.gateway.protocol import JsonObject

_STACK = "aws:cloudformation:stack"
_ASSETS = "cdk:asset-manifest"


class _AssemblyDocument(BaseModel):
    """Base of the CDK's documents; members that are not needed here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class _ArtifactProperties(_AssemblyDocument):
    template_file: str = ""
    stack_name: str | None = None
    file: str = ""


class _AssemblyArtifact(_AssemblyDocument):
    type: str
    properties: _ArtifactProperties = _ArtifactProperties()
    dependencies: tuple[str, ...] = ()


class _AssemblyManifest(_AssemblyDocument):
    artifacts: dict[str, _AssemblyArtifact]


class _AssetSource(_AssemblyDocument):
    path: str
    packaging: str = "file"


class _AssetDestination(_AssemblyDocument):
    object_key: str


class _AssetEntry(_AssemblyDocument):
    source: _AssetSource
    destinations: dict[str, _AssetDestination]


class _AssetManifest(_AssemblyDocument):
    files: dict[str, _AssetEntry] = Field(default_factory=dict)


DocumentT = TypeVar("DocumentT", bound=_AssemblyDocument)


@dataclass(frozen=True, slots=True)
class FileAsset:
    """A file or archive that templates expect in the asset bucket.

    Attributes:
        key: its object key.
        path: the staged file or directory.
        zipped: whether a directory is uploaded as a zip archive.
    """

    key: str
    path: Path
    zipped: bool

    def content(self) -> bytes:
        """The bytes to upload; zip archives are not compressed, for speed."""
        if not self.zipped or self.path.is_file():
            return self.path.read_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:
            for file in sorted(self.path.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(self.path))
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class SynthesizedStack:
    """One stack: its name, its template and its assets."""

    name: str
    template: JsonObject
    assets: tuple[FileAsset, ...]


def read_assembly(directory: Path) -> list[SynthesizedStack]:
    """The stacks of an assembly, each after those that it depends on.

    Raises:
        AssemblyError: there is no assembly, or a file of it is missing or malformed.
    """
    artifacts = _document(directory / "manifest.json", _AssemblyManifest).artifacts
    needs = {
        name: [other for other in artifact.dependencies if other in artifacts]
        for name, artifact in artifacts.items()
    }
    try:
        ordered = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise AssemblyError(f"The stacks of {directory} depend on each other: {error}") from error
    return [
        _stack(directory, name, artifacts) for name in ordered if artifacts[name].type == _STACK
    ]


def _stack(directory: Path, name: str, artifacts: dict[str, _AssemblyArtifact]) -> SynthesizedStack:
    artifact = artifacts[name]
    manifests = [
        artifacts[other].properties.file
        for other in artifact.dependencies
        if other in artifacts and artifacts[other].type == _ASSETS
    ]
    return SynthesizedStack(
        artifact.properties.stack_name or name,
        _template(directory / artifact.properties.template_file),
        tuple(asset for manifest in manifests for asset in _assets(directory, manifest)),
    )


def _assets(directory: Path, manifest: str) -> list[FileAsset]:
    return [
        FileAsset(
            destination.object_key,
            directory / file.source.path,
            zipped=file.source.packaging == "zip",
        )
        for file in _document(directory / manifest, _AssetManifest).files.values()
        for destination in file.destinations.values()
    ]


def _document(path: Path, model: type[DocumentT]) -> DocumentT:
    try:
        return model.model_validate_json(_read(path))
    except ValidationError as error:
        raise AssemblyError(f"{path} is not a document of the CDK: {error}") from error


def _template(path: Path) -> JsonObject:
    try:
        content = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise AssemblyError(f"{path} is not JSON: {error}. Synthesize again.") from error
    if not isinstance(content, dict):
        raise AssemblyError(f"{path} is not a JSON object. Synthesize again.")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AssemblyError(
            f"{path} can't be read: {error}. Synthesize first, and name the directory with the "
            "assembly."
        ) from error
