"""What is shipped for several services: two profiles of compose, their balancer, and the Kubernetes manifests."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
from fastapi.routing import APIRoute
from ruamel.yaml import YAML

from app.http.routes import health
from app.settings import load_settings
from tests.paths import ROOT
from tests.test_packaging import compose, setting_names

KUBERNETES = ROOT / "deploy/kubernetes"
VERSIONS = ("1.31", "1.37")  # of Kubernetes, oldest and newest
FOLDERS = ("settings", "base", "gpu", "first-build")
MANIFESTS = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
SCALE = {name: service for name, service in compose()["services"].items() if service["profiles"] == ["scale"]}
ON_ONE_GPU = {name: one for name, one in compose()["services"].items() if one["profiles"] == ["gpu-several"]}
CADDYFILE = (ROOT / "deploy/balancer/Caddyfile").read_text()
OURS = [name for name in SCALE if SCALE[name]["image"].startswith("sketchseek:")]
READERS = [name for name in OURS if SCALE[name]["environment"].get("SKETCHSEEK_WRITES") == "off"]
GPU_READERS = [f"gpu-reader-{number}" for number in range(1, 5)]


@cache
def manifest(path):
    return YAML(typ="safe").load(path)


def kustomization(folder):
    return manifest(KUBERNETES / folder / "kustomization.yaml")


def pod_of(path):
    """The pod that a manifest describes, or None."""
    spec = manifest(path).get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {}).get("spec")


def whole(path):
    """Patches, which lie in `gpu`, are parts of a manifest."""
    return path.parent.name != "gpu"


PODS = [path for path in MANIFESTS if whole(path) and pod_of(path)]


def container_of(path):
    (container,) = pod_of(path)["containers"]
    return container


def seconds(duration):
    return float(duration.removesuffix("ms")) / 1000 if duration.endswith("ms") else float(duration.removesuffix("s"))


# --- compose


def test_one_writes_and_two_answer():
    assert READERS == ["replica-1", "replica-2"]
    (writer,) = set(OURS) - set(READERS)
    assert SCALE[writer]["command"] == ["gallery", "sync", "--follow"]
    assert SCALE[writer]["healthcheck"] == {"disable": True}  # the image's own asks a service
    places = {SCALE[name]["environment"]["SKETCHSEEK_GALLERY"] for name in OURS}
    assert places == {f"s3://{SCALE['object-store']['environment']['S3_BUCKET']}/gallery"}


def test_one_writes_and_four_answer_on_one_gpu():
    writes = {name: one["environment"].get("SKETCHSEEK_WRITES", "on") for name, one in ON_ONE_GPU.items()}
    assert {name for name, said in writes.items() if said == "off"} == set(GPU_READERS)
    assert ON_ONE_GPU["gpu-writer"]["command"] == ["gallery", "sync", "--follow"]
    assert ON_ONE_GPU["gpu-writer"]["healthcheck"] == {"disable": True}
    ours = [one for name, one in ON_ONE_GPU.items() if name != "gpu-balancer"]
    assert all(one["volumes"] == ["${PHOTOS:-./photos}:/photos:ro", "index:/data"] for one in ours)
    devices = [one["deploy"]["resources"]["reservations"]["devices"] for one in ours]
    assert devices == [compose()["services"]["sketchseek-gpu"]["deploy"]["resources"]["reservations"]["devices"]] * 5


def test_only_the_balancer_is_reached_from_outside():
    assert [name for name in SCALE if "ports" in SCALE[name]] == ["balancer"]
    assert [name for name in ON_ONE_GPU if "ports" in ON_ONE_GPU[name]] == ["gpu-balancer"]
    assert all(service["volumes"][0].endswith("/photos:ro") for name, service in SCALE.items() if name in OURS)


def test_services_name_each_other_and_ports_that_are_theirs():
    assert re.findall(r"^\treverse_proxy (.+) \{$", CADDYFILE, re.MULTILINE) == ["{$UPSTREAMS}"]
    for balancer, readers in ((SCALE["balancer"], READERS), (ON_ONE_GPU["gpu-balancer"], GPU_READERS)):
        assert balancer["environment"]["UPSTREAMS"].split() == [f"{name}:8000" for name in readers]
        assert set(balancer["depends_on"]) == set(readers)
    ports = {"object-store": "8333", "milvus": "19530", **dict.fromkeys(READERS, "8000")}
    for name in OURS:
        for value in SCALE[name]["environment"].values():
            for host, port in re.findall(r"^http://([\w-]+):(\d+)$", value):
                assert ports[host] == port
                if host in SCALE[name]["depends_on"]:
                    assert SCALE[name]["depends_on"][host] == {"condition": "service_healthy"}


def test_what_is_waited_for_has_a_check_of_its_own():
    for service in SCALE.values():
        for name, how in service.get("depends_on", {}).items():
            assert name in SCALE
            if how["condition"] == "service_healthy":
                assert SCALE[name]["healthcheck"]["test"][0] == "CMD", name


def test_images_of_others_have_a_version():
    for name in set(SCALE) - set(OURS):
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", SCALE[name]["image"]), name


def test_the_settings_of_the_profile_are_accepted(monkeypatch):
    for service in [*(ON_ONE_GPU[name] for name in GPU_READERS), *(SCALE[name] for name in READERS)]:
        for variable, value in service["environment"].items():
            if variable.startswith("SKETCHSEEK_"):
                monkeypatch.setenv(variable, re.sub(r"\$\{\w+:?-(.*)\}", r"\1", value))
        settings = load_settings()
        assert not settings.may_change
        assert (settings.recall, settings.watch) == (service["environment"].get("SKETCHSEEK_RECALL", "auto"), False)


def test_the_balancer_notices_a_replica_that_ends_while_it_still_answers():
    assert re.search(r"^\t\thealth_uri /readyz$", CADDYFILE, re.MULTILINE)
    assert re.search(r"^\t\tlb_policy least_conn$", CADDYFILE, re.MULTILINE)
    interval = re.findall(r"^\t\thealth_interval (\S+)$", CADDYFILE, re.MULTILINE)[0]
    assert seconds(interval) < load_settings().drain_s


def test_no_client_says_under_which_path_replicas_that_trust_the_balancer_are_reached():
    assert all("FORWARDED_ALLOW_IPS" in SCALE[name]["environment"] for name in READERS)
    assert all("FORWARDED_ALLOW_IPS" in ON_ONE_GPU[name]["environment"] for name in GPU_READERS)
    assert "header_up -X-Forwarded-Prefix" in re.findall(r"^\t\t(\w.*)$", CADDYFILE, re.MULTILINE)


# --- Kubernetes


def test_every_file_is_a_resource_or_a_patch_of_its_folder():
    assert {path.parent.name for path in KUBERNETES.rglob("*.yaml")} == set(FOLDERS)
    for folder in FOLDERS:
        named = kustomization(folder)
        files = [*named["resources"], *(patch["path"] for patch in named.get("patches", []))]
        for other in [name for name in files if name.startswith("../")]:
            files.remove(other)
            assert (KUBERNETES / folder / other / "kustomization.yaml").is_file()
        there = {path.name for path in (KUBERNETES / folder).iterdir()} - {"kustomization.yaml"}
        assert sorted(files) == sorted(there)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", [path for path in MANIFESTS if whole(path)], ids=lambda path: path.stem)
def test_a_manifest_fits_the_schemas_of_kubernetes(path, version):
    kubernetes_validate.validate(manifest(path), version, strict=True)


def test_patches_change_what_is_there():
    """Kustomize finds by kind and name; what a patch names below must exist, or be a thing that is added."""
    base = {(manifest(path)["kind"], manifest(path)["metadata"]["name"]): path for path in MANIFESTS if whole(path)}
    for patch in [path for path in MANIFESTS if not whole(path)]:
        values = manifest(patch)
        path = base[values["kind"], values["metadata"]["name"]]
        if (pod := pod_of(patch)) is not None:
            assert [one["name"] for one in pod["containers"]] == [container_of(path)["name"]]


def test_no_gpu_pod_gets_the_image_of_the_cpu(tmp_path):
    """Whatever `base` calls its image: a name that only one of the two files knows is no reason to take the other."""
    for patch in [path for path in MANIFESTS if not whole(path)]:
        if (pod := pod_of(patch)) is not None:
            assert {one["image"] for one in pod["containers"]} == {"sketchseek"}
    (ours,) = kustomization("gpu")["images"]
    assert (ours["name"], ours["newTag"]) == ("sketchseek", "gpu")
    if (kubectl := shutil.which("kubectl")) is None:
        return
    shutil.copytree(KUBERNETES, tmp_path / "k")
    base = tmp_path / "k/base/kustomization.yaml"
    base.write_text(base.read_text().replace(ours["newName"], "elsewhere.example/sketchseek"))
    made = subprocess.run([kubectl, "kustomize", tmp_path / "k/gpu"], capture_output=True, text=True, check=True)
    assert set(re.findall(r"\bimage: (.+)", made.stdout)) == {f"{ours['newName']}:gpu"}


@pytest.mark.parametrize("path", PODS, ids=lambda path: path.stem)
def test_no_service_of_kubernetes_becomes_a_setting(path, monkeypatch):
    """Unless told not to, Kubernetes describes each Service of the namespace in variables that begin with its name."""
    services = [manifest(path) for path in MANIFESTS if manifest(path)["kind"] == "Service"]
    assert services
    if pod_of(path).get("enableServiceLinks", True):
        for one in services:
            monkeypatch.setenv(f"{one['metadata']['name'].upper()}_PORT", "tcp://10.96.0.12:80")
    assert load_settings().port == 8000
    if container_of(path)["args"] == ["serve"]:
        given = {one["name"]: one["value"] for one in container_of(path)["env"]}
        (port,) = [one["containerPort"] for one in container_of(path)["ports"] if one["name"] == "http"]
        assert given["SKETCHSEEK_PORT"] == str(port)


@pytest.mark.parametrize("path", [path for path in MANIFESTS if pod_of(path)], ids=str)
def test_variables_are_settings_and_their_values_are_accepted(path, monkeypatch):
    given = {one["name"]: one["value"] for one in container_of(path).get("env", [])}
    for name, value in {**manifest(KUBERNETES / "settings/settings.yaml")["data"], **given}.items():
        assert name in setting_names() or name.startswith("AWS_")
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert str(settings.gallery) == "s3://my-bucket/gallery"
    assert settings.may_change == ("SKETCHSEEK_WRITES" not in given)


@pytest.mark.parametrize("path", PODS, ids=lambda path: path.stem)
def test_pods_are_locked_down_and_read_the_same_settings(path):
    pod, container = pod_of(path), container_of(path)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == locked
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/data"}  # noqa: S108
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    name = {"name": manifest(KUBERNETES / "settings/settings.yaml")["metadata"]["name"]}
    assert container["envFrom"] == [{"configMapRef": name}, {"secretRef": name}]
    images = [one["name"] for folder in ("base", "first-build") for one in kustomization(folder)["images"]]
    assert container["image"] in images


def deployment():
    return KUBERNETES / "base/services.yaml"


def environment():
    return {one["name"]: one["value"] for one in container_of(deployment())["env"]}


def test_probes_ask_routes_that_exist_on_ports_that_exist():
    settings = load_settings(admin_port=int(environment()["SKETCHSEEK_ADMIN_PORT"]))
    routes = {route.path for route in health.router.routes if isinstance(route, APIRoute)}
    container = container_of(deployment())
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    for name, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[name]["httpGet"] == {"path": path, "port": "admin"}
        assert path in routes
    named = [manifest(KUBERNETES / "base/address.yaml")["spec"]["ports"][0]["targetPort"]]
    for rule in manifest(KUBERNETES / "base/network-policy.yaml")["spec"]["ingress"]:
        named += [one["port"] for one in rule["ports"]]
    assert set(named) == set(ports)


def test_a_pod_has_the_time_that_the_service_takes_to_end():
    variables, probe = environment(), container_of(deployment())["readinessProbe"]
    drain = float(variables["SKETCHSEEK_DRAIN_S"])
    needed = drain + float(variables["SKETCHSEEK_SHUTDOWN_TIMEOUT_S"])
    assert pod_of(deployment())["terminationGracePeriodSeconds"] >= needed + 10
    assert probe["periodSeconds"] * probe["failureThreshold"] < drain


def test_what_selects_the_services_finds_them_and_not_the_writer():
    labels = manifest(deployment())["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifest(deployment())["spec"]["selector"]["matchLabels"],
        manifest(KUBERNETES / "base/address.yaml")["spec"]["selector"],
        manifest(KUBERNETES / "base/disruption-budget.yaml")["spec"]["selector"]["matchLabels"],
        manifest(KUBERNETES / "base/network-policy.yaml")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    target = manifest(KUBERNETES / "base/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": manifest(deployment())["metadata"]["name"]}
    assert "replicas" not in manifest(deployment())["spec"], "the autoscaler decides"


def test_one_writer_at_a_time_by_commands_that_exist():
    from app.cli.gallery import cli

    sync = manifest(KUBERNETES / "base/sync.yaml")
    assert sync["spec"]["concurrencyPolicy"] == "Forbid"
    commands = {command.callback.__name__ for command in cli.registered_commands if command.callback}
    for path in PODS:
        first, *more = container_of(path)["args"]
        assert first in ("serve", "gallery")
        assert first == "serve" or more[0] in commands


def test_manifests_have_a_home_in_the_page():
    page = (ROOT / "docs/operations.md").read_text()
    for folder in FOLDERS:
        assert f"deploy/kubernetes/{folder}" in page
    assert all(Path(ROOT / name).exists() for name in re.findall(r"deploy/[\w./-]+[\w]", page))
