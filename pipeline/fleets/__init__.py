"""Training: the shared base generator, and fleets of concepts on top of it."""
