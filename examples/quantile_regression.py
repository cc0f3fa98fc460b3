"""A regression with its uncertainty: three networks for the 5 %, 50 % and 95 % quantiles."""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from fastnn import Network

PICTURE = Path(__file__).parent / "pictures" / "quantile_regression.png"


def sample(n, seed):
    """Return rows and values whose noise grows with x."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    y = np.sin(1.5 * x) + (0.1 + 0.15 * (x + 3)) * rng.normal(size=n)
    return x[:, None], y


def main(picture=PICTURE):
    X, y = sample(4000, seed=0)
    grid = np.linspace(-3, 3, 300)[:, None]
    curves, at_test = {}, {}
    X_test, y_test = sample(20000, seed=1)
    for quantile in (0.05, 0.5, 0.95):
        net = Network(
            [1, 32, 32, 1], activation="tanh", loss="quantile", loss_parameter=quantile,
            random_state=0,
        )  # fmt: skip
        net.fit(
            X, y, optimizer="adam", learning_rate=0.01, batch_size=64, epochs=80,
            schedule="cosine",
        )  # fmt: skip
        curves[quantile], at_test[quantile] = net.forward(grid)[:, 0], net.forward(X_test)[:, 0]
        below = np.mean(y_test < at_test[quantile])
        print(f"quantile {quantile:.2f}: {below:.3f} of 20,000 new values lie below the curve")
    inside = np.mean((y_test > at_test[0.05]) & (y_test < at_test[0.95]))
    print(f"the band holds {inside:.3f} of them (0.900 are meant to)")

    figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
    ax.plot(X[::4], y[::4], ".", ms=3, color="#888888", alpha=0.6, label="data")
    ax.fill_between(
        grid[:, 0], curves[0.05], curves[0.95], color="#0072b2", alpha=0.25,
        label="5 % to 95 %",
    )  # fmt: skip
    ax.plot(grid, curves[0.5], color="#0072b2", label="median")
    ax.plot(grid, np.sin(1.5 * grid), "--", color="#d55e00", lw=1.2, label="true median")
    ax.set(xlabel="x", ylabel="y")
    ax.grid(alpha=0.25)
    ax.legend(loc="upper left")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
