"""Problems in closed form: the two-layer network of targeted augmentation, Gaussian mixtures, statistics of gradients."""
