"""Templates of the cards (README.md) of what weightzoo publishes."""
