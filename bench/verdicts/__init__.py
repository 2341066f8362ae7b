"""How far the verdicts can be trusted: what cells really do, and what edits really change, beside the verdicts."""
