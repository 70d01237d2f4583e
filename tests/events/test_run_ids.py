"""Run ids name what exists in buckets and ledgers already, so they must never change."""

import json

import pytest

from events.manifests import Release, RunSpec
from tests.functions.conftest import make_release

SNAPSHOT = "0123456789abcdef" * 4
RECIPE = {"epochs": 20, "hidden": (128, 128), "rate": 3e-3, "flag": True, "name": "adam"}


@pytest.mark.parametrize(
    ("hyperparameters", "site_sha256", "run_id"),
    [
        ({}, None, "library-1f-2bf2b363c4e8"),
        ({"seed": 7}, None, "library-1f-694e0cee190c"),
        (RECIPE, None, "library-1f-06338771d3a6"),
        ({"seed": 7}, "f" * 64, "library-1f-12a5cc2d865c"),
        ({}, "a" * 64, "library-1f-40cef5d56c1e"),
    ],
)
def test_a_run_keeps_its_id(hyperparameters, site_sha256, run_id):
    spec = RunSpec(
        site="library-1f",
        snapshot=SNAPSHOT,
        trainer_version="4",
        hyperparameters=hyperparameters,
        site_sha256=site_sha256,
    )

    assert spec.run_id == run_id
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_description_of_the_site_is_stored_as_the_last_hyperparameter():
    stored = {"seed": 7, "site_sha256": "f" * 64}
    old = make_release(1).model_dump(mode="json") | {"hyperparameters": stored}

    release = Release.model_validate_json(json.dumps(old))

    assert release.hyperparameters == {"seed": 7}
    assert release.site_sha256 == "f" * 64
    assert json.loads(release.model_dump_json()) == old
    assert list(release.model_dump()["hyperparameters"]) == ["seed", "site_sha256"]
