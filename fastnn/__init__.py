"""Small neural networks, trained faster than anything else on a CPU."""

__version__ = "0.1.0"
