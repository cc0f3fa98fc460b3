"""Benchmarks of fastnn, one file per room, parameters from the package's own tables."""
