"""The audit: a scenario file becomes a grid of trials, trials become records, and records a summary and a report."""
