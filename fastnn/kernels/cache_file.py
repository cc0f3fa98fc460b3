"""The files of machine code: whole, or as good as absent."""

import hashlib
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


class CacheFile:
    """One file per compiled signature, named by a hash of all that its machine code depends on.

    Replaces Numba's ``IndexDataCacheFile``, whose shared index can pair one signature
    with another's code when two processes write at once.

    Parameters
    ----------
    folder, name, stamp : str
        The entries are ``folder/name-*.nbc``, of those with this stamp.
    serialize : callable
        Numba's way to make bytes of an entry, which `pickle` reads.
    """

    #: Entries of one kernel that are kept: precisions x CPU models x recent versions.
    KEEP = 24

    def __init__(
        self, folder: str, name: str, stamp: str, serialize: Callable[[Any], bytes]
    ) -> None:
        self._folder = Path(folder)
        self._name = name
        self._stamp = stamp
        self._serialize = serialize

    def _path(self, key: object) -> Path:
        digest = hashlib.sha256(f"{self._stamp}{key}".encode()).hexdigest()
        return self._folder / f"{self._name}-{digest[:24]}.nbc"

    def load(self, key: object) -> Any:
        """Return the entry, or None where it is absent or damaged."""
        try:
            found, data = pickle.loads(self._path(key).read_bytes())
        except Exception:  # a truncated pickle can raise anything
            return None
        return data if found == str(key) else None

    def save(self, key: object, data: object) -> None:
        """Write the entry in one step, then drop the oldest of its kernel."""
        path = self._path(key)
        temporary = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(self._serialize((str(key), data)))
            temporary.replace(path)
            entries = sorted(self._folder.glob(f"{self._name}-*.nbc"), key=_modified)
            for old in entries[: -self.KEEP]:
                old.unlink(missing_ok=True)
        except OSError:  # a full or read-only disk costs a recompilation, not the fit
            temporary.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
