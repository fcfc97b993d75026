"""Pictures of what was kept, from reports and frames alone."""
