"""A dataset to batches: the epoch plan, Petastorm's reader in the plan's order, decode threads."""
