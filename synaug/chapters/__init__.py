"""The chapters: what each runs, and what it shows."""
