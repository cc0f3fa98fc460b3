"""``fastnn bench``."""

from collections.abc import Iterable

import click

from fastnn.cli import options

#: Turns of each contender, and the least seconds of a turn.
USUAL, QUICK, SWEEP = (7, 0.1), (3, 0.02), (3, 0.03)

#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Examples:
  fastnn bench                     all tables, some minutes
  fastnn bench samples batches     some of them
  fastnn bench --sweep             many shapes, about ten minutes: where is fastnn slower?
"""


def _tables() -> Iterable[str]:
    from fastnn.bench.cases import TABLES

    return TABLES


def _peers() -> Iterable[str]:
    from fastnn.bench.peers import PEERS

    return PEERS


@click.command(epilog=EXAMPLES, short_help="Race against other libraries on this machine.")
@click.argument("tables", nargs=-1, type=options.OneOf(_tables))
@click.option(
    "--dtype",
    type=options.PRECISION,
    help="Precision of every row.  [default: float32, but float64 where a row says so]",
)
@click.option("--rounds", type=options.COUNT, metavar="N", help="Turns of each.  [default: 7]")
@click.option("--peer", "peers", type=options.OneOf(_peers), multiple=True, help="Only this peer.")
@click.option("--quick", is_flag=True, help="Fewer rows and rounds: rough numbers soon.")
@click.option("--goals", is_flag=True, help="Show what is aimed at beside what is reached.")
@click.option("--sweep", is_flag=True, help="Instead, look for shapes where fastnn is slower.")
@options.json_option
def bench(
    tables: tuple[str, ...],
    dtype: str | None,
    rounds: int | None,
    peers: tuple[str, ...],
    quick: bool,
    goals: bool,
    sweep: bool,
    as_json: bool,
) -> None:
    """Race against other libraries on this machine, each on one thread.

    Where the system can (Linux), all are kept to one core, as some ignore settings of threads; but
    for the tables that are about threads.

    All are given the same rows, initial weights, orders and hyper-parameters, and a comparison is
    refused where the losses after training differ.  They take turns in one process.  Shown are the
    time of a row in fastnn and how many times as long the others took, medians of the rounds.

    Exit code 1 if a comparison was refused.
    """
    if sweep and tables:
        raise click.UsageError("--sweep has a table of its own; leave out the names of tables")
    from fastnn.bench import environment

    if not environment.is_one_thread():
        click.get_current_context().exit(environment.restart())

    from fastnn.bench.peers import PEERS
    from fastnn.bench.report import refusals
    from fastnn.bench.run import Run
    from fastnn.cli.display import print_json

    usual = SWEEP if sweep else QUICK if quick else USUAL
    run = Run(
        rounds=rounds or usual[0],
        seconds=usual[1],
        peers=peers or PEERS,
        goals=goals,
        say=(lambda text: None) if as_json else click.echo,
    )
    if sweep:
        run.sweep(dtype or "float32", quick)
    else:
        run.tables(tables, dtype, quick)
    if as_json:
        print_json(run.result)
    if refusals(run.rows):
        click.get_current_context().exit(1)
