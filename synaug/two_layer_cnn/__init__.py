"""Targeted augmentation's theory as something to run: patch data, the two-layer CNN, its training, its theorems."""
