"""The mesh's configuration: each provider sets what Istio's defaults get wrong, and points to something that exists."""

import re
from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthzPerRoute
from google.protobuf import json_format

from authz_server.settings import Settings
from tests.istio_manifests.manifests import MANIFESTS, build, build_combination, named, of_kind

OPERATOR = yaml.safe_load((MANIFESTS / "mesh" / "istio-operator.yaml").read_text())
MESH = OPERATOR["spec"]["meshConfig"]
PROVIDERS = {provider["name"]: provider for provider in MESH["extensionProviders"]}
AUTHORIZERS = {name: one["envoyExtAuthzGrpc"] for name, one in PROVIDERS.items() if "envoyExtAuthzGrpc" in one}
LOGS = {name: one["envoyHttpAls"] for name, one in PROVIDERS.items() if "envoyHttpAls" in one}
HEADERS_BYTES = 60 * 1024

# Fields of istio.mesh.v1alpha1.MeshConfig.ExtensionProvider (istio/api, mesh/v1alpha1/config.proto).
AUTHORIZER_FIELDS = {"service", "port", "timeout", "failOpen", "clearRouteCache", "statusOnError", "includeRequestBodyInCheck"}
BODY_FIELDS = {"maxRequestBytes", "allowPartialMessage", "packAsBytes"}
LOG_FIELDS = {"service", "port", "logName", "additionalRequestHeadersToLog", "additionalResponseHeadersToLog"}


def services() -> dict[str, set[int]]:
    """What the manifests make, by namespace/host: its ports."""
    found: dict[str, set[int]] = {}
    for place in ("overlays/shared", "mesh"):
        for one in of_kind(build(place), "Service", "ServiceEntry"):
            namespace, spec = one["metadata"]["namespace"], one["spec"]
            host = (
                spec["hosts"][0] if one["kind"] == "ServiceEntry" else f"{one['metadata']['name']}.{namespace}.svc.cluster.local"
            )
            found[f"{namespace}/{host}"] = {port.get("number", port.get("port")) for port in spec["ports"]}
    return found


def test_the_fragment_is_an_operator_s_and_names_each_provider_once() -> None:
    assert (OPERATOR["apiVersion"], OPERATOR["kind"]) == ("install.istio.io/v1alpha1", "IstioOperator")
    assert set(OPERATOR["spec"]) == {"meshConfig"}
    assert len(PROVIDERS) == len(MESH["extensionProviders"]) == len(AUTHORIZERS) + len(LOGS)
    assert all(set(one) == {"name", kind} for one in PROVIDERS.values() for kind in one if kind != "name")


@pytest.mark.parametrize("name", AUTHORIZERS)
def test_an_authorizer_sets_timeout_failure_mode_and_status(name: str) -> None:
    provider = AUTHORIZERS[name]

    assert set(provider) <= AUTHORIZER_FIELDS
    assert float(re.fullmatch(r"([0-9.]+)s", provider["timeout"])[1]) <= 1  # type: ignore[index]  # Istio's default is 600 s
    assert provider["failOpen"] is True
    assert provider["statusOnError"] == "503"


@pytest.mark.parametrize("name", [name for name, one in AUTHORIZERS.items() if "includeRequestBodyInCheck" in one])
def test_a_body_is_cut_not_refused_comes_as_bytes_and_fits_the_server(name: str) -> None:
    body = AUTHORIZERS[name]["includeRequestBodyInCheck"]

    assert set(body) == BODY_FIELDS
    assert body["allowPartialMessage"] is True  # without it a larger body gets 413, whatever failOpen says
    assert body["packAsBytes"] is True
    assert body["maxRequestBytes"] + HEADERS_BYTES <= Settings().max_message_bytes


@pytest.mark.parametrize("name", LOGS)
def test_an_access_log_has_fields_that_istio_knows(name: str) -> None:
    assert set(LOGS[name]) <= LOG_FIELDS


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_s_service_exists_once_and_has_its_port(name: str) -> None:
    provider: dict[str, Any] = AUTHORIZERS.get(name) or LOGS[name]

    # Without the namespace, a host in two of them makes Istio deny everything.
    assert provider["port"] in services()[provider["service"]]


def test_every_provider_that_a_policy_or_telemetry_names_is_defined() -> None:
    used = set()
    for place in ("overlays/protected", "overlays/sidecar"):
        for one in of_kind(build(place), "AuthorizationPolicy"):
            used.add(one["spec"]["provider"]["name"])
            assert one["spec"]["provider"]["name"] in AUTHORIZERS
        for one in of_kind(build(place), "Telemetry"):
            found = {provider["name"] for logging in one["spec"]["accessLogging"] for provider in logging["providers"]}
            used |= found
            assert found <= set(LOGS)

    assert used == set(PROVIDERS)


def test_a_custom_policy_is_not_a_dry_run_which_istio_would_ignore() -> None:
    for place in ("overlays/protected", "overlays/sidecar"):
        for one in of_kind(build(place), "AuthorizationPolicy"):
            assert one["spec"]["action"] == "CUSTOM"
            assert one["spec"]["rules"] == [{}]
            assert "istio.io/dry-run" not in one["metadata"].get("annotations", {})


def test_the_socket_of_the_sidecar_is_the_one_that_envoy_is_given() -> None:
    entry = named(build("mesh"), "ServiceEntry", "meshwarden-sidecar")["spec"]
    template = named(build("overlays/sidecar"), "Deployment", "cart")["spec"]["template"]
    [server] = [one for one in template["spec"]["containers"] if one["name"] == "authz-server"]
    [listen] = [one["value"] for one in server["env"] if one["name"] == "AUTHZ_LISTEN"]
    shared = yaml.safe_load(template["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"])

    assert [one["address"] for one in entry["endpoints"]] == [listen.replace("unix:", "unix://")]
    assert entry["resolution"] == "STATIC"
    assert len(entry["ports"]) == 1
    [(volume, mount)] = shared.items()
    assert {"name": volume, **mount} in server["volumeMounts"]
    assert listen == f"unix:{mount['mountPath']}/authz.sock"


def test_the_metrics_that_alerts_need_of_envoy_are_kept() -> None:
    [pattern] = MESH["defaultConfig"]["proxyStatsMatcher"]["inclusionRegexps"]

    for name in ("error", "failure_mode_allowed"):
        assert re.fullmatch(pattern, f"http.inbound_0.0.0.0_8080;.ext_authz.{name}")
    assert not re.fullmatch(pattern, "http.inbound_0.0.0.0_8080;.downstream_rq_2xx")


def test_the_one_envoy_filter_says_what_envoy_understands() -> None:
    [one] = of_kind(list(build_combination(("../protected", "streams"))), "EnvoyFilter")
    [patch] = one["spec"]["configPatches"]
    config = dict(patch["patch"]["value"]["typed_per_filter_config"]["envoy.filters.http.ext_authz"])

    assert config.pop("@type") == f"type.googleapis.com/{ExtAuthzPerRoute.DESCRIPTOR.full_name}"
    parsed = json_format.ParseDict(config, ExtAuthzPerRoute())
    assert parsed.check_settings.disable_request_body_buffering is True
