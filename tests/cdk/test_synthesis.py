"""How the assembly comes about: the same bytes each time, from nothing but the repository."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdk.layer import BUILT, is_built

ROOT = Path(__file__).parents[2]

Synthesize = Callable[..., subprocess.CompletedProcess[str]]


def test_two_syntheses_write_the_same_bytes(
    assembly: Path, synthesize: Synthesize, tmp_path: Path
) -> None:
    again = tmp_path / "cdk.out"
    result = synthesize(again, hash_seed=1)
    assert result.returncode == 0, result.stderr
    assert content(again) == content(assembly)


def test_synthesis_says_nothing_of_this_machine(assembly: Path) -> None:
    written = "".join(path.read_text() for path in assembly.glob("*.json"))
    assert str(ROOT) not in written
    assert str(assembly) not in written


def test_the_functions_get_our_python_files_and_nothing_else(assembly: Path) -> None:
    expected = {
        path.relative_to(ROOT)
        for package in ("functions", "aws", "events")
        for path in (ROOT / package).rglob("*.py")
    }
    sources = asset_of(assembly, "AWS::Lambda::Function", "Code")
    staged = {path.relative_to(sources) for path in sources.rglob("*") if path.is_file()}
    assert staged == expected


def test_all_functions_share_one_asset(assembly: Path) -> None:
    codes = [
        properties["Code"]["S3Key"] for properties in all_of(assembly, "AWS::Lambda::Function")
    ]
    assert len(codes) == 7
    assert len(set(codes)) == 1


def test_a_deployment_is_refused_until_the_layer_is_built(assembly: Path) -> None:
    refused = "make layer" in "".join(errors(assembly))
    assert refused is not is_built(BUILT)


def test_a_built_layer_takes_the_place_of_the_placeholder_that_was_staged_before(
    production: Path,
) -> None:
    layer = asset_of(production, "AWS::Lambda::LayerVersion", "Content")
    assert (layer / "python" / "dependency.py").is_file()
    assert not (layer / "README").exists()
    assert errors(production) == []


def test_the_layer_has_the_same_name_whether_it_is_built_or_not(
    assembly: Path, production: Path
) -> None:
    names = {
        asset_of(outdir, "AWS::Lambda::LayerVersion", "Content").name
        for outdir in (assembly, production)
    }
    assert len(names) == 1


def test_nag_finds_nothing_that_is_not_acknowledged_with_a_reason(production: Path) -> None:
    report = nag_report(production)
    assert report["conclusion"] == "success"
    assert report["violations"] == []
    assert all(len(finding["reason"]) > 20 for finding in report["suppressedViolations"])


def test_every_acknowledgment_answers_a_finding(production: Path) -> None:
    answered = {
        (f"/{finding['acknowledgedAt']}", finding["acknowledgedId"])
        for finding in nag_report(production)["suppressedViolations"]
    }
    acknowledged = {
        (path, rule)
        for path, entries in metadata(production).items()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for rule in entry["data"]
    }
    assert acknowledged
    assert acknowledged == answered


def test_a_wrong_setting_is_named_and_nothing_is_written(
    synthesize: Synthesize, tmp_path: Path
) -> None:
    outdir = tmp_path / "cdk.out"
    result = synthesize(outdir, context={"rssi-mlops:instance_count": 0})
    assert result.returncode == 1
    assert "instance_count" in result.stderr
    assert "Traceback" not in result.stderr
    assert not outdir.exists()


def content(outdir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(outdir)): path.read_bytes()
        for path in outdir.rglob("*")
        if path.is_file()
    }


def all_of(outdir: Path, kind: str) -> list[dict[str, Any]]:
    (template,) = outdir.glob("*.template.json")
    resources = json.loads(template.read_text())["Resources"].values()
    return [resource["Properties"] for resource in resources if resource["Type"] == kind]


def asset_of(outdir: Path, kind: str, key: str) -> Path:
    """The staged folder that becomes the zip which the resources of this kind name."""
    digest = all_of(outdir, kind)[0][key]["S3Key"].removesuffix(".zip")
    (assets,) = outdir.glob("*.assets.json")
    return outdir / str(json.loads(assets.read_text())["files"][digest]["source"]["path"])


def metadata(outdir: Path) -> dict[str, list[dict[str, Any]]]:
    (file,) = outdir.glob("*.metadata.json")
    parsed: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())
    return parsed


def errors(outdir: Path) -> list[str]:
    return [
        entry["data"]
        for entries in metadata(outdir).values()
        for entry in entries
        if entry["type"] == "aws:cdk:error"
    ]


def nag_report(outdir: Path) -> dict[str, Any]:
    (report,) = json.loads((outdir / "validation-report.json").read_text())["pluginReports"]
    assert report["pluginName"] == "AwsSolutions"
    return dict(report)
