"""Headers by which browsers run nothing that was stored here, and show it on no other page."""

from typing import Final

from werkzeug.datastructures import Headers

_DATA: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer, under which browsers send forms of this server's own pages as foreign.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def add_safety(headers: Headers) -> None:
    """Add the headers; a page has a Content-Security-Policy of its own already."""
    headers.setdefault("Content-Security-Policy", _DATA)
    headers.update(_ALWAYS)


def page_policy(style_hash: str) -> str:
    """Return the Content-Security-Policy of a page without scripts.

    Parameters
    ----------
    style_hash
        SHA-256 of the text of its only ``<style>``, in base64.
    """
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
