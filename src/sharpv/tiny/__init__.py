"""Small models and a clip that need no download."""
