"""Estimators with scikit-learn's interface; the only folder that imports scikit-learn."""
