"""The pod template: what a platform engineer may decide, and what a mistake is answered with."""

import pytest

from tests.agent.kubernetes_world import IMAGE
from tests.agent.runner_contract import RUN
from trainer.agent.errors import ConfigurationError
from trainer.agent.runners.kubernetes.template import PodTemplate, read_pod_template

FULL = f"""
image: {IMAGE}
imagePullSecrets: [registry]
resources:
  requests: {{cpu: 2, memory: 1.5Gi}}
  limits: {{memory: 2Gi, nvidia.com/gpu: 1}}
nodeSelector: {{kubernetes.io/arch: amd64}}
tolerations: [{{key: gpu, operator: Exists, effect: NoSchedule}}]
priorityClassName: batch
runtimeClassName: nvidia
serviceAccountName: trainer
queueName: research
annotations: {{sidecar.istio.io/inject: "false"}}
scratchSize: 4Gi
webIdentity: {{roleArn: "arn:aws:iam::123456789012:role/rssi-agent"}}
files:
- {{mountPath: /etc/rssi/ca, configMap: store-ca}}
- {{mountPath: /etc/rssi/certificate, secret: site-certificate}}
"""


def written(tmp_path, text: str):
    path = tmp_path / "pod-template.yaml"
    path.write_text(text)
    return path


def test_an_image_by_digest_is_all_that_is_needed(tmp_path):
    template = read_pod_template(written(tmp_path, f"image: {IMAGE}"))

    assert template == PodTemplate(image=IMAGE)
    assert template.resources.limits["memory"]


def test_all_that_may_be_chosen_reaches_the_pod(tmp_path, kubernetes):
    kubernetes.pods = read_pod_template(written(tmp_path, FULL))
    kubernetes.runner().start(RUN)

    manifest = kubernetes.server.manifest(RUN.id)
    pod = manifest["spec"]["template"]["spec"]
    trainer = pod["containers"][0]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert trainer["resources"]["requests"] == {"cpu": "2", "memory": "1.5Gi"}
    assert trainer["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["priorityClassName"] == "batch"
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["serviceAccountName"] == "trainer"
    assert manifest["spec"]["suspend"] is True
    assert manifest["spec"]["template"]["metadata"]["annotations"]
    mounts = {mount["mountPath"] for mount in trainer["volumeMounts"]}
    assert {"/tmp", "/etc/rssi/ca", "/etc/rssi/certificate"} < mounts  # noqa: S108 - in the pod


def test_a_web_identity_projects_a_token_for_that_audience_and_nothing_else_does(
    tmp_path, kubernetes
):
    kubernetes.pods = read_pod_template(written(tmp_path, FULL))
    kubernetes.runner().start(RUN)

    pod = kubernetes.server.manifest(RUN.id)["spec"]["template"]["spec"]
    (projected,) = (volume["projected"] for volume in pod["volumes"] if "projected" in volume)
    (source,) = projected["sources"]
    assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
    assert pod["automountServiceAccountToken"] is False
    variables = {v["name"]: v.get("value") for v in pod["containers"][0]["env"]}
    assert variables["AWS_ROLE_ARN"].endswith("role/rssi-agent")
    assert variables["AWS_WEB_IDENTITY_TOKEN_FILE"].endswith("/token")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("image: registry/trainer:latest", "image"),
        (f"image: {IMAGE}\nresources: {{limits: {{memory: lots}}}}", "resources.limits.memory"),
        (f"image: {IMAGE}\ntolerations: [{{effect: Never}}]", "tolerations.0.effect"),
        (f"image: {IMAGE}\nserviceAccountName: Not A Name", "serviceAccountName"),
        (f"image: {IMAGE}\nnodeSelectors: {{}}", "nodeSelectors"),
        (f"image: {IMAGE}\nwebIdentity: {{roleArn: admin}}", "webIdentity.roleArn"),
        (f"image: {IMAGE}\nfiles: [{{mountPath: /x}}]", "files.0"),
        (f"image: {IMAGE}\nfiles: [{{mountPath: /tmp/, secret: x}}]", "files"),
        (
            f"image: {IMAGE}\nfiles: [{{mountPath: /x, secret: a}}, {{mountPath: /x, secret: b}}]",
            "files",
        ),
        ("resources: {}", "image"),
        ("- a list", "the document"),
    ],
)
def test_a_mistake_is_named_by_its_field(tmp_path, line, named):
    with pytest.raises(ConfigurationError, match=rf"used: .*{named}: "):
        read_pod_template(written(tmp_path, line))


@pytest.mark.parametrize(
    "owned",
    ["name: x", "labels: {}", "env: []", "securityContext: {}", "restartPolicy: OnFailure"],
)
def test_what_the_agent_answers_for_cannot_be_overridden(tmp_path, owned):
    name = owned.split(":")[0]

    with pytest.raises(ConfigurationError, match=f"remove them: {name}"):
        read_pod_template(written(tmp_path, f"image: {IMAGE}\n{owned}"))


def test_a_template_that_is_missing_or_no_yaml_is_said_so(tmp_path):
    with pytest.raises(ConfigurationError, match="RSSI_POD_TEMPLATE"):
        read_pod_template(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="no YAML"):
        read_pod_template(written(tmp_path, "image: [unclosed"))


def test_another_template_has_another_digest():
    assert PodTemplate(image=IMAGE).digest != PodTemplate(image=IMAGE, scratch_size="2Gi").digest
