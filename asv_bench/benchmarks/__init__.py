"""Benchmarks of fastnn, one file per room of the package.

Beside them: `tables` has the parameters, from the package's own tables; `problems` the data;
`measure` and `reference` compare a job with a fixed amount of work, whatever else the machine does.
"""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path


def _stamp() -> str:
    """Return a hash of the installed package's kernels, which hold all that is compiled."""
    digest = hashlib.sha256()
    found = importlib.util.find_spec("fastnn")
    for folder in (found and found.submodule_search_locations) or ():
        for path in sorted(Path(folder, "kernels").glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


for _name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"
# In the environment's own folder, and apart for each version of the kernels: the first commits use
# Numba's cache, which runs another commit's machine code where only a callee's source has changed.
os.environ["NUMBA_CACHE_DIR"] = str(Path(sys.prefix, "numba-cache", _stamp()))
