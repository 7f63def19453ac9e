"""The concepts of a zoo: what edits there are, how they combine, and how people word them."""
