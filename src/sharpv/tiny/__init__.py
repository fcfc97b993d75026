"""Small models that need no download."""
