"""Samples and their shards: schema, loading, augmentation, batches; preparation of data sets in `prepare`."""
