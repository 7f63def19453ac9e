"""The external edits: made with tools that no teacher uses, on photographs of their own, worded freely."""
