"""A whole run: the machine's limits, then tables or the sweep, told line by line."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from fastnn.bench import report
from fastnn.bench.cases import TABLES, Table, make_table
from fastnn.bench.environment import one_core
from fastnn.bench.limits import bytes_per_second, operations_per_second
from fastnn.bench.peers import PEERS, Peer
from fastnn.bench.race import Row, race
from fastnn.bench.sweep import QUICK_GRID, behind, sweep_table

PRECISIONS = ("float32", "float64")


class Run:
    """Measures, and remembers what was measured.

    Parameters
    ----------
    rounds : int
        Turns of each contender.
    seconds : float
        Least time of the part of a turn that counts.
    peers : iterable of str
        Who takes part, of those that are installed.
    goals : bool
        Whether lines show what is aimed at.
    say : callable
        Takes each line as soon as it is known.

    Attributes
    ----------
    result : dict
        All numbers, for JSON.
    rows : list of Row
    """

    def __init__(
        self,
        *,
        rounds: int,
        seconds: float,
        peers: Iterable[str] = tuple(PEERS),
        goals: bool = False,
        say: Callable[[str], object] = print,
    ) -> None:
        self._speed: dict[str, Any] = {"rounds": rounds, "seconds": seconds}
        self._goals = goals
        self._say = say
        self._operations = {dtype: operations_per_second(dtype) for dtype in PRECISIONS}
        bandwidth = bytes_per_second()
        reasons = {key: PEERS[key].missing() for key in peers}
        self._absent = PEERS.keys() - {key for key, reason in reasons.items() if reason is None}
        missing = {PEERS[key].title: reason for key, reason in reasons.items() if reason}
        self.rows: list[Row] = []
        self.result: dict[str, Any] = {
            "machine": {
                "operations_per_second": self._operations,
                "bytes_per_second": bandwidth,
            },
            "rounds": rounds,
            "missing": missing,
        }
        rates = ", ".join(
            f"{rate / 1e9:.0f} GFLOP/s in {dtype}" for dtype, rate in self._operations.items()
        )
        say(
            f"one core: {rates} (multiply-adds on registers), {bandwidth / 1e9:.1f} GB/s read "
            "from memory"
        )
        for title, reason in missing.items():
            say(f"without {title}: {reason}")

    def tables(self, names: Iterable[str], dtype: str | None, quick: bool) -> None:
        """Measure tables; ``dtype`` is None for the usual one of each row."""
        found = self.result["tables"] = {}
        for name in names or TABLES:
            table = make_table(name, dtype, quick)
            rows: list[Row] = []
            if table.missing is None:
                rows = self._table(table)
            else:
                self._say(f"\n{table.title}\nnot measured: {table.missing}")
            found[name] = {
                "title": table.title,
                "limit": table.limit,
                "missing": table.missing,
                "rows": [dataclasses.asdict(row) for row in rows],
            }

    def sweep(self, dtype: str, quick: bool) -> None:
        """Measure the sweep, and say where fastnn is slower than a peer."""
        table = sweep_table(dtype, **QUICK_GRID if quick else {})
        rows = self._table(table)
        slower = behind(rows)
        self.result["sweep"] = {
            "rows": [dataclasses.asdict(row) for row in rows],
            "slower": [row.name for row in slower],
        }
        self._say(f"\nfastnn is slower than a peer in {len(slower)} of {len(rows)} shapes")
        for row in slower:
            self._say(report.line(table, row, False))

    def _table(self, table: Table) -> list[Row]:
        """Measure a table's rows."""
        peers: dict[str, Peer] = {
            key: peer for key, peer in table.peers.items() if key not in self._absent
        }
        table = dataclasses.replace(table, peers=peers)
        self._say(f"\n{report.header(table)}")
        rows = []
        for case in table.cases:
            operations = self._operations[case.task.dtype]
            with one_core() if table.threads == 1 else contextlib.nullcontext():
                row = race(case, peers, operations=operations, **self._speed)
            self._say(report.line(table, row, self._goals))
            rows.append(row)
        self._say(report.footer(table, rows))
        self.rows += rows
        return rows
