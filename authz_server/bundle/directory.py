"""The bundle in force and how it follows its place: a new one is swapped in, a bad one keeps the old one in force."""

import contextlib
import gc
import logging
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from authz_server.bundle.manifest import fingerprint
from authz_server.bundle.reader import Bundle, load_in_force
from authz_server.engine.errors import BundleError
from authz_server.log import StateLog
from authz_server.place import open_place

__all__ = ["BundleDirectory"]

_RETRY_POLLS: Final = 10
"""A bad bundle that hasn't changed is tried again every so many polls: a synced directory may still be filling up."""


class BundleDirectory:
    """The bundle in force, `current`, and how it follows its place: `poll` is called by a Watch.

    `current` is replaced as a whole by one reference, so any thread may read it. A bad bundle, or one that vanished, keeps the
    old one; `problem` says why, empty when all is well. `failures` counts bad ones, `loaded_at` is when the one in force was
    loaded.
    """

    def __init__(
        self,
        place: str | Path | None,
        key_id: str,
        workloads: Collection[str] = (),
        on_change: Callable[[Bundle], None] | None = None,
    ) -> None:
        """Load for the first time; raises BundleError. `place` None: always the empty Bundle."""
        self.problem = ""
        self.failures = 0
        self.loaded_at = time.time()
        self._place = None if place is None else open_place(place)
        self._key_id = key_id
        self._workloads = frozenset(workloads)
        self._on_change = on_change
        self._log = logging.getLogger(__name__)
        self._state = StateLog(self._log, "bundle_refused", "bundle_accepted")
        self._polls_since_bad = 0
        self._seen = b"" if self._place is None else fingerprint(self._place)
        with _collector_paused():
            self.current = Bundle() if self._place is None else load_in_force(self._place, key_id, self._workloads, Bundle())

    def poll(self) -> bool:
        """Look at the place; return whether the bundle was replaced. Never raises BundleError."""
        if self._place is None:
            return False
        try:
            seen = fingerprint(self._place)
            if seen == self._seen and not self._due():
                return False
            self._seen = seen
            with _collector_paused():
                bundle = load_in_force(self._place, self._key_id, self._workloads, self.current)
        except BundleError as error:
            self._refuse(error)
            return False
        if not bundle.revision and self.current.revision:
            self._refuse(BundleError(f"{self._place}: expected a bundle, got none any more"))
            return False
        changed = bundle.revision != self.current.revision
        if changed:
            self.current = bundle
            self.loaded_at = time.time()
            if self._on_change is not None:
                self._on_change(bundle)
        self.problem = ""
        if not self._state.good(revision=bundle.revision) and changed:
            self._log.info("bundle_loaded", extra={"fields": {"revision": bundle.revision, "workloads": len(bundle.models)}})
        return changed

    def _due(self) -> bool:
        self._polls_since_bad += 1
        return bool(self.problem) and self._polls_since_bad >= _RETRY_POLLS

    def _refuse(self, error: BundleError) -> None:
        self._polls_since_bad = 0
        problem = str(error)
        if problem != self.problem:
            self.failures += 1
            self.problem = problem
        self._state.bad(problem, problems=error.problems[:20], in_force=self.current.revision)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking through the models that are being loaded, and later.

    They have no cycles, so reference counting frees them when they are replaced. Loading 9,600 parameters (7.4 MB, 64 MB decoded)
    in a second thread made a busy one wait up to 640 ms at a time, without the collector 10 to 40 ms (2026-11).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
