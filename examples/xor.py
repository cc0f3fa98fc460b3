"""Why a neuron cannot do XOR, and three ways out.

A neuron cuts the plane along one line.  Polynomial features give it the product of the inputs,
the square activation lets hidden units make such products, and a hidden layer bends the line.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from fastnn import MLPClassifier, Network, SGDClassifier, plot

PICTURE = Path(__file__).parent / "pictures" / "xor.png"


def main(picture=PICTURE):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(600, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)

    neuron = Network([2, 1], loss="log_loss", random_state=0)
    neuron.fit(X, y, epochs=200, learning_rate=0.1)
    features = make_pipeline(
        PolynomialFeatures(degree=2, include_bias=False),
        SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=500, tol=None, random_state=0),
    ).fit(X, y)
    square = Network([2, 4, 1], activation="square", loss="log_loss", random_state=0)
    square.fit(X, y, epochs=200, optimizer="adam", batch_size=16)
    hidden = MLPClassifier((16,), activation="tanh", max_iter=500, tol=1e-3, random_state=0)
    hidden.set_params(learning_rate_init=0.02).fit(X, y)

    models = {
        "one neuron: one line": neuron,
        "x0 x1 as a feature": features,
        "square activation": square,
        "a hidden layer": hidden,
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 7.6), layout="constrained")
    for (name, model), ax in zip(models.items(), axes.flat, strict=True):
        plot.decision_boundary(model, X, y, ax=ax)
        ax.set_title(name)
        if isinstance(model, Network):
            accuracy = np.mean((model.forward(X)[:, 0] > 0.5) == y)
        else:
            accuracy = model.score(X, y)
        print(f"{name:22} accuracy {accuracy:.3f}")
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
