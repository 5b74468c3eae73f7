"""One module a chapter: ``run(profile, ...) -> tidy frame``, resumable through the cell cache."""
