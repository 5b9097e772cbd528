"""The YAML files in cluster/ against schemas, and no secret in any file there."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from packaging.version import Version
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.cluster.kuberay_fields import RAY_CLUSTER, RAY_JOB

CLUSTER = Path(__file__).parents[2] / "cluster"
KUBERNETES = "1.33"


def documents(name):
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


def kuberay(kind):
    there = [*documents("kuberay.yaml"), *documents("kuberay-job.yaml")]
    [found] = [document for document in there if document["kind"] == kind]
    return found


def pods():
    spec = kuberay("RayCluster")["spec"]
    groups = {group["groupName"]: group["template"] for group in spec["workerGroupSpecs"]}
    submitter = kuberay("RayJob")["spec"]["submitterPodTemplate"]
    return {"head": spec["headGroupSpec"]["template"], **groups, "submitter": submitter}


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "NetworkPolicy"])
def test_kubernetes_takes_its_own_kinds(kind):
    kubernetes_validate.validate(kuberay(kind), KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["head", "cpu", "gpu", "submitter"])
def test_kubernetes_takes_every_pod(name):
    template = pods()[name]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template.get("metadata", {})}}
    kubernetes_validate.validate({**pod, "spec": template["spec"]}, KUBERNETES, strict=True)
    [container] = template["spec"]["containers"]
    assert template["spec"]["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    assert mounted == {volume["name"] for volume in template["spec"].get("volumes", [])}


def test_the_autoscaler_of_ray_reads_the_same_sizes_from_it():
    cluster = kuberay("RayCluster")
    cluster["metadata"]["namespace"] = "ccar"  # Kubernetes fills it in
    kinds = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert {name: (kind["min_workers"], kind["max_workers"]) for name, kind in kinds.items()} == {
        "headgroup": (0, 0),
        **{
            group["groupName"]: (group["minReplicas"], group["maxReplicas"])
            for group in cluster["spec"]["workerGroupSpecs"]
        },
    }
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert "GPU" not in kinds["cpu"]["resources"]


def test_the_operator_of_kuberay_would_take_it():
    """By the rules of its `validation.go` that no schema has."""
    cluster, job = kuberay("RayCluster"), kuberay("RayJob")
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", one["metadata"]["name"]) for one in (cluster, job))
    assert Version(str(cluster["spec"]["rayVersion"])) >= Version("2.52")  # since when it hands tokens on
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert all("labels" not in group["rayStartParams"] for group in groups)
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]
    assert job["spec"]["submissionMode"] != "SidecarMode"  # not with a cluster that is there already


@pytest.mark.parametrize(("kind", "fields"), [("RayCluster", RAY_CLUSTER), ("RayJob", RAY_JOB)])
def test_kuberay_has_the_fields_that_are_used(kind, fields):
    document = kuberay(kind)
    assert document["apiVersion"] == "ray.io/v1"
    jsonschema.validate(document["spec"], fields)


def test_the_cluster_on_kubernetes_asks_for_a_token_grows_and_is_closed_to_others():
    spec = kuberay("RayCluster")["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "ccar-ray-token"}
    assert spec["enableInTreeAutoscaling"]
    assert {group["groupName"]: group["maxReplicas"] > group["minReplicas"] for group in spec["workerGroupSpecs"]} == {
        "cpu": True,
        "gpu": True,
    }
    gpus = pods()["gpu"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus == "1"
    policy = kuberay("NetworkPolicy")["spec"]
    selected = policy["podSelector"]["matchLabels"]
    assert selected == kuberay("RayJob")["spec"]["clusterSelector"] == {"ray.io/cluster": "ccar"}
    for rule in policy["ingress"]:  # all ports to the cluster's own pods, one to others, none to everybody
        assert rule["from"]
        own = rule["from"] == [{"podSelector": {"matchLabels": selected}}]
        assert own or [port["port"] for port in rule["ports"]] == [8265]


def test_who_applies_the_cluster_submits_no_study():
    """Its file cannot be on the claim yet, which the same `kubectl apply` makes."""
    assert [document["kind"] for document in documents("kuberay-job.yaml")] == ["RayJob"]
    assert "RayJob" not in {document["kind"] for document in documents("kuberay.yaml")}


def test_ray_launcher_takes_its_file():
    file = documents("aws.yaml")[0]
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(file, json.loads(schema.read_text()))
    assert file["head_node_type"] in file["available_node_types"]
    starts = [*file["head_start_ray_commands"], *file["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in start for start in starts if "ray start" in start)
    assert "--dashboard-host=127.0.0.1" in file["head_start_ray_commands"][1]
    assert file["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


def test_the_versions_named_are_those_that_are_tested():
    lines = (CLUSTER.parent / "requirements.lock").read_text()
    image = documents("compose.yaml")[0]["services"]["mlflow"]["build"]["dockerfile_inline"]
    for package, locked in re.findall(r"'([a-z0-9]+)(?:\[\w+\])?==([\d.]+)'", image):
        assert f"\n{package}=={locked} " in lines
    assert kuberay("RayCluster")["spec"]["rayVersion"] == version("ray")


def test_the_image_has_every_package_that_an_installed_ccar_has():
    project = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = re.findall(r"^COPY (\w+) (\w+)$", (CLUSTER / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert copied == [(package, package) for package in packages]


SERVICE_KEYS = {
    *("image", "build", "command", "entrypoint", "environment", "secrets", "volumes", "networks", "ports"),
    *("healthcheck", "restart", "depends_on", "user", "read_only", "tmpfs", "cap_drop", "security_opt"),
}


def test_the_compose_file_is_whole():
    file = documents("compose.yaml")[0]
    assert set(file) == {"name", "services", "secrets", "volumes", "networks"}
    for service in file["services"].values():
        assert set(service) <= SERVICE_KEYS
        assert set(service.get("secrets", [])) <= set(file["secrets"])
        assert set(service["networks"]) <= set(file["networks"])
        for name, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert "healthcheck" in file["services"][name] or not healthy
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in file["volumes"] or (CLUSTER / source).is_file()
    made = (CLUSTER / "mlflow" / "make_secrets.sh").read_text()
    assert all(secret["file"] == f"./secrets/{name}" and name in made for name, secret in file["secrets"].items())


def test_mlflow_runs_as_whoever_made_the_secrets_since_nobody_else_may_read_them():
    service = documents("compose.yaml")[0]["services"]["mlflow"]
    assert service["user"].startswith("${CCAR_UID:?")
    assert "umask 077" in (CLUSTER / "mlflow" / "make_secrets.sh").read_text()


def test_only_mlflow_is_reached_from_outside_and_only_on_loopback():
    file = documents("compose.yaml")[0]
    assert {name: service["ports"] for name, service in file["services"].items() if "ports" in service} == {
        "mlflow": ["127.0.0.1:5000:5000"]
    }
    assert file["networks"]["inside"] == {"internal": True}


def test_no_file_holds_a_secret_and_git_does_not_see_those_that_do():
    for path in CLUSTER.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert not re.search(r"\b[0-9a-f]{32,}\b", path.read_text()), path
    assert "/cluster/secrets/" in (CLUSTER.parent / ".gitignore").read_text().splitlines()
