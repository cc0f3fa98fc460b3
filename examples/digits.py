"""Handwritten digits end to end: split, scale, train, judge, look at what was wrong and why."""

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as Peer

from fastnn import MLPClassifier, input_gradients

PICTURE = Path(__file__).parent / "pictures" / "digits.png"


def main(picture=PICTURE):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    settings = {"hidden_layer_sizes": (64,), "max_iter": 60, "random_state": 0, "tol": 0.0}
    model = MLPClassifier(**settings, n_iter_no_change=60)
    model.fit(X_train[:100], y_train[:100])  # the kernels are compiled, or loaded, here
    for name, fitted in [
        ("fastnn", model),
        ("scikit-learn", Peer(**settings, n_iter_no_change=60)),
    ]:
        begin = time.perf_counter()
        try:
            fitted.fit(X_train, y_train)
        finally:
            seconds = time.perf_counter() - begin
        print(f"{name:13} test accuracy {fitted.score(X_test, y_test):.4f} in {seconds:.2f} s")

    predicted = model.predict(X_test)
    wrong = np.flatnonzero(predicted != y_test)[:5]
    saliency = np.abs(input_gradients(model, X_test[wrong], y_test[wrong]))
    figure, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained", squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for column, i in enumerate(wrong):
        axes[0, column].imshow(X_test[i].reshape(8, 8), cmap="gray_r")
        axes[0, column].set_title(f"a {y_test[i]}, read as {predicted[i]}", fontsize=10)
        axes[1, column].imshow(saliency[column].reshape(8, 8), cmap="viridis")
    axes[0, 0].set_ylabel("misread")
    axes[1, 0].set_ylabel("|dJ/dx|")
    figure.suptitle(f"{np.sum(predicted != y_test)} of {len(y_test)} test digits misread, and why")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)  # sixty epochs are what was asked for
    main(*sys.argv[1:])
