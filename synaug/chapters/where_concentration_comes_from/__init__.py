"""Chapter 4: where mode concentration comes from, in mixtures with an exact score, on real images with the exact score
of the training images themselves, and with real generators of different quality."""
