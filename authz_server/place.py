"""Where a bundle lies: a local directory, or an fsspec URL. In: relative names. Out: bytes, whole or not at all.

Replacing a file is atomic in both: `rename` within a directory, a PUT on object storage. Names never lead out of the place.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from authz_server.engine.errors import BundleError, cut

__all__ = ["Place", "is_safe", "open_place"]

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\Z")
_MAX_PARTS: Final = 4


def is_safe(name: str) -> bool:
    """Tell whether a relative name stays inside: up to four parts of letters, digits, `.`, `_`, `-`, none begins with a dot."""
    parts = name.split("/")
    return len(parts) <= _MAX_PARTS and all(_PART.match(part) for part in parts)


class Place(Protocol):
    """What a bundle needs of the place it lies in. Names are relative and `is_safe`; everything that fails raises BundleError.

    `str` shows the place, without credentials.
    """

    def read(self, name: str, limit: int) -> bytes | None:
        """Read a file of at most `limit` bytes; None: there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Replace one file as a whole."""

    def add(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make the directory `name` of `files`; on a local disk it appears as a whole."""

    def names(self, name: str) -> list[str]:
        """List what is in a directory, sorted; nothing where there is none."""

    def remove(self, name: str) -> None:
        """Delete a directory and all in it."""

    def remove_stale(self, name: str, before: float) -> None:
        """Delete what an `add` to directory `name` that died before `before` (seconds since the epoch) left behind."""


def open_place(place: str | Path) -> Place:
    """Choose by the form: a text with `://` is an fsspec URL, anything else a directory, which need not exist."""
    return _Url(place) if isinstance(place, str) and "://" in place else _Directory(Path(place))


def _checked(name: str) -> str:
    if not is_safe(name):
        raise BundleError(f"expected a name inside the bundle, got {cut(name)!r}")
    return name


def _too_large(name: str, limit: int) -> BundleError:
    return BundleError(f"{name}: expected at most {limit:,} bytes, got more")


class _Directory:
    """A directory on a local (or mounted) disk. What it writes is synced before it becomes visible."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def read(self, name: str, limit: int) -> bytes | None:
        path = self._root / _checked(name)
        try:
            # Symlinks inside are how Kubernetes mounts ConfigMaps; one that leads out is somebody else's file.
            if not path.resolve(strict=True).is_relative_to(self._root.resolve()):
                raise BundleError(f"{name}: expected a file inside {self._root}, got a link out of it")
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError) as error:
            raise BundleError(f"{path}: expected a readable file: {error}") from error
        if len(data) > limit:
            raise _too_large(name, limit)
        return data

    def write(self, name: str, data: bytes) -> None:
        path = self._root / _checked(name)
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
            try:
                os.fchmod(descriptor, 0o644)
                _write_synced(descriptor, data)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            _sync(path.parent)

    def add(self, name: str, files: Mapping[str, bytes]) -> None:
        path = self._root / _checked(name)
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
            try:
                temporary.chmod(0o755)
                for file, data in files.items():
                    below = temporary / _checked(file)
                    below.parent.mkdir(exist_ok=True)
                    _write_synced(os.open(below, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), data)
                    _sync(below.parent)
                _sync(temporary)
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            _sync(path.parent)

    def names(self, name: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self._root / _checked(name)).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        path = self._root / _checked(name)
        with _disk(path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def remove_stale(self, name: str, before: float) -> None:
        for path in (self._root / _checked(name)).glob(".tmp-*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path)


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(f"{path}: expected to be able to write: {error.strerror or error}") from error


def _write_synced(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems can't
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Url:
    """A prefix on any fsspec file system. No directory appears as a whole there: its manifest comes last, `current` after it."""

    def __init__(self, url: str) -> None:
        import fsspec  # 40 ms, and only for those who use it

        self._url = re.sub(r"://[^/@]*@", "://", url)
        try:
            # No listings cache: what another process published must be seen.
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise BundleError(f"{self._url}: expected a URL that fsspec knows, with its package installed: {error}") from error
        self._root = str(root).rstrip("/")

    def __str__(self) -> str:
        return self._url

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            data: bytes = self._call("cat_file", _checked(name), end=limit + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise _too_large(name, limit)
        return data

    def write(self, name: str, data: bytes) -> None:
        self._call("pipe_file", _checked(name), data)

    def add(self, name: str, files: Mapping[str, bytes]) -> None:
        for file in sorted(files, key=lambda file: "/" not in file):
            self.write(f"{name}/{file}", files[file])

    def names(self, name: str) -> list[str]:
        try:
            found = self._call("ls", _checked(name), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._call("rm", _checked(name), recursive=True)

    def remove_stale(self, name: str, before: float) -> None:
        """Nothing: what died halfway has no manifest, and is written anew under the same name."""

    def _call(self, method: str, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._files, method)(f"{self._root}/{name}", *arguments, **options)
        except FileNotFoundError:
            raise
        except Exception as error:  # each store has its own exceptions
            raise BundleError(
                f"{self._url}/{name}: expected the store to answer: {type(error).__name__}: {cut(error)}"
            ) from error
