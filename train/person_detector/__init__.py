"""Training and evaluation of the bundled person detector."""
