"""The data cards that are published with a zoo and with its pairs."""
