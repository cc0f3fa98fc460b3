"""Sigmoid and softmax are one thing: a sigmoid of z is a softmax of the scores (0, z).

A neuron with a sigmoid and a pair of neurons with a softmax give the same probabilities, the
same loss and, as only the difference of the two scores counts, the same difference of weights.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from fastnn import Network, functional

PICTURE = Path(__file__).parent / "pictures" / "sigmoid_is_softmax.png"


def main(picture=PICTURE):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    y = (X @ [2.0, -1.0] + rng.logistic(size=500) > 0).astype(int)

    sigmoid = Network([2, 1], loss="log_loss", dtype="float64", init="zeros")
    softmax = Network([2, 2], loss="cross_entropy", dtype="float64", init="zeros")
    settings = {"epochs": 30, "batch_size": None, "shuffle": False}
    first = sigmoid.fit(X, y, learning_rate=1.0, **settings)
    # A step moves both scores of the pair, so their difference moves twice as far.
    second = softmax.fit(X, y, learning_rate=0.5, **settings)

    difference = softmax.weights[0][:, 1] - softmax.weights[0][:, 0]
    print(f"weights of the sigmoid        {sigmoid.weights[0][:, 0]}")
    print(f"differences of the softmax's  {difference}")
    print(
        f"largest difference of the losses {np.abs(np.subtract(first.loss, second.loss)).max():.1e}"
    )
    assert np.allclose(sigmoid.weights[0][:, 0], difference)
    assert np.allclose(sigmoid.forward(X)[:, 0], softmax.forward(X)[:, 1])

    z = np.linspace(-6, 6, 121)
    pairs = np.column_stack([np.zeros_like(z), z])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(z, functional.sigmoid(z), color="#0072b2", lw=5, alpha=0.5, label="sigmoid(z)")
    left.plot(z, functional.softmax(pairs)[:, 1], "--", color="#d55e00", label="softmax(0, z)")
    left.set(xlabel="z", ylabel="probability")
    right.plot(first.loss, color="#0072b2", lw=5, alpha=0.5, label="log loss of the sigmoid")
    right.plot(second.loss, "--", color="#d55e00", label="cross-entropy of the softmax")
    right.set(xlabel="epoch", ylabel="mean loss")
    for ax in (left, right):
        ax.grid(alpha=0.25)
        ax.legend(frameon=False)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
