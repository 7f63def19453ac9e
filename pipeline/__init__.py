"""Builds the model zoo: photographs, concepts, teachers, base generator, fleets, executors."""
