"""Removes from every page what would ask the network: the live-code widget (thebe), unused here."""


def names_thebe(asset) -> bool:
    """Whether a script or style sheet belongs to thebe, by its file name or its inline body."""
    body = getattr(asset, "attributes", {}).get("body") or ""
    return "thebe" in f"{getattr(asset, 'filename', asset)} {body}".lower()


def drop_thebe(app, pagename, templatename, context, doctree) -> None:
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context[kind] if not names_thebe(asset)]


def setup(app):
    app.connect("html-page-context", drop_thebe, priority=900)  # after thebe has added its files
    return {"version": "1", "parallel_read_safe": True}
