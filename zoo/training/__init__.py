"""Training of GANs: one, or a fleet of them at once."""
