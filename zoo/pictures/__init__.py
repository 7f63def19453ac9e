"""Pictures: pairs and photographs read from files, edited by a network, and measured."""
