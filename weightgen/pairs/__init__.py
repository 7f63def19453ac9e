"""Reading before/after pairs: what an edit does to photographs, beside or in place of what words say of it."""
