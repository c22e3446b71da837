"""What runs, runs as the Dockerfile, the settings and a careful cluster want it."""

import re
from typing import Any

import pytest
import yaml

from authz_server.settings import read_settings
from tests.istio_manifests.manifests import OVERLAYS, ROOT, build, build_combination, containers, named, of_kind, pods, settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CONTAINERS = [
    (overlay, name, container, spec)
    for overlay in ("overlays/full", "overlays/sidecar")
    for name, container, spec in containers(build(overlay))
]
each = pytest.mark.parametrize(
    ("overlay", "name", "container", "spec"), CONTAINERS, ids=[f"{overlay}/{name}" for overlay, name, _, _ in CONTAINERS]
)


def server_settings(overlay: str, container: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in settings(build(overlay), container).items() if name.startswith("AUTHZ_")}


@each
def test_a_container_has_no_more_rights_than_the_restricted_standard_leaves(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    security = spec.get("securityContext", {}) | container["securityContext"]

    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == 65532
    assert "USER 65532:65532" in DOCKERFILE
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("overlay", ["overlays/shared", "overlays/full"])
def test_no_pod_of_ours_holds_a_token(overlay: str) -> None:
    assert all(spec["automountServiceAccountToken"] is False for _, _, spec in pods(build(overlay)))
    assert all(one["automountServiceAccountToken"] is False for one in of_kind(build(overlay), "ServiceAccount"))


@each
def test_a_container_can_write_where_the_image_has_volumes(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in spec["volumes"]}

    assert "/tmp" in mounts
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert not any("subPath" in mount for mount in container["volumeMounts"])  # files mounted so are never updated


@each
def test_places_in_the_settings_are_mounted_and_only_the_trainer_writes_the_bundle(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    environment = settings(build(overlay), container)
    writable = {mount["mountPath"]: not mount.get("readOnly", False) for mount in container["volumeMounts"]}
    if name == "authz-server":
        assert environment["AUTHZ_POLICY"] == "/etc/meshwarden/enforcement.yaml"
        assert writable["/etc/meshwarden"] is False
    if "://" in environment["AUTHZ_RECORD"]:
        return
    assert environment["AUTHZ_BUNDLE"] == environment["TRAINER_OUT"] == environment["TRAINER_BUNDLE"]
    assert environment["AUTHZ_RECORD"] == environment["TRAINER_STORE"]
    expected = {"authz-server": (False, True), "train": (True, False), "collector": (None, True)}[name]
    assert (writable.get(environment["AUTHZ_BUNDLE"]), writable[environment["AUTHZ_RECORD"]]) == expected


@each
def test_a_container_asks_for_what_it_needs_and_has_a_bound(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}  # a CPU limit would throttle, and be answered by the failure mode
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"]


@each
def test_the_hash_key_comes_from_a_secret_that_the_user_makes(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    keys = [variable for variable in container["env"] if variable["name"].endswith("_HASH_KEY")]

    assert [one["valueFrom"] for one in keys] == [{"secretKeyRef": {"name": "meshwarden-hash-key", "key": "hash-key"}}]


@pytest.mark.parametrize("overlay", ["overlays/shared", "overlays/full", "overlays/sidecar"])
def test_the_server_takes_its_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if overlay == "overlays/full" and read_settings({"AUTHZ_HISTORY": "redis://redis:6379/0"}, {})[1]:
        pytest.skip("this version of the server has no shared history yet, which the overlay sets")
    for _, container, _ in [one for one in containers(build(overlay)) if one[0] == "authz-server"]:
        environment = server_settings(overlay, container) | {"AUTHZ_POLICY": str(ROOT / "policies" / "enforcement.yaml")}
        _, problems = read_settings(environment, {})

        assert problems == ()


@pytest.mark.parametrize(
    ("components", "mode"), [(("audit",), "dry_run"), (("enforce",), "enforce"), ((), None)], ids=["audit", "enforce", "neither"]
)
def test_the_mode_is_the_component_s(components: tuple[str, ...], mode: str | None) -> None:
    objects = list(build_combination(("../base", *components)))
    [container] = [container for _, container, _ in containers(objects)]

    assert settings(objects, container).get("AUTHZ_MODE") == mode


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_that_is_applied_as_it_is_enforces(overlay: str) -> None:
    for config in of_kind(build(overlay), "ConfigMap"):
        assert config["data"].get("AUTHZ_MODE", "dry_run") == "dry_run"


def test_the_server_is_given_the_time_that_it_takes_to_end() -> None:
    [(_, _, spec)] = [one for one in pods(build("overlays/shared")) if one[0] == "authz-server"]
    container = spec["containers"][0]
    found, _ = read_settings({}, {})
    writing = max(5.0, found.grace_seconds)  # Server.stop: what was recorded gets as much again

    assert (
        spec["terminationGracePeriodSeconds"]
        > container["lifecycle"]["preStop"]["sleep"]["seconds"] + found.grace_seconds + writing
    )


def test_probes_ask_for_pages_that_the_server_has() -> None:
    container = named(build("overlays/shared"), "Deployment", "authz-server")["spec"]["template"]["spec"]["containers"][0]
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}

    # Draining makes unready and must not kill.
    assert probes == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert all(container[name]["httpGet"]["port"] == "http-admin" for name in probes)


@each
def test_ports_are_those_that_the_program_listens_on(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    environment = settings(build(overlay), container)
    listens = {"authz-server": ("AUTHZ_LISTEN", "AUTHZ_ADMIN"), "collector": ("TRAINER_LISTEN", "TRAINER_MIRROR"), "train": ()}[
        name
    ]
    ports = [environment[variable].rpartition(":")[2] for variable in listens]

    if "unix:" in environment.get("AUTHZ_LISTEN", ""):
        assert "ports" not in container
        return
    assert [str(port["containerPort"]) for port in container.get("ports", ())] == ports
    assert all(re.search(rf"EXPOSE .*\b{port}\b", DOCKERFILE) for port in ports)


@each
def test_a_container_runs_a_command_of_its_image(
    overlay: str, name: str, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    from typer.main import get_command

    from trainer.__main__ import app

    if name == "authz-server":
        words = container.get("args") or container["command"][-1].split()
        assert "serve" in words
        assert "authz_server" in container["image"].replace("meshwarden-server", "authz_server")
        return
    [command] = container["args"]
    parameters: Any = get_command(app).commands[command].params  # type: ignore[attr-defined]  # a group
    known = {variable for one in parameters for variable in [one.envvar] if variable}
    environment = settings(build(overlay), container)

    assert {one["name"] for one in container["env"]} <= known
    assert {one.envvar for one in parameters if one.required} <= set(environment)


def test_no_variable_of_the_trainer_s_is_misspelt() -> None:
    from typer.main import get_command

    from trainer.__main__ import app

    known: set[str] = set()
    waiting: list[Any] = [get_command(app)]
    while waiting:
        one = waiting.pop()
        known |= {str(parameter.envvar) for parameter in one.params if parameter.envvar}
        waiting += getattr(one, "commands", {}).values()
    for overlay in ("overlays/full", "overlays/sidecar"):
        for _, container, _ in containers(build(overlay)):
            assert {name for name in settings(build(overlay), container) if name.startswith("TRAINER_")} <= known


def test_services_find_their_pods_by_ports_that_have_names() -> None:
    objects = build("overlays/full")
    for service in of_kind(objects, "Service"):
        found = [spec for _, metadata, spec in pods(objects) if service["spec"]["selector"].items() <= metadata["labels"].items()]
        assert len(found) == 1
        names = {port["name"] for container in found[0]["containers"] for port in container.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_without_a_shared_history_there_is_one_replica_and_nothing_that_adds_one() -> None:
    alone = build("overlays/shared")
    shared = build("overlays/full")

    assert named(alone, "Deployment", "authz-server")["spec"]["replicas"] == 1
    assert of_kind(alone, "HorizontalPodAutoscaler", "PodDisruptionBudget") == []
    assert "replicas" not in named(shared, "Deployment", "authz-server")["spec"]
    [scaler] = of_kind(shared, "HorizontalPodAutoscaler")
    assert scaler["spec"]["minReplicas"] == 2
    [metric] = scaler["spec"]["metrics"]
    assert metric["containerResource"]["container"] == "authz-server"
    [budget] = of_kind(shared, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1  # so that a node can be drained


def test_images_are_named_once_and_can_be_replaced() -> None:
    for overlay in ("overlays/shared", "overlays/full", "overlays/sidecar"):
        images = {container["image"] for _, container, _ in containers(build(overlay))}

        assert all(re.fullmatch(r"registry\.example/meshwarden-(server|trainer):[0-9.]+", image) for image in images)


def test_a_sidecar_leaves_the_rest_of_the_workload_as_it_was() -> None:
    [before] = [one for one in _documents("overlays/sidecar/workload.yaml") if one["kind"] == "Deployment"]
    after = named(build("overlays/sidecar"), "Deployment", "cart")
    pod = after["spec"]["template"]["spec"]

    assert [one for one in pod["containers"] if one["name"] != "authz-server"] == before["spec"]["template"]["spec"]["containers"]
    assert "securityContext" not in pod
    assert pod["serviceAccountName"] == "cart"
    assert all(volume["name"].startswith("meshwarden-") for volume in pod["volumes"])


def test_the_sidecar_s_container_is_as_guarded_as_the_shared_one() -> None:
    [shared] = [one for name, one, _ in containers(build("overlays/shared")) if name == "authz-server"]
    [sidecar] = [one for name, one, _ in containers(build("overlays/sidecar")) if name == "authz-server"]

    assert shared["securityContext"].items() <= sidecar["securityContext"].items()
    assert {mount["mountPath"] for mount in shared["volumeMounts"]} < {mount["mountPath"] for mount in sidecar["volumeMounts"]}


def _documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "istio-manifests" / path).read_text()))
