"""From the settings to the files in cdk.out/: the templates, the assets, and their manifest.

The same sources give the same bytes: no look-ups, no account, no time stamps, no stack traces.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from aws_cdk import App

from cdk import ROOT
from cdk.nag import check_when_synthesized
from cdk.settings import StageSettings
from cdk.stack import RssiMlops

NAG_KEY = "nag"
_OUTDIR = "CDK_OUTDIR"  # set by the CDK's command line


def synthesize(settings: StageSettings, context: Mapping[str, object]) -> None:
    """Write the stage's assembly to `CDK_OUTDIR`, or to cdk.out/ in the repository.

    Args:
        settings: The stage's settings.
        context: The CDK's context; with `-c nag=true`, cdk-nag checks the assembly, and a finding
            that is not acknowledged is an error.
    """
    outdir = Path(os.environ.get(_OUTDIR, ROOT / "cdk.out"))
    _remove_staged_assets(outdir)
    app = App(
        outdir=str(outdir),
        context={**context, "aws:cdk:disable-creation-stack-traces": True},
        analytics_reporting=False,
        performance_reporting=False,
        tree_metadata=False,
        stack_traces=False,
        # Doubles the time (6 s for 3 s); the tests check with cdk-nag, a deployment with AWS.
        builtin_cloud_formation_validation=False,
    )
    RssiMlops(app, settings=settings)
    if context.get(NAG_KEY) in (True, "true"):
        check_when_synthesized(app)
    app.synth()


def _remove_staged_assets(outdir: Path) -> None:
    # The CDK reuses an asset of the same name: the placeholder that was staged before `make layer`
    # would be deployed instead of the layer.
    for staged in outdir.glob("asset.*"):
        if staged.is_dir():
            shutil.rmtree(staged)
        else:
            staged.unlink()
