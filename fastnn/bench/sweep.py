"""The sweep: shapes between those of the tables, to find where fastnn falls behind.

Networks of one width throughout and two classes, trained by per-sample SGD or by Adam.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from fastnn.bench.cases import Table, name_of, some
from fastnn.bench.race import Case, Row
from fastnn.bench.tasks import Training

WIDTHS = (1, 3, 10, 32, 100, 316, 1024)
DEPTHS = (1, 2, 4)
BATCHES = (1, 8, 64, 512, 4096)
#: A grid for a first look.
QUICK_GRID: dict[str, Any] = {"widths": (1, 32, 316), "depths": (1, 4), "batches": (1, 64, 4096)}

#: Floating-point operations that an epoch should have, and the most steps and rows it may have.
OPERATIONS = 2e9
MOST_STEPS, MOST_ROWS = 500, 1 << 17


def sweep_table(
    dtype: str = "float32",
    widths: Iterable[int] = WIDTHS,
    depths: Iterable[int] = DEPTHS,
    batches: Iterable[int] = BATCHES,
) -> Table:
    """Return the table of a grid of widths, numbers of hidden layers, and batch sizes."""
    cases = []
    for width, depth, batch in itertools.product(widths, depths, batches):
        sizes = (*[width] * (depth + 1), 2)
        step = Training(sizes, batch).operations * batch
        steps = max(min(int(OPERATIONS / step), MOST_STEPS, MOST_ROWS // batch), 1)
        task = Training(
            sizes,
            batch * steps,
            "relu",
            dtype,
            optimizer="sgd" if batch == 1 else "adam",
            learning_rate=min(1e-3, 0.1 / width),
            batch_size=batch,
        )
        cases.append(Case(name_of(task), task))
    title = "per-sample SGD, or mini-batches with Adam: relu, softmax"
    return Table(title, "FMA peak", cases, some("jax jax-tuned torch"))


def behind(rows: Iterable[Row]) -> list[Row]:
    """Return the rows in which some peer was faster, the worst first."""

    def least(row: Row) -> float:
        found = (peer.ratio for peer in row.peers.values() if peer.ratio is not None)
        return min(found, default=1.0)

    return sorted((row for row in rows if least(row) < 1), key=least)
