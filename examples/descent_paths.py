"""SGD, mini-batches and the full batch on one loss surface.

A neuron with one input has two parameters, so the loss over them is a landscape that can be
drawn, and each way of training a path on it.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from fastnn import Network

PICTURE = Path(__file__).parent / "pictures" / "descent_paths.png"
START = -3.0, 3.0


def path(X, y, batch_size, learning_rate, epochs):
    """Return the parameters after every step."""
    net = Network([1, 1], loss="log_loss", dtype="float64")
    net.parameters = START
    visited, rng = [net.parameters.copy()], np.random.default_rng(1)
    for _ in range(epochs):
        order = rng.permutation(len(X))
        for first in range(0, len(X), batch_size):
            rows = order[first : first + batch_size]
            net.fit(X[rows], y[rows], batch_size=None, learning_rate=learning_rate, shuffle=False)
            visited.append(net.parameters.copy())
    return np.array(visited)


def main(picture=PICTURE):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 1))
    y = (2 * X[:, 0] - 1 + rng.logistic(size=100) > 0).astype(float)
    paths = {
        "SGD, one row a step": (path(X, y, 1, 0.3, 4), "#d55e00", "-"),
        "mini-batches of 10": (path(X, y, 10, 1.0, 12), "#e69f00", "-"),
        "full batch": (path(X, y, 100, 3.0, 40), "#0072b2", "o-"),
    }

    w, b = np.meshgrid(np.linspace(-4, 5, 90), np.linspace(-4, 4, 80))
    net = Network([1, 1], loss="log_loss", dtype="float64")
    surface = np.empty_like(w)
    for place in np.ndindex(w.shape):
        net.parameters = w[place], b[place]
        surface[place] = net.loss(X, y)

    figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    ground = ax.contourf(w, b, surface, levels=25, cmap="Greys", alpha=0.75)
    figure.colorbar(ground, label="mean loss J(w, b)")
    for name, (visited, color, style) in paths.items():
        ax.plot(*visited.T, style, color=color, ms=3, lw=1.3, label=name)
        ax.plot(*visited[-1], "*", color=color, ms=13, mec="white")
        net.parameters = visited[-1]
        print(f"{name:20} {len(visited) - 1:4} steps, loss {net.loss(X, y):.4f}")
    lowest = np.unravel_index(surface.argmin(), surface.shape)
    print(f"{'lowest on the grid':20}             loss {surface[lowest]:.4f}")
    ax.plot(*START, "ks", ms=7, label="start")
    ax.set(xlabel="w", ylabel="b", xlim=(-4, 5), ylim=(-4, 4))
    ax.legend(loc="lower left")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
