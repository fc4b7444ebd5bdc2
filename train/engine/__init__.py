"""What runs a training: the loop, the weights' moving average, the run's log, the command line."""
