"""Tuning with GridSearchCV: width and learning rate of a network, by cross-validation."""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

PICTURE = Path(__file__).parent / "pictures" / "grid_search.png"
WIDTHS = [2, 8, 32, 128]
RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def main(picture=PICTURE):
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(
        StandardScaler(), MLPClassifier(max_iter=40, early_stopping=True, random_state=0)
    )
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(width,) for width in WIDTHS],
        "mlpclassifier__learning_rate_init": RATES,
    }
    search = GridSearchCV(model, grid, cv=5, n_jobs=1).fit(X, y)
    best = {name.split("__")[1]: value for name, value in search.best_params_.items()}
    print(f"best of {len(search.cv_results_['params'])}: {best}, accuracy {search.best_score_:.4f}")

    scores = search.cv_results_["mean_test_score"].reshape(len(WIDTHS), len(RATES))
    figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
    image = ax.imshow(scores, cmap="viridis", aspect="auto")
    figure.colorbar(image, label="cross-validated accuracy")
    middle = (scores.min() + scores.max()) / 2
    for (i, j), score in np.ndenumerate(scores):
        color = "black" if score > middle else "white"
        ax.text(j, i, f"{score:.3f}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(RATES)), [f"{rate:g}" for rate in RATES])
    ax.set_yticks(range(len(WIDTHS)), [str(width) for width in WIDTHS])
    ax.set(xlabel="learning_rate_init", ylabel="hidden units")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)  # some of the grid are too slow
    main(*sys.argv[1:])
