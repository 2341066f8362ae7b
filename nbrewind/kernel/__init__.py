"""The kernel side: an IPython extension that audits, replays and restores cell runs."""
