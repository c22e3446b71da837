"""The exception tree of meshwarden; every error says what was expected and whose fault it is.

    MeshwardenError
    ├── SettingError      the operator's: a flag, an environment variable
    ├── PolicyError       the operator's: `enforcement.yaml`
    ├── BundleError       the publisher's: a bundle that is missing, damaged, too new or made under another key
    ├── StoreError        the disk's or the object store's
    ├── FormatError       the input's: a line or message that is not of the declared format
    ├── ClusterError      the Kubernetes API server's: it refused, something conflicts, or it is out of reach
    └── TrainingError     the data's: nothing to learn from, or not enough

Programming mistakes of ours stay built-in exceptions.
"""

__all__ = [
    "BundleError",
    "ClusterError",
    "FormatError",
    "MeshwardenError",
    "PolicyError",
    "SettingError",
    "StoreError",
    "TrainingError",
    "cut",
]

_SHOWN = 100


def cut(value: object) -> str:
    """Show `value` in an error, at most 100 characters of it."""
    text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


class MeshwardenError(Exception):
    """Anything meshwarden refuses, with every problem found, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class SettingError(MeshwardenError):
    """A setting is missing, malformed or contradicts another."""


class PolicyError(MeshwardenError):
    """The enforcement policy can't be read or says something impossible."""


class BundleError(MeshwardenError):
    """A bundle can't be used: missing, damaged, of another schema version, or learned under another hash key."""


class StoreError(MeshwardenError):
    """A place to read or write calls can't be used."""


class FormatError(MeshwardenError):
    """An input is not of the format it was declared to be."""


class ClusterError(MeshwardenError):
    """The Kubernetes API server refused, or it can't be reached."""


class TrainingError(MeshwardenError):
    """There is nothing to learn from, or not enough."""
