"""A stand-in for a Kubernetes API server: HTTP on loopback, objects in memory, server-side apply, and faults on demand.

It answers as the real one was seen to (knowledge of 1.36): 404 without namespace or CRD, 403 with the verb, 409 with
`causes[].field`, 422 for invalid values, 500 for fields that the schema doesn't know, 409 for a stale resourceVersion. What it
can't show: admission webhooks, list keys (AuthorizationPolicy has none), rights by name.
"""

import copy
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.trainer.policies.cluster.applied import Conflict, apply, update
from tests.trainer.policies.cluster.custom_resource import CustomResource

__all__ = ["ApiServer", "Asked", "api_server"]

_PLURALS = {"authorizationpolicies": "security.istio.io", "configmaps": "", "events": ""}
_NOW = "2026-11-21T12:00:00Z"


class Asked(dict[str, Any]):
    """One request: verb, plural, namespace, name, dry_run, force, manager, query."""

    @property
    def line(self) -> str:
        """For tests: "patch authorizationpolicies shop/cart (dry run)"."""
        at = "/".join([part for part in (self["namespace"], self["name"]) if part])
        return f"{self['verb']} {self['plural']} {at}{' (dry run)' if self['dry_run'] else ''}".strip()


class _Status(Exception):  # noqa: N818
    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None, **headers: str) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers
        self.body: Any = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }


class _NoSuchUrl(Exception):  # noqa: N818
    pass


class ApiServer:
    """Its objects, and what tests turn: `namespaces`, `installed` (plurals), `denied` ((verb, plural)), `faults`, `asked`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.namespaces = {"shop", "bank"}
        self.installed = set(_PLURALS)
        self.denied: set[tuple[str, ...]] = set()
        self.asked: list[Asked] = []
        self.faults: list[tuple[Callable[[Asked], bool], str, int]] = []
        self.resource = CustomResource.load()
        self._version = 100
        self._lock = threading.RLock()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        owner = self

        class Handler(_Handler):
            api = owner

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        server, self._server = self._server, None
        if server is None:
            return
        threading.Thread(target=server.shutdown, daemon=True).start()
        with_suppress(lambda: server.socket.shutdown(socket.SHUT_RDWR))  # close alone lets the thread that polls it go on
        server.socket.close()
        for one in list(self._connections):
            with_suppress(one.close)

    def when(self, matches: Callable[[Asked], bool] | str, how: str, times: int = 1) -> None:
        """Meet the next `times` requests that match (or whose line is so) with a fault.

        `lose`: do it, then drop the connection. `drop`: drop it undone. `die`: drop it undone, and listen no more. `slow`: do it,
        and answer after a second. A number: that status. `die after`: do it, then die.
        """
        test = matches if callable(matches) else lambda asked: asked.line == matches
        self.faults.append((test, how, times))

    def lines(self, *, dry: bool = False) -> list[str]:
        """Which writing requests came, those of Events, ConfigMaps and dry runs left out unless asked for."""
        return [
            one.line
            for one in self.asked
            if one["verb"] not in ("get", "list") and one["plural"] == "authorizationpolicies" and (dry or not one["dry_run"])
        ]

    def put(self, thing: dict[str, Any], manager: str = "kubectl") -> dict[str, Any]:
        """Apply an object as somebody else would, without asking."""
        with self._lock:
            at = ("authorizationpolicies", thing["metadata"]["namespace"], thing["metadata"]["name"])
            return self._store(at, apply(self.objects.get(at), thing, manager, force=True, now=_NOW))

    def policies(self) -> dict[str, dict[str, Any]]:
        """All policies, by "namespace/name", as an API server shows them."""
        return {
            f"{ns}/{name}": one for (plural, ns, name), one in sorted(self.objects.items()) if plural == "authorizationpolicies"
        }

    def events(self) -> list[dict[str, Any]]:
        """All Events, as they came."""
        return [one for (plural, _, _), one in self.objects.items() if plural == "events"]

    def kubeconfig(self, directory: Path) -> Path:
        """Write a kubeconfig with two contexts, `test` and `other`, the first of them current."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "ann", "user": {"token": "secret-token"}}],
            "contexts": [{"name": name, "context": {"cluster": "here", "user": "ann"}} for name in ("test", "other")],
        }
        path = directory / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def answer(self, asked: Asked, body: dict[str, Any] | None) -> tuple[int, Any]:
        """Do what was asked; raises _Status."""
        with self._lock:
            plural, verb = asked["plural"], asked["verb"]
            if plural not in self.installed:
                raise _NoSuchUrl
            self._authorize(asked)
            if verb == "list":
                return 200, self._list(asked)
            at = (plural, asked["namespace"], asked["name"])
            found = self.objects.get(at)
            if verb == "get":
                return 200, self._found(at, found)
            if verb == "delete":
                return 200, self._delete(at, self._found(at, found), body or {}, dry=asked["dry_run"])
            if asked["namespace"] not in self.namespaces:
                name = asked["namespace"]
                raise _Status(404, "NotFound", f'namespaces "{name}" not found', {"name": name, "kind": "namespaces"})
            assert body is not None
            new = self._changed(asked, at, found, body)
            if asked["dry_run"]:
                return 200, self._stamped(at, new, found)
            return (201 if found is None else 200), self._store((plural, asked["namespace"], new["metadata"]["name"]), new)

    def _authorize(self, asked: Asked) -> None:
        at = (asked["plural"], asked["namespace"], asked["name"])
        verbs = [asked["verb"]] + (["create"] if asked["verb"] == "patch" and at not in self.objects else [])
        for verb in verbs:
            if (verb, asked["plural"]) in self.denied or (verb, asked["plural"], asked["namespace"]) in self.denied:
                group = _PLURALS[asked["plural"]]
                where = f'in the namespace "{asked["namespace"]}"' if asked["namespace"] else "at the cluster scope"
                resource = f"{asked['plural']}.{group}" if group else asked["plural"]
                message = (
                    f'{resource} "{asked["name"]}" is forbidden: User "ann" cannot {verb} resource "{asked["plural"]}"'
                    f' in API group "{group}" {where}'
                )
                raise _Status(403, "Forbidden", message, {"name": asked["name"], "group": group, "kind": asked["plural"]})

    def _list(self, asked: Asked) -> dict[str, Any]:
        wanted = dict(one.split("=", 1) for one in asked["query"].get("labelSelector", "").split(",") if one)
        found = [
            one
            for (plural, namespace, _), one in sorted(self.objects.items())
            if plural == asked["plural"]
            and asked["namespace"] in ("", namespace)
            and wanted.items() <= (one["metadata"].get("labels") or {}).items()
        ]
        limit, start = int(asked["query"].get("limit", 0)) or len(found), int(asked["query"].get("continue", 0))
        after = {"continue": str(start + limit)} if start + limit < len(found) else {}
        items = [{name: value for name, value in one.items() if name not in ("kind", "apiVersion")} for one in found[start:]][
            :limit
        ]
        version = "v1" if not _PLURALS[asked["plural"]] else "security.istio.io/v1"
        return {
            "apiVersion": version,
            "kind": "List",
            "metadata": {"resourceVersion": str(self._version), **after},
            "items": items,
        }

    def _found(self, at: tuple[str, str, str], found: dict[str, Any] | None) -> dict[str, Any]:
        if found is None:
            details = {"name": at[2], "group": _PLURALS[at[0]], "kind": at[0]}
            raise _Status(404, "NotFound", f'{at[0]} "{at[2]}" not found', details)
        return found

    def _delete(self, at: tuple[str, str, str], found: dict[str, Any], body: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        for name, wanted in (body.get("preconditions") or {}).items():
            if found["metadata"][name] != wanted:
                message = f"Precondition failed: {name} in precondition: {wanted}, in object meta: {found['metadata'][name]}"
                raise _Status(409, "Conflict", f'Operation cannot be fulfilled on {at[0]} "{at[2]}": {message}')
        if not dry:
            del self.objects[at]
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _changed(
        self, asked: Asked, at: tuple[str, str, str], found: dict[str, Any] | None, body: dict[str, Any]
    ) -> dict[str, Any]:
        policy = asked["plural"] == "authorizationpolicies"
        label = f"{at[1]}/{body['metadata'].get('name')}; {body.get('apiVersion')}, Kind={body.get('kind')}"
        if asked["verb"] == "patch" and policy and (unknown := self.resource.unknown(body)):
            message = f"failed to create typed patch object ({label}): {unknown[0]}: field not declared in schema"
            raise _Status(500, "InternalError", message)
        if asked["verb"] == "create" and (at[0], at[1], body["metadata"]["name"]) in self.objects:
            raise _Status(409, "AlreadyExists", f'{at[0]} "{body["metadata"]["name"]}" already exists')
        if (
            asked["verb"] == "update"
            and body["metadata"].get("resourceVersion") != self._found(at, found)["metadata"]["resourceVersion"]
        ):
            message = (
                f'Operation cannot be fulfilled on {at[0]} "{at[2]}": the object has been modified; please apply your changes'
            )
            raise _Status(409, "Conflict", message)
        try:
            if asked["verb"] == "patch":
                new = apply(found, body, asked["manager"], force=asked["force"], now=_NOW)
            else:
                new = update(found, body, asked["manager"], now=_NOW)
        except Conflict as conflict:
            count = len(conflict.owners)
            version = body["apiVersion"]
            causes = [
                {"reason": "FieldManagerConflict", "message": f'conflict with "{owner}" using {version}', "field": field}
                for field, owner in conflict.owners.items()
            ]
            said = "; ".join(f'conflict with "{owner}" using {version}: {field}' for field, owner in conflict.owners.items())
            message = f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {said}"
            raise _Status(409, "Conflict", message, {"causes": causes}) from conflict
        if policy and (wrong := self.resource.problems(new)):
            causes = [{"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in wrong]
            said = ", ".join(f"{field}: {text}" for field, text in wrong)
            name = body["metadata"]["name"]
            raise _Status(
                422, "Invalid", f'AuthorizationPolicy.security.istio.io "{name}" is invalid: {said}', {"causes": causes}
            )
        return new

    def _stamped(self, at: tuple[str, str, str], new: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any]:
        new = copy.deepcopy(new)
        old: dict[str, Any] = (
            found["metadata"] if found else {"uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{at} {self._version}")), "generation": 0}
        )
        new["metadata"] |= {"uid": old["uid"], "creationTimestamp": _NOW, "resourceVersion": old.get("resourceVersion", "")}
        changed = found is None or found.get("spec") != new.get("spec")
        new["metadata"]["generation"] = old.get("generation", 0) + (1 if changed else 0)
        return new

    def _store(self, at: tuple[str, str, str], new: dict[str, Any]) -> dict[str, Any]:
        found = self.objects.get(at)
        if found is not None and found == new:
            return found
        new = self._stamped(at, new, found)
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        self.objects[at] = new
        return new

    def fault(self, asked: Asked) -> str:
        """Take the fault that a request meets; empty: none."""
        with self._lock:
            for number, (test, how, times) in enumerate(self.faults):
                if test(asked):
                    if times > 1:
                        self.faults[number] = (test, how, times - 1)
                    else:
                        del self.faults[number]
                    return how
            return ""


def with_suppress(action: Callable[[], None]) -> None:
    """Do what may fail because it is done already."""
    try:
        action()
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.api._connections.add(self.connection)

    def finish(self) -> None:
        self.api._connections.discard(self.connection)
        with_suppress(super().finish)

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        del args

    def do_GET(self) -> None:
        self._serve()

    do_PATCH = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        asked = self._asked()
        self.api.asked.append(asked)
        how = self.api.fault(asked)
        if how in ("drop", "die"):
            self._vanish(dies=how == "die")
            return
        if how.isdecimal():
            reason = {"429": "TooManyRequests", "503": "ServiceUnavailable"}.get(how, "InternalError")
            self._send(
                int(how), _Status(int(how), reason, f"told to answer {how}").body, {"Retry-After": "1"} if how == "429" else {}
            )
            return
        try:
            code, answer = self.api.answer(asked, body)
        except _Status as status:
            code, answer = status.code, status.body
        except _NoSuchUrl:
            code, answer = 404, "404 page not found\n"
        if how in ("lose", "die after"):
            self._vanish(dies=how == "die after")
            return
        if how == "slow":
            time.sleep(1.0)
        self._send(code, answer, {})

    def _asked(self) -> Asked:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts and parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name = [*parts, "", ""][:2]
        verbs = {"GET": "get" if name else "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        return Asked(
            verb=verbs[self.command],
            plural=plural,
            namespace=namespace,
            name=name,
            dry_run=query.get("dryRun") == "All",
            force=query.get("force") in ("true", "True"),
            manager=query.get("fieldManager", "unknown"),
            query=query,
            type=self.headers.get("Content-Type"),
        )

    def _vanish(self, *, dies: bool) -> None:
        self.close_connection = True
        if dies:
            self.api.stop()
        with_suppress(lambda: self.connection.shutdown(socket.SHUT_RDWR))

    def _send(self, code: int, answer: Any, headers: dict[str, str]) -> None:
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """Run one while the block runs."""
    server = ApiServer()
    try:
        yield server
    finally:
        server.stop()
