"""The start page: lists public volumes and links to the rest."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template

from werkzeug.wrappers import Response

from ndlambda import __version__
from ndlambda.errors import NotFoundError
from ndlambda.web.response.safety import page_policy
from ndlambda.web.routing import Context

_EMPTY = "<p>None yet. <code>ndlambda put FOLDER T/C --create --public</code></p>"
_HEADINGS = "<tr><th>token</th><th>voxels (x × y × z)</th><th>channels</th></tr>"
_MAX_ROWS = 50
_MAX_CHANNELS = 50


@cache
def _page() -> Template:
    return Template(resources.files("ndlambda.web.pages").joinpath("start.html").read_text("utf-8"))


@cache
def _policy() -> str:
    (style,) = re.findall("<style>(.*?)</style>", _page().template, re.DOTALL)
    return page_policy(b64encode(sha256(style.encode()).digest()).decode())


def get_page(context: Context) -> Response:
    """Show the start page to a browser."""
    catalog = context.runtime.catalog
    rows = []
    for name in catalog.lists.public_tokens()[:_MAX_ROWS]:
        try:
            view = catalog.project_view(name)
        except NotFoundError:  # deleted since the list was read
            continue
        size = " × ".join(map(str, view.dataset.imagesize_xyz))
        names = [channel.name for channel in view.some_channels(_MAX_CHANNELS + 1)]
        channels = ", ".join(
            [*names[:_MAX_CHANNELS], *(["…"] if len(names) > _MAX_CHANNELS else [])]
        )
        link = f'<a href="/sd/{escape(name)}/info/">{escape(name)}</a>'
        rows.append(f"<tr><td>{link}</td><td>{size}</td><td>{escape(channels)}</td></tr>")
    table = f"<table>{_HEADINGS}{''.join(rows)}</table>"
    page = _page().substitute(
        version=__version__,
        volumes=table if rows else _EMPTY,
        root=escape(context.request.root_url.rstrip("/")),
    )
    return Response(
        page,
        content_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _policy()},
    )
