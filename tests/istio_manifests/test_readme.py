"""The README names what there is, and everything that there is to apply."""

import re

from tests.istio_manifests.manifests import MANIFESTS, OVERLAYS, ROOT, build, of_kind
from tests.istio_manifests.test_monitoring import exposed

README = (MANIFESTS / "README.md").read_text()
COMMANDS = (
    "\n".join(line for line in README.splitlines() if line.startswith("    "))
    + "\n"
    + "\n".join(re.findall(r"`([^`\n]+)`", README))
)


def test_every_path_in_a_command_exists() -> None:
    paths = re.findall(r"(?:-k|-f|--policy) ((?:istio-manifests|policies)/\S+)", COMMANDS)

    assert len(paths) >= 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_overlay_and_component_is_named() -> None:
    components = {path.name for path in (MANIFESTS / "components").iterdir()}
    tables = "\n".join(line for line in README.splitlines() if line.startswith("|"))

    assert [name for name in (*components, *OVERLAYS) if f"`{name}`" not in tables] == []


def test_every_label_that_protects_is_explained() -> None:
    selected = {
        one["spec"]["selector"]["matchLabels"]["meshwarden"]
        for place in ("overlays/protected", "overlays/sidecar")
        for one in of_kind(build(place), "Telemetry")
    }

    assert set(re.findall(r"^\| `meshwarden: (\w+)` \|", README, re.MULTILINE)) == selected


def test_every_object_in_a_command_exists() -> None:
    objects = {(one["kind"].lower(), one["metadata"]["name"]) for overlay in OVERLAYS for one in build(overlay)}
    named = re.findall(r"\b(deployment|cronjob|authorizationpolicy|rolebinding)[ /]([a-z-]+)", COMMANDS)

    assert len(named) >= 6
    assert [pair for pair in named if pair not in objects] == []


def test_every_metric_exists() -> None:
    assert set(re.findall(r"\bauthz_[a-z_]+_(?:total|info)\b", README)) <= set(exposed())


def test_each_step_says_how_to_check_it_and_how_to_back_out() -> None:
    steps = re.split(r"^## (?=[0-9])", README, flags=re.MULTILINE)[1:]

    assert [step.splitlines()[0][:2].rstrip(".") for step in steps] == [str(i) for i in range(1, 11)]
    for step in steps:
        assert "*Check*" in step
        assert "*Back out*" in step


def test_secrets_and_the_namespace_have_the_names_that_the_manifests_use() -> None:
    assert "secret generic meshwarden-hash-key --from-literal=hash-key=" in README
    [namespace] = of_kind(build("overlays/shared"), "Namespace")
    assert f"kubectl -n {namespace['metadata']['name']} create secret" in README
