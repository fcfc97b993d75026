"""Thousands of clips: rows of a manifest in, a line of answer each out, by workers that may die."""
