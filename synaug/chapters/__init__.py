"""The chapters of the book: ``<stem>.py`` and ``<stem>_figures.py``, with the stem of the notebook."""
