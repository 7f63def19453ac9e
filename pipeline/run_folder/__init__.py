"""The run folder of a build: what is frozen into it, which fleet writes which shard, where the files lie."""
