"""What a run says: tables as text, a line for each row as it is measured."""

from fastnn.bench.cases import Table
from fastnn.bench.race import Comparison, Row

#: Width of a column of numbers.
COLUMN = 14


def time_text(nanoseconds: float) -> str:
    """Return a time with three digits and its unit."""
    for unit, factor in (("ns", 1.0), ("us", 1e3), ("ms", 1e6)):
        if nanoseconds < 999.5 * factor:
            return f"{nanoseconds / factor:#.3g}".rstrip(".") + f" {unit}"
    return f"{nanoseconds / 1e9:#.3g}".rstrip(".") + " s"


def factor_text(ratio: float) -> str:
    """Return how many times as long something took."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"


def header(table: Table) -> str:
    """Return the lines above a table's rows."""
    titles = ["fastnn", *(peer.title for peer in table.peers.values()), "of limit"]
    columns = "".join(f"{title:>{COLUMN}}" for title in titles)
    return f"{table.title}\n{'':<{name_width(table)}}{columns}"


def name_width(table: Table) -> int:
    """Return the width of the column of names."""
    return max(len(case.name) for case in table.cases)


def line(table: Table, row: Row, goals: bool) -> str:
    """Return a row: the time of fastnn, how many times as long the others took, share of limit."""
    cells = [time_text(row.nanoseconds)]
    cells += [_cell(row.peers.get(key), goals) for key in table.peers]
    percent = "" if row.limit_percent is None else f"{row.limit_percent:.0f} %"
    cells.append(_with_goal(percent, row.limit_goal if goals else None))
    return f"{row.name:<{name_width(table)}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)


def _cell(comparison: Comparison | None, goals: bool) -> str:
    if comparison is None:
        return "-"
    if comparison.ratio is None:
        return "refused"
    return _with_goal(factor_text(comparison.ratio), comparison.goal if goals else None)


def _with_goal(text: str, goal: float | None) -> str:
    return text if goal is None else f"{text} of {goal:.3g}"


def footer(table: Table, rows: list[Row]) -> str:
    """Return the lines below a table's rows: its limit, refusals, first calls."""
    lines = [f"limit: {table.limit}"]
    for key, reason, row in refusals(rows):
        lines.append(f"refused: {table.peers[key].title} on {row.name}: {reason}")
    firsts = [f"fastnn {sum(row.first_call for row in rows):.1f} s"]
    for key, peer in table.peers.items():
        seconds = sum(row.peers[key].first_call for row in rows if key in row.peers)
        firsts.append(f"{peer.title} {seconds:.1f} s")
    lines.append(f"first calls (loading and compiling), all rows: {', '.join(firsts)}")
    return "\n".join(lines)


def refusals(rows: list[Row]) -> list[tuple[str, str, Row]]:
    """Return (peer, reason, row) of the comparisons that were refused."""
    return [
        (key, comparison.refused, row)
        for row in rows
        for key, comparison in row.peers.items()
        if comparison.refused is not None
    ]
