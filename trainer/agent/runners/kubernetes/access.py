"""Access to a cluster: from within it, or with a kubeconfig.

A token may be rotated while the client still sends the old one; logging in again reads the new one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.config import incluster_config, kube_config
from kubernetes.config.config_exception import ConfigException

from trainer.agent.errors import ConfigurationError

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_HELP = (
    "run the agent in a pod with a service-account token, or set KUBECONFIG to a file that works "
    "with kubectl"
)


@dataclass(frozen=True, slots=True)
class Access:
    """A client that is logged in to a cluster, and its namespace."""

    client: ApiClient
    namespace: str
    log_in: Callable[[], None]
    """Reads the credentials again."""


def find_access(environment: Mapping[str, str], namespace: str | None = None) -> Access:
    """Find the cluster that the agent runs in, or else the kubeconfig's.

    Args:
        environment: the process's environment variables.
        namespace: the Jobs' namespace; None for the pod's own or the kubeconfig's.

    Raises:
        ConfigurationError: there is neither, or it can't be used.
    """
    configuration = Configuration()
    # `api` retries: urllib3 would do so without a pause and without a log line.
    configuration.retries = False
    # The client itself reads the variable only once, when it is imported.
    file = environment.get("KUBECONFIG")
    inside = "KUBERNETES_SERVICE_HOST" in environment and file is None

    def log_in() -> None:
        if inside:
            incluster_config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        else:
            kube_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=file, client_configuration=configuration
            )

    try:
        log_in()
        found = namespace or (_pods_namespace() if inside else _contexts_namespace(file))
    except (ConfigException, OSError) as error:
        raise ConfigurationError(f"there is no way into a cluster ({error}): {_HELP}") from error
    return Access(ApiClient(configuration), found, log_in)


def _pods_namespace() -> str:
    return _NAMESPACE_FILE.read_text().strip()


def _contexts_namespace(file: str | None) -> str:
    _, context = kube_config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
    return str(context["context"].get("namespace") or "default")
