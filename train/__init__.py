"""Training of UniSH: synthetic data, losses and loops. Depends on `unish`, never the other way round."""
