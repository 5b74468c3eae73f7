"""Executes pages two at a time, each with half of the cores, the last chapters, which take longest, first.

What a chapter computes at profile quick is too small for a second thread to gain much. Pages that were executed here
are found in the cache when they are read; one that failed is executed again there, and stops the build.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from jupyter_cache import get_cache
from jupyter_cache.executors.basic import ExecutionWorkerLocalSerial, ProcessData
from myst_nb.core.read import create_nb_reader
from sphinx.util import logging

logger = logging.getLogger(__name__)
AT_ONCE = 2


def execute(app, env, docnames) -> None:
    """Execute those of the pages to be read that are notebooks and not in the cache."""
    if app.config.nb_execution_mode != "cache":
        return
    cache = get_cache(app.config.nb_execution_cache_path)
    pages = []
    for path in map(env.doc2path, sorted(docnames, reverse=True)):
        reader = create_nb_reader(path, env.myst_config, env.mystnb_config, Path(path).read_text(encoding="utf-8"))
        if reader is not None:  # a page that computes
            how = {"read_data": reader.read_fmt} if reader.read_fmt else {}  # text, or a notebook file
            pages.append(cache.add_nb_to_project(path, **how).pk)
    wanted = cache.list_unexecuted(filter_pks=pages)
    threads = str(max(1, (os.cpu_count() or 1) // AT_ONCE))
    run = ExecutionWorkerLocalSerial(logger)
    with patch.dict(os.environ, {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda record: run(ProcessData(record.pk, record.uri, cache, app.config.nb_execution_timeout, False)), wanted))


def setup(app):
    app.connect("env-before-read-docs", execute)
    return {"version": "1", "parallel_read_safe": True}
