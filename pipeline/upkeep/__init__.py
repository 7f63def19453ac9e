"""Looking after a zoo: measuring a build before it runs, repairing a zoo, rebuilding a shard as a check."""
