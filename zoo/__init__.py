"""A weight zoo: concepts, pairs, GANs, adapters, layouts, records, shards and manifests."""
