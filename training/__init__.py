"""How the model in the box was made. Not part of the package; see README.md."""
