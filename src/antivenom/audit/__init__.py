"""The audit: a scenario file becomes a grid of trials, trials become records, records become a summary and a report."""
