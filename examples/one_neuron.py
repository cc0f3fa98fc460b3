"""One neuron by hand: the derivation in NumPy, line by line, beside what fastnn does."""

import sys
from pathlib import Path

import numpy as np

from fastnn import Network, explain, plot

PICTURE = Path(__file__).parent / "pictures" / "one_neuron.png"


def main(picture=PICTURE):
    x, y, alpha = np.array([1.5, -0.5]), 1.0, 0.4
    w, b = np.array([-0.4, 0.8]), 0.1

    z = x @ w + b
    a = 1 / (1 + np.exp(-z))
    J = -(y * np.log(a) + (1 - y) * np.log(1 - a))
    dJ_da = (a - y) / (a * (1 - a))
    da_dz = a * (1 - a)
    dJ_dw = dJ_da * da_dz * x
    dJ_db = dJ_da * da_dz
    w_new, b_new = w - alpha * dJ_dw, b - alpha * dJ_db
    print(f"by hand: J = {J:.6f}, w_new = {w_new}, b_new = {b_new:.6f}\n")

    neuron = Network([2, 1], loss="log_loss", dtype="float64")
    neuron.parameters = [*w, b]
    trace = explain(neuron, x, y, learning_rate=alpha)
    print(trace)

    neuron.step(x, y, learning_rate=alpha)
    assert np.allclose(neuron.parameters, [*w_new, b_new], rtol=1e-14)
    plot.explain(trace).figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
