"""Edits as files of other programs: ONNX, look-up tables and a page for a browser."""
