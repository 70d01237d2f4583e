"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

SiteName = Annotated[str, typer.Option("--site", help="Name of the site, such as library-1f.")]
OnlySite = Annotated[str | None, typer.Option("--site", help="Only this site.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Wait = Annotated[bool, typer.Option(help="Wait for the end, and fail unless it is a good one.")]
Timeout = Annotated[float, typer.Option(help="Longest wait, in seconds.", min=1)]
CellSize = Annotated[
    float | None, typer.Option(help="Metres between cells that are named like O02.", min=0.01)
]
SiteFile = Annotated[
    Path | None, typer.Option(help="site.json: grid, positions, thresholds, floor plan.")
]
SettingsFile = Annotated[Path | None, typer.Option(help="JSON of the recipe's hyperparameters.")]
LabelledData = Annotated[
    list[Path], typer.Option(help="CSV of labelled fingerprints; may be repeated.")
]
Port = Annotated[
    int, typer.Option(help="Port on this machine; 0 takes a free one.", min=0, max=65535)
]
RunnerName = Annotated[
    str | None, typer.Option("--runner", help="Where training runs: process or kubernetes.")
]
PodTemplate = Annotated[
    Path | None, typer.Option(help="YAML that describes the training pods, for kubernetes.")
]
Namespace = Annotated[str | None, typer.Option(help="Namespace of the Jobs.")]
