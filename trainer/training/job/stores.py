"""The buckets of a training process; the surveys' store may be another one than AWS's S3."""

from collections.abc import Callable

from aws.clients import Clients, DataStore
from aws.s3 import Bucket
from trainer.training.settings import ProcessSettings


def open_stores(settings: ProcessSettings) -> tuple[Callable[[str], Bucket], Bucket]:
    """A function that opens surveys' buckets by name, and the bucket of artifacts."""
    clients = Clients()
    store = DataStore(settings.data_endpoint_url, settings.data_profile, settings.data_ca_bundle)
    artifacts = clients.client("s3")
    surveys = clients.data_client(store) if store.is_separate else artifacts
    return lambda name: Bucket(surveys, name), Bucket(artifacts, settings.artifact_bucket)
