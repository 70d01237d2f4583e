"""Commands of people's decisions: approve, reject, resume."""

from typing import Annotated

import typer

from ops.cli.options import AsJson, SiteName
from ops.cli.output import out, print_json
from ops.cli.stack import open_stack

app = typer.Typer(rich_markup_mode="markdown")
PANEL = "Releases"
HeldRelease = Annotated[str, typer.Argument(help="A held release; `rssi status` names it.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@app.command(rich_help_panel=PANEL)
def approve(site: SiteName, release: HeldRelease, reason: Reason, as_json: AsJson = False) -> None:
    """Let a held release go live; it is judged once more, and the record says who decided."""
    from ops.account.decisions import approve as decide

    stack_client = open_stack(site)
    record = decide(stack_client, site, release, reason)
    if as_json:
        print_json(record)
        return
    paused = stack_client.ledger.state(site).paused is not None
    what_follows = (
        f"the site is paused, so it waits for `rssi resume --site {site}`"
        if paused
        else f"it is being deployed; `rssi status --site {site}` shows it"
    )
    out.print(f"approved: {release}; {what_follows}", highlight=False)
    if record.judgement is not None:
        out.print(f"  the gate now says: {record.judgement.reason}", style="dim", highlight=False)


@app.command(rich_help_panel=PANEL)
def reject(site: SiteName, release: HeldRelease, reason: Reason, as_json: AsJson = False) -> None:
    """Decide that a held release never goes live."""
    from ops.account.decisions import reject as decide

    record = decide(open_stack(site), site, release, reason)
    if as_json:
        print_json(record)
        return
    out.print(
        f"rejected: {release} never goes live. If a survey is to blame, `rssi withdraw --site "
        f"{site} SURVEY` keeps the next release from learning from it.",
        highlight=False,
    )


@app.command(rich_help_panel=PANEL)
def resume(
    site: SiteName,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """End the pause that a rollback by hand began; what waits is deployed now."""
    from ops.account.decisions import resume as end_pause

    release = end_pause(open_stack(site), site, reason)
    if as_json:
        print_json({"site": site, "release": release})
    else:
        out.print(
            f"resumed: {site}; {f'{release} is being deployed' if release else 'nothing waits'}",
            highlight=False,
        )
