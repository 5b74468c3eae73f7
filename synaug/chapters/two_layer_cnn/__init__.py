"""Chapter 3: the theory of targeted augmentation in a network of two layers, and its mechanism in a real one."""
