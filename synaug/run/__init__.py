"""Experiments as lists of tasks: what is missing runs here or on a cluster, and what is done is kept."""
