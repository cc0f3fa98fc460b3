"""Those who race: fastnn, and the other libraries where they are installed."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from fastnn.bench.peers import fann, jax_scan, ours, scikit_learn, torch_loop
from fastnn.bench.timing import Contender


class Peer(NamedTuple):
    """A library that can do some of the tasks.

    Attributes
    ----------
    title : str
    missing : callable
        Returns why it cannot take part, or None.
    contender : callable
        Returns its way of doing a task, or None where it has none.
    task : callable
        Returns what it makes of a task; fastnn is then timed on that too.
    """

    title: str
    missing: Callable[[], str | None]
    contender: Callable[[Any], Contender | None]
    task: Callable[[Any], Any] = lambda task: task


PEERS: dict[str, Peer] = {
    "jax": Peer("JAX scan", jax_scan.missing, jax_scan.contender),
    "jax-tuned": Peer("JAX tuned", jax_scan.missing, partial(jax_scan.contender, tuned=True)),
    "torch": Peer("PyTorch", torch_loop.missing, torch_loop.contender),
    "sklearn": Peer("scikit-learn", scikit_learn.missing, scikit_learn.contender),
    "fann": Peer("FANN", fann.missing, fann.contender, fann.task),
}

our_contender = ours.contender
