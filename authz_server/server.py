"""Wires everything and lives until SIGTERM: gRPC server, policy, bundle, recorder, decision log, metrics, admin.

Start-up fails closed: every problem of settings, policy, bundle and addresses at once. Shutting down drains: not ready first,
then Checks in flight end within the grace period, then what was recorded and logged is written.
"""

import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz_server import enforcement as enforcement_file
from authz_server import metrics as metric_names
from authz_server import settings as settings_module
from authz_server.access_log import AccessLogService
from authz_server.admin import Admin, Sources
from authz_server.afterwards import Afterwards
from authz_server.bundle import BundleDirectory
from authz_server.check import Checker
from authz_server.credentials import server_credentials
from authz_server.decision_log import DecisionLog
from authz_server.elsewhere import ALONE
from authz_server.enforcement import EnforcementFile
from authz_server.engine.call import Call
from authz_server.engine.errors import MeshwardenError, SettingError
from authz_server.engine.observe import Observer
from authz_server.engine.record import OutcomeRecord
from authz_server.engine.verdict import Verdict
from authz_server.histories.memory import MemoryHistories
from authz_server.histories.redis_elsewhere import RedisElsewhere
from authz_server.histories.redis_histories import RedisHistories
from authz_server.log import configure
from authz_server.metrics import Metrics
from authz_server.recorder import Recorder
from authz_server.segments import SegmentWriter
from authz_server.settings import Settings
from authz_server.watch import Watch

__all__ = ["Server", "serve"]

_STREAM_THREADS: Final = 128
"""Access log streams and health watches at a time; an Envoy holds one stream for each of its workers."""
_MAX_RPCS: Final = 4096
"""RPCs at a time, streams included; beyond that Envoy gets RESOURCE_EXHAUSTED at once and follows its failure mode."""
_LAST_OUTCOMES_SECONDS: Final = 1.5
"""How long a server that drains waits for the outcomes of its last calls: Envoy sends its access log every second by default."""
_ALERT_SECONDS: Final = 0.2
"""How often it is looked whether an alert is due."""
_SERVICE: Final = "envoy.service.auth.v3.Authorization"

_log = logging.getLogger(__name__)

Part = TypeVar("Part")


class Server:
    """One server, made ready by the constructor (which raises every problem at once), running between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._draining = threading.Event()
        self._observer = Observer(settings.hash_key)
        problems: list[str] = []
        policy = _try(problems, lambda: EnforcementFile(settings.policy, settings.mode, lambda _: self._relabel()))
        bundle = _try(
            problems,
            lambda: BundleDirectory(settings.bundle, self._observer.key_id, settings.workloads, lambda _: self._relabel()),
        )
        recorder = _try(problems, lambda: _recorder(settings, self._observer.key_id))
        log = _try(problems, lambda: DecisionLog(settings.decision_log, settings.decision_log_sample))
        admin = _try(problems, lambda: Admin(settings.admin, self._sources()) if settings.admin else None)
        server = _try(problems, lambda: self._grpc_server(settings))
        histories = _try(problems, lambda: _histories(settings))
        if problems or policy is None or bundle is None or log is None or server is None or histories is None:
            raise SettingError(*problems)
        self.policy, self.bundle, self.log, self.recorder, self.admin, self._grpc = policy, bundle, log, recorder, admin, server
        self.metrics = Metrics(lambda: {*self.bundle.current.models, *self.policy.current.workloads})
        self.histories = histories
        self._elsewhere = ALONE if settings.history == "memory" else RedisElsewhere(settings.history, _replica(settings))
        self.afterwards = Afterwards(lambda: self.bundle.current, lambda: self.policy.current, self._take_alert, self._elsewhere)
        self.checker = Checker(
            lambda: self.policy.current,
            lambda: self.bundle.current,
            self._observer,
            self.histories,
            self.afterwards,
            self._take_decision,
            self.metrics.error,
        )
        self._access_log = AccessLogService(self._take_outcome)
        self._health = health.HealthServicer()
        self._bind()
        self._watch = Watch(settings.watch_seconds, self.policy.poll, self.bundle.poll)
        self._alerts = Watch(_ALERT_SECONDS, self.afterwards.poll)

    def _grpc_server(self, settings: Settings) -> grpc.Server:
        """Make the gRPC server and bind its address; raises SettingError where that is impossible."""
        size = settings.max_message_bytes
        options = [("grpc.max_receive_message_length", size), ("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 64 * 1024)]
        pool = ThreadPoolExecutor(_STREAM_THREADS, thread_name_prefix="stream")
        server = grpc.server(pool, options=options, maximum_concurrent_rpcs=_MAX_RPCS)
        address = settings.listen
        if address.startswith("unix:"):
            _remove_stale_socket(Path(address.removeprefix("unix:")))
        try:
            credentials = server_credentials(settings)
            self.port = (
                server.add_secure_port(address, credentials) if credentials is not None else server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise SettingError(f"listen: expected an address that can be listened on, got {address!r}") from error
        return server

    def _bind(self) -> None:
        settings = self.settings
        pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="check")
        self._grpc.add_generic_rpc_handlers((self.checker.handler(pool), self._access_log.handler()))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        _pull(self)

    def start(self) -> None:
        """Begin to answer."""
        if self.recorder is not None:
            self.recorder.start()
        if self.admin is not None:
            self.admin.start()
        self._watch.start()
        self._alerts.start()
        if isinstance(self.histories, RedisHistories):
            self.histories.start()
        self._grpc.start()
        for service in ("", _SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        # Models and modules live as long as the process: keep the collector from walking through them during a Check.
        gc.collect()
        gc.freeze()
        fields = {"listen": self.settings.listen, "revision": self.bundle.current.revision, "pid": os.getpid()}
        _log.info("serving", extra={"fields": fields})

    def stop(self) -> None:
        """Drain and end: stop being ready, let Checks in flight end, hear how they ended, write what was recorded and logged."""
        self._draining.set()
        self._health.enter_graceful_shutdown()
        stopped = self._grpc.stop(self.settings.grace_seconds)
        if not stopped.wait(min(_LAST_OUTCOMES_SECONDS, self.settings.grace_seconds)):
            self._access_log.end_streams()
        stopped.wait()
        self._watch.close()
        if isinstance(self.histories, RedisHistories):
            self.histories.close()
        self._alerts.close()
        if isinstance(self._elsewhere, RedisElsewhere):
            self._elsewhere.close()
        if self.recorder is not None:
            self.recorder.close(max(5.0, self.settings.grace_seconds))
        self.log.close()
        if self.admin is not None:
            self.admin.close()
        _log.info("stopped", extra={"fields": {"pid": os.getpid()}})

    def _take_decision(self, verdict: Verdict, call: Call | None, seconds: float) -> None:
        self.metrics.observe(verdict, seconds)
        self.log.put(verdict, seconds)
        if self.recorder is not None and call is not None:
            self.recorder.put_call(call, verdict)

    def _take_outcome(self, record: OutcomeRecord) -> None:
        self.histories.settle(record)
        self.afterwards.settle(record)
        if self.recorder is not None:
            self.recorder.put_outcome(record)

    def _take_alert(self, verdict: Verdict) -> None:
        self.metrics.observe(verdict, None)
        self.log.put(verdict, 0.0)

    def _relabel(self) -> None:
        self.metrics.learn_workloads()
        gc.freeze()

    def _not_ready(self) -> list[str]:
        return ["draining"] if self._draining.is_set() else []

    def _sources(self) -> Sources:
        return Sources(
            lambda accept: self.metrics.expose(accept),
            self._not_ready,
            lambda n, denied: self.log.last(n, denied=denied),
            self._config,
        )

    def _config(self) -> dict[str, object]:
        bundle = self.bundle.current
        return {
            "settings": settings_module.to_public(self.settings),
            "key_id": self._observer.key_id,
            "policy": enforcement_file.to_public(self.policy.current),
            "policy_problem": self.policy.problem,
            "bundle": bundle.manifest,
            "bundle_problem": self.bundle.problem,
        }


def _try(problems: list[str], make: Callable[[], Part]) -> Part | None:
    """Make one part; a problem is noted, so that all of them are told at once."""
    try:
        return make()
    except MeshwardenError as error:
        problems.extend(error.problems)
        return None


def _recorder(settings: Settings, key_id: str) -> Recorder | None:
    if settings.record is None:
        return None
    return Recorder(
        SegmentWriter(
            settings.record,
            key_id,
            segment_seconds=settings.record_seconds,
            max_bytes=settings.record_max_bytes,
            spool=settings.record_spool,
        )
    )


def _histories(settings: Settings) -> MemoryHistories | RedisHistories:
    if settings.history == "memory":
        return MemoryHistories(time.time())
    return RedisHistories(settings.history, settings.history_timeout_ms / 1e3, settings.threads, _replica(settings))


def _replica(settings: Settings) -> str:
    return f"{socket.gethostname()} {settings.listen}"


def _remove_stale_socket(path: Path) -> None:
    if path.is_socket():
        path.unlink()
    elif path.exists():
        raise SettingError(f"listen: expected a socket or nothing at {path}, found a file")


def _pull(server: Server) -> None:
    """Say where the metrics that aren't counted on the request path are read from."""
    metrics, recorder, bundle = server.metrics, server.recorder, server.bundle
    if recorder is not None:
        metrics.pull("authz_recorder_queue_depth", lambda: recorder.queue_depth)
        metrics.pull("authz_recorder_dropped", lambda: {cause.value: n for cause, n in recorder.dropped.items()})
        metrics.pull("authz_recorder_written", lambda: recorder.written)
        metrics.pull("authz_recorder_uploads", lambda: {"ok": recorder.uploaded, "failed": recorder.upload_failures})
    metrics.pull("authz_decision_log_queue_depth", lambda: server.log.depth)
    metrics.pull("authz_decision_log_lines", lambda: server.log.written)
    metrics.pull("authz_decision_log_dropped", lambda: {"queue": server.log.dropped, "disk": server.log.failed})
    metrics.pull("authz_outcomes_received", lambda: server.histories.outcomes.joined + server.histories.outcomes.unknown)
    metrics.pull("authz_outcomes_joined", lambda: server.histories.outcomes.joined)
    metrics.pull("authz_alerts", lambda: server.afterwards.alerts)
    metrics.pull("authz_alerts_unsure", lambda: server.afterwards.unsure)
    metrics.pull("authz_callers", lambda: len(server.histories))
    if isinstance(server.histories, RedisHistories):
        _pull_history(metrics, server.histories)
    metrics.pull("authz_bundle_info", lambda: {bundle.current.revision: 1.0})
    metrics.pull("authz_bundle_created_seconds", lambda: bundle.current.manifest.created if bundle.current.manifest else 0.0)
    metrics.pull(
        "authz_bundle_age_seconds",
        lambda: metric_names.age(bundle.current.manifest.created) if bundle.current.manifest else 0.0,
    )
    metrics.pull("authz_bundle_workloads", lambda: len(bundle.current.models))
    metrics.pull("authz_bundle_load_failures", lambda: bundle.failures)
    metrics.pull("authz_policy_load_failures", lambda: server.policy.failures)


def _pull_history(metrics: Metrics, histories: RedisHistories) -> None:
    metrics.pull("authz_history_degraded", lambda: float(histories.degraded))
    metrics.pull("authz_history_faults", lambda: {fault.value: float(n) for fault, n in histories.faults.copy().items()})
    metrics.pull("authz_history_missed", lambda: histories.outcomes.missed)
    metrics.pull("authz_history_holes", lambda: histories.holes)
    metrics.pull("authz_history_dropped", lambda: histories.outcomes.dropped)
    metrics.pull("authz_history_queue_depth", lambda: len(histories.outcomes))
    metrics.pull("authz_history_round_trips", lambda: histories.trips[0])
    metrics.pull("authz_history_round_trip_seconds", lambda: histories.trips[1])


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain; raises SettingError, with every problem, where it can't start."""
    handler = configure(settings.log_level)
    server = Server(settings)
    server.metrics.pull("authz_log_dropped", lambda: handler.dropped)
    ended = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, lambda *_: server.log.reopen())
    server.start()
    while not ended.is_set():
        # A timeout, since an untimed wait isn't interrupted by signals on every platform.
        ended.wait(1.0)
    began = time.monotonic()
    server.stop()
    _log.info("drained", extra={"fields": {"seconds": round(time.monotonic() - began, 3)}})
    handler.close()
