"""Every overlay and every combination of components builds, and an API server would take each object of it."""

from typing import Any

import pytest
import yaml

from tests.istio_manifests.manifests import COMBINATIONS, MANIFESTS, OVERLAYS, ROOT, build, build_combination, files, named
from tests.istio_manifests.schemas import CRDS, problems

without_crds = pytest.mark.skipif(not CRDS.is_dir(), reason=f"Istio's CRDs aren't in {CRDS}; set MESHWARDEN_CRDS")


def kind_and_name(thing: dict[str, Any]) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_object_of_an_overlay(overlay: str) -> None:
    own = [one for one in build(overlay) if "istio.io" not in one["apiVersion"]]

    assert [(kind_and_name(one), found) for one in own if (found := problems(one))] == []


@without_crds
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_istio_takes_every_object_of_an_overlay(overlay: str) -> None:
    own = [one for one in build(overlay) if "istio.io" in one["apiVersion"]]

    assert own
    assert [(kind_and_name(one), found) for one in own if (found := problems(one))] == []


@without_crds
@pytest.mark.parametrize("component", ["mirror", "streams"])
def test_istio_takes_what_no_overlay_has(component: str) -> None:
    found = build_combination(("../protected", component))

    assert [(kind_and_name(one), problems(one)) for one in found if problems(one)] == []
    assert any(one["kind"] in ("VirtualService", "EnvoyFilter") for one in found)


@pytest.mark.parametrize("combination", COMBINATIONS, ids="+".join)
def test_a_combination_builds_with_each_name_once_and_kubernetes_takes_it(combination: tuple[str, ...]) -> None:
    objects = build_combination(combination)
    names = [(one["apiVersion"], kind_and_name(one)) for one in objects]
    own = [one for one in objects if "istio.io" not in one["apiVersion"]]

    assert names
    assert len(names) == len(set(names))
    assert [(kind_and_name(one), found) for one in own if (found := problems(one))] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"spec": {"replicas": "one"}}, "replicas"),
        ({"spec": {"strateggy": {}}}, "strateggy"),
        ({"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}}, "name"),
    ],
)
def test_a_wrong_deployment_is_seen(change: dict[str, Any], expected: str) -> None:
    thing = named(build("base"), "Deployment", "authz-server")
    wrong = thing | {"spec": thing["spec"] | change["spec"]}

    assert any(expected in problem for problem in problems(wrong))


@without_crds
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ports": [{"name": "grpc", "number": 9191}, {"name": "b", "number": 0}]}, "port must be between"),
        ({"endpoints": [{"address": "unix://run"}]}, "UDS must be an absolute path"),
        ({"endpoints": [{"address": "unix:///run/a", "ports": {"grpc": 1}}]}, "UDS may not include ports"),
        ({"resolutions": "STATIC"}, "unknown field"),
    ],
)
def test_a_wrong_service_entry_is_seen(change: dict[str, Any], expected: str) -> None:
    thing = named(build("mesh"), "ServiceEntry", "meshwarden-sidecar")
    wrong = thing | {"spec": thing["spec"] | change}

    assert any(expected in problem for problem in problems(wrong))


def test_every_file_is_part_of_something_that_is_built() -> None:
    used = {MANIFESTS / "README.md", MANIFESTS / "mesh" / "istio-operator.yaml"}
    for kustomization in [path for path in files() if path.name == "kustomization.yaml"]:
        document = yaml.safe_load(kustomization.read_text())
        named_files = [
            *document.get("resources", ()),
            *[patch["path"] for patch in document.get("patches", ()) if "path" in patch],
        ]
        for generator in document.get("configMapGenerator", ()):
            named_files += [name.partition("=")[2] or name for name in generator.get("files", ())]
        used |= {kustomization, *[(kustomization.parent / name).resolve() for name in named_files]}

    assert [path for path in files() if path not in used] == []


def test_the_policy_is_the_one_that_people_review() -> None:
    for overlay in ("overlays/shared", "overlays/sidecar"):
        config = named(build(overlay), "ConfigMap", "meshwarden-policy")

        assert config["data"] == {"enforcement.yaml": (ROOT / "policies" / "enforcement.yaml").read_text()}
        assert config["metadata"]["name"] == "meshwarden-policy"  # no hash: a change is reloaded, not rolled out


def test_no_secret_is_made() -> None:
    assert [one for overlay in OVERLAYS for one in build(overlay) if one["kind"] == "Secret"] == []
