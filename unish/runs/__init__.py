"""Results on disk: the folder of a result, what identifies it, and many clips in one run."""
