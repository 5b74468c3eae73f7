"""Distances between feature sets: what generated data keep of the real distribution, and what they lose."""

from synaug.metrics.frechet import frechet_distance
from synaug.metrics.neighbours import outer_edge_recall, prdc
