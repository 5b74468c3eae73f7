"""One module a chapter: ``run(profile, ...) -> tidy frame``, resumable through the cell cache; and ``cells(profile,
...)``, the grid of cells that it is made of, where several workers can share it. ``python -m synaug.experiments`` tells
what is recorded and what is missing, and records in pieces."""
