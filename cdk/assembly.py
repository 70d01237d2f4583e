"""From the settings to the files in cdk.out/: the templates, the assets, and their manifest.

The same sources give the same bytes: no look-ups, no account, no time stamps, no stack traces.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from aws_cdk import App

from cdk import ROOT
from cdk.nag import check_when_synthesized
from cdk.settings import settings_from_context
from cdk.stack import RssiMlops

NAG_KEY = "nag"
_OUTDIR = "CDK_OUTDIR"  # set by the CDK's command line


def synthesize() -> None:
    """Write the assembly of the stage that the context asks for.

    The context is cdk.json's and, over it, what the CDK's command line hands over in
    `CDK_CONTEXT_JSON`. The assembly goes to `CDK_OUTDIR`, or to cdk.out/ in the repository.
    With `-c nag=true`, cdk-nag checks it and an unanswered finding is an error.

    Raises:
        SettingsError: If a setting is missing, unknown or out of bounds.
    """
    outdir = Path(os.environ.get(_OUTDIR, ROOT / "cdk.out"))
    settings = settings_from_context(_context())
    _forget_staged_assets(outdir)
    app = App(
        outdir=str(outdir),
        context=dict(_context_of_file()),
        analytics_reporting=False,
        performance_reporting=False,
        tree_metadata=False,
        stack_traces=False,
        # Takes longer than all the rest; the tests check with cdk-nag, the deployment with AWS.
        builtin_cloud_formation_validation=False,
    )
    RssiMlops(app, settings=settings)
    if app.node.try_get_context(NAG_KEY):
        check_when_synthesized(app)
    app.synth()


def _context_of_file() -> Mapping[str, object]:
    return json.loads((ROOT / "cdk.json").read_text())["context"]


def _context() -> Mapping[str, object]:
    return {**_context_of_file(), **json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}"))}


def _forget_staged_assets(outdir: Path) -> None:
    # The CDK takes an asset that is there under its name for the same: the placeholder that was
    # staged before `make layer` would be deployed in the layer's stead.
    for staged in outdir.glob("asset.*"):
        if staged.is_dir():
            shutil.rmtree(staged)
        else:
            staged.unlink()
