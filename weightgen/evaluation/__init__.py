"""Measuring starts on held-out concepts: at zero steps, and over the seconds of fine-tuning."""
