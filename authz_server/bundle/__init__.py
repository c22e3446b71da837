"""The bundle: what was learned, on disk. `writer.py` publishes it, `reader.py` reads it, `directory.py` follows it.

    DIR/current                         a file with one word: the revision in force
    DIR/revisions/<revision>/manifest.json
    DIR/revisions/<revision>/workloads/<file>.json
    DIR/revisions/<revision>/workloads/<file>.description.json     facts for people, which the server doesn't read

A revision's directory never changes once it is there, and `current` is replaced as a whole, so a reader sees the old bundle or
the new one. `current` is a file and not a symlink, because it must survive object storage, ConfigMaps and Windows shares. A
directory that holds `manifest.json` itself (one revision, copied or mounted) is read as well. Every file's digest is checked,
nothing can execute. `manifest.py` knows where a revision lies and what makes its manifest credible.
"""

from authz_server.bundle.directory import BundleDirectory
from authz_server.bundle.manifest import revisions
from authz_server.bundle.reader import Bundle, load_bundle, read_description
from authz_server.bundle.writer import KEPT_REVISIONS, write_bundle

__all__ = ["KEPT_REVISIONS", "Bundle", "BundleDirectory", "load_bundle", "read_description", "revisions", "write_bundle"]
