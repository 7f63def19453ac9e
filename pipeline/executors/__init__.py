"""Where fleets run: in processes of this machine or on a Ray cluster, and what is tried again."""
