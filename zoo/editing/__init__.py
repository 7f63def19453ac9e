"""Editing more than one photograph with one network: folders of photographs, and films."""
