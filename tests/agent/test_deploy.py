"""The manifests that install the agent: valid, restricted, narrow, and enough for what it does.

Rendered with kubectl's own Kustomize, checked against Kubernetes' published schemas.
"""

import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from botocore.session import Session

from tests.agent.kubernetes_world import IMAGE, KubernetesWorld
from tests.agent.runner_contract import RUN, now
from tests.agent.test_pod_template import FULL, written
from trainer.agent.core.runs import Announced
from trainer.agent.runners.kubernetes.lease import LeaderLease
from trainer.agent.runners.kubernetes.template import read_pod_template
from trainer.agent.settings import AgentSettings

DEPLOY = Path(__file__).resolve().parents[2] / "trainer" / "deploy"
OVERLAYS = ("plain", "eks", "kueue")
KUBERNETES = "1.36"
NOT_KUBERNETES_OWN = {"kueue.x-k8s.io/v1beta1"}


@cache
def rendered(overlay: str) -> tuple[dict, ...]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH, and nothing else here renders Kustomize")
    text = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "overlays" / overlay)],  # noqa: S607 - whichever is installed
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(yaml.safe_load_all(text))


def of_kind(overlay: str, kind: str, name: str = "") -> dict:
    (found,) = (
        document
        for document in rendered(overlay)
        if document["kind"] == kind and name in document["metadata"]["name"]
    )
    return found


def rules(overlay: str = "plain") -> set[tuple[str, str]]:
    """What the role allows: verb and resource."""
    return {
        (verb, resource)
        for rule in of_kind(overlay, "Role")["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }


def violations(pod: dict) -> list[str]:
    """What Pod Security's restricted profile, baseline included, would refuse of a pod.

    By the tables of "Pod Security Standards" in Kubernetes' documentation; a read-only root file
    system is our own.
    """
    context = pod.get("securityContext", {})
    kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}
    kinds |= {"name", "persistentVolumeClaim"}
    found = [f"volume {volume}" for volume in pod.get("volumes", ()) if not set(volume) <= kinds]
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += ["sysctls"] * bool(context.get("sysctls"))
    found += ["a group of root"] * (0 in {context.get("fsGroup"), context.get("runAsUser")})
    places = ("containers", "initContainers", "ephemeralContainers")
    for container in (one for place in places for one in pod.get(place, ())):
        own = {**context, **container.get("securityContext", {})}
        capabilities = own.get("capabilities", {})
        wanted = {
            "runAsNonRoot": own.get("runAsNonRoot") is True and own.get("runAsUser") != 0,
            "seccomp": own.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "privilege escalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities dropped": capabilities.get("drop") == ["ALL"],
            "capabilities added": set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "privileged": not own.get("privileged"),
            "proc mount": own.get("procMount", "Default") == "Default",
            "SELinux": not own.get("seLinuxOptions"),
            "AppArmor": own.get("appArmorProfile", {"type": "RuntimeDefault"})["type"]
            == "RuntimeDefault",
            "Windows": not own.get("windowsOptions"),
            "host ports": not any(port.get("hostPort") for port in container.get("ports", ())),
            "host probes": not _probes_a_host(container),
            "read-only root file system": own.get("readOnlyRootFilesystem") is True,
        }
        found += [name for name, kept in wanted.items() if not kept]
    return found


def _probes_a_host(container: dict) -> bool:
    probes = (container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup"))
    actions = (probe.get(way, {}) for probe in probes for way in ("httpGet", "tcpSocket"))
    return any(action.get("host") for action in actions)


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestEveryOverlay:
    def test_is_valid_by_kubernetes_schemas(self, overlay):
        for document in rendered(overlay):
            if document["apiVersion"] not in NOT_KUBERNETES_OWN:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)

    def test_stays_in_its_namespace(self, overlay):
        namespace = of_kind(overlay, "Namespace")["metadata"]["name"]
        for document in rendered(overlay):
            assert "Cluster" not in document["kind"]
            if document["kind"] != "Namespace":
                assert document["metadata"]["namespace"] == namespace
        for subject in of_kind(overlay, "RoleBinding")["subjects"]:
            assert subject["namespace"] == namespace

    def test_asks_the_namespace_for_the_restricted_profile(self, overlay):
        labels = of_kind(overlay, "Namespace")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    def test_runs_the_agent_as_the_restricted_profile_wants_it(self, overlay):
        assert violations(of_kind(overlay, "Deployment")["spec"]["template"]["spec"]) == []

    def test_has_a_pod_template_that_the_agent_takes(self, overlay, tmp_path):
        path = tmp_path / "template.yaml"
        path.write_text(of_kind(overlay, "ConfigMap", "pod-template")["data"]["pod-template.yaml"])

        assert read_pod_template(path).service_account_name == "rssi-trainer"

    def test_lets_nothing_in_and_out_only_https_dns_and_the_api_server(self, overlay):
        spec = of_kind(overlay, "NetworkPolicy")["spec"]
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert not spec.get("ingress")
        ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        assert ports - {6443} == {443, 53}

    def test_mounts_only_what_is_there_or_asked_for(self, overlay):
        pod = of_kind(overlay, "Deployment")["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts <= volumes
        made = {d["metadata"]["name"] for d in rendered(overlay) if d["kind"] == "ConfigMap"}
        used = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        used.add(pod["containers"][0]["envFrom"][0]["configMapRef"]["name"])
        assert used <= made

    def test_tells_the_agent_what_it_understands(self, overlay, monkeypatch):
        (variables,) = (
            document["data"]
            for document in rendered(overlay)
            if document["kind"] == "ConfigMap" and "RSSI_RUNNER" in document["data"]
        )
        known = {f"RSSI_{name.upper()}" for name in AgentSettings.model_fields}
        assert {name for name in variables if name.startswith("RSSI_")} <= known
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings = AgentSettings()
        # botocore, unlike other SDKs, does not read AWS_REGION.
        assert Session().get_config_variable("region") == "eu-west-1"
        assert settings.runner == "kubernetes"
        assert settings.lease == of_kind(overlay, "Lease")["metadata"]["name"]

    def test_grants_the_very_lease_that_it_makes(self, overlay):
        # Kustomize renames what has a generated ConfigMap's name, even in a role.
        (named,) = (rule for rule in of_kind(overlay, "Role")["rules"] if "resourceNames" in rule)
        assert named["resourceNames"] == [of_kind(overlay, "Lease")["metadata"]["name"]]

    def test_uses_images_by_digest(self, overlay):
        pod = of_kind(overlay, "Deployment")["spec"]["template"]["spec"]
        assert re.search(r"@sha256:[0-9a-f]{64}$", pod["containers"][0]["image"])


def test_the_role_has_no_wildcard_and_no_secrets():
    assert all("*" not in verb + resource for verb, resource in rules())
    assert not {resource for _, resource in rules()} & {"secrets", "configmaps", "nodes"}


def test_kueues_overlay_names_the_queue_that_it_makes(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text(of_kind("kueue", "ConfigMap", "pod-template")["data"]["pod-template.yaml"])

    queue = of_kind("kueue", "LocalQueue")["metadata"]["name"]
    assert read_pod_template(path).queue_name == queue


VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "WATCH": "watch"}


def asked_for(kubernetes: KubernetesWorld) -> set[tuple[str, str]]:
    """What was asked of the API server, in RBAC's words."""
    asked = set()
    for request in kubernetes.server.requests:
        resource, name, part = re.fullmatch(
            r".*/namespaces/[^/]+/(\w+)(?:/([^/]+))?(/log)?", request.path
        ).groups()
        verb = VERBS.get(request.method) or ("get" if name else "list")
        asked.add((verb, resource + (part or "")))
    return asked


def test_the_role_allows_exactly_what_the_agent_does(kubernetes):
    runner = kubernetes.runner()
    for code in (1, 0):
        runner.start(RUN)
        runner.start(RUN)
        runner.runs()
        kubernetes.server.finish(RUN.id, code, log="log")
        runner.runs()
        runner.mark_announced(RUN.id, Announced.END)
        runner.forget(RUN.id)
    for _ in runner.api.watch(runner.api.path("apis/batch/v1", "jobs"), timeout_s=1, grace_s=1):
        pass
    kubernetes.server.create("leases", {"metadata": {"name": "rssi-agent"}})
    lease = LeaderLease(runner.api, "rssi-agent", "one", now, time.monotonic, kubernetes.log)
    assert lease.try_to_take()

    assert asked_for(kubernetes) == rules()


@pytest.mark.parametrize("template", [f"image: {IMAGE}", FULL], ids=["the least", "all there is"])
def test_the_job_is_valid_and_restricted_as_the_agent_is(kubernetes, tmp_path, template):
    kubernetes.pods = read_pod_template(written(tmp_path, template))
    kubernetes.runner().start(RUN)
    job = kubernetes.server.manifest(RUN.id)

    sent = {key: value for key, value in job.items() if key != "status"}
    kubernetes_validate.validate(sent, KUBERNETES, strict=True)
    assert violations(job["spec"]["template"]["spec"]) == []
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_failure_rule_of_another_shape_would_be_noticed(kubernetes):
    kubernetes.runner().start(RUN)
    job = kubernetes.server.manifest(RUN.id)
    del job["status"], job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["operator"]

    with pytest.raises(kubernetes_validate.ValidationError, match="operator"):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"hostNetwork": True},
        {"securityContext": {}},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"initContainers": [{"name": "first"}]},
        {"containers": [{"name": "trainer", "ports": [{"containerPort": 1, "hostPort": 1}]}]},
    ],
)
def test_what_is_not_restricted_would_be_noticed(kubernetes, spoiled):
    kubernetes.runner().start(RUN)
    pod = kubernetes.server.manifest(RUN.id)["spec"]["template"]["spec"]

    assert violations({**pod, **spoiled})
