"""From other people's footage and data sets to the shards that every training stage reads."""
