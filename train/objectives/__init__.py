"""What is minimised: the losses and the three stages of the paper, and the pretraining of small networks."""
