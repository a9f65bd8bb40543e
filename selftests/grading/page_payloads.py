"""Scripts and other content in submissions that must do nothing on a page that shows them.

Each would call a server, at `@url@` or by the JavaScript `@fire@`, and so tell that it ran or was loaded. `live`
payloads do so in a page of nbconvert's where nothing is cleaned, which a test checks. The others need a
click, a library from the network, a page that is parsed twice, or another browser.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import nbformat


@dataclass(frozen=True)
class Payload:
    """Content for one cell: an output's data by type, or the source of a text."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    kind: str = "markdown"
    attachments: dict[str, Any] = field(default_factory=dict)
    live: bool = True

    def fill_in(self, value: Any, address: str) -> Any:
        """Replace `@url@` and `@fire@` in the texts of JSON."""
        fire = f"fetch(`{address}/{self.name}`,{{mode:`no-cors`}})"
        if isinstance(value, dict):
            return {key: self.fill_in(part, address) for key, part in value.items()}
        if isinstance(value, list):
            return [self.fill_in(part, address) for part in value]
        if not isinstance(value, str):
            return value
        return value.replace("@url@", f"{address}/{self.name}").replace("@fire@", fire)

    def cell(self, address: str, shown: bool) -> nbformat.NotebookNode:
        """Return the cell; one that displays data has them as its output already if `shown`."""
        if self.data:
            data, metadata = self.fill_in(self.data, address), self.fill_in(self.metadata, address)
            code = (
                "from IPython.display import display\nimport json\n"
                f"display(json.loads({json.dumps(data)!r}), metadata=json.loads({json.dumps(metadata)!r}), raw=True)"
            )
            outputs = [nbformat.v4.new_output("display_data", data, metadata=metadata)] if shown else []
            return nbformat.v4.new_code_cell(code, outputs=outputs)
        source = self.fill_in(self.source, address)
        if self.kind == "raw":
            return nbformat.v4.new_raw_cell(source)
        return nbformat.v4.new_markdown_cell(source, attachments=self.fill_in(self.attachments, address))


def page(name: str, text: str, live: bool = True) -> Payload:
    """HTML that a cell displays."""
    return Payload(name, {"text/html": text, "text/plain": "HTML"}, live=live)


def text(name: str, source: str, live: bool = True, **about: Any) -> Payload:
    """A cell of markdown."""
    return Payload(name, source=source, live=live, **about)


PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PROPS = '{"attention": [[[1]]], "tokens": ["</script><script>@fire@</script>"]}'
LOADING_LAYOUT = {"images": [{"source": "@url@", "xref": "paper", "yref": "paper", "sizex": 1, "sizey": 1}]}
PLOTLY = "application/vnd.plotly.v1+json"

PAYLOADS = [
    page("script", "<script>@fire@</script>"),
    page("script-src", "<script src='@url@'></script>"),
    page("img-onerror", "<img src=x: onerror='@fire@'>"),
    page("svg-onload", "<svg onload='@fire@'></svg>"),
    page("svg-script", "<svg><script>@fire@</script></svg>"),
    page("svg-animate", "<svg><animate onbegin='@fire@' attributeName=x dur=1s></animate></svg>"),
    page(
        "svg-use", "<svg><use href='data:image/svg+xml,<svg id=x xmlns=http://www.w3.org/2000/svg/>#x'/></svg>", False
    ),
    page("details-ontoggle", "<details open ontoggle='@fire@'>x</details>"),
    page("iframe", "<iframe src='@url@'></iframe>"),
    page("iframe-srcdoc", "<iframe srcdoc='<script>@fire@</script>'></iframe>"),
    page("iframe-javascript", "<iframe src='javascript:@fire@'></iframe>"),
    page("iframe-data", "<iframe src='data:text/html,<script>@fire@</script>'></iframe>"),
    page("object", "<object data='@url@'></object>"),
    page("embed", "<embed src='@url@'>"),
    page("link-javascript", "<a href='javascript:@fire@'>click</a>"),
    page("link-entities", "<a href='java&#9;script&colon;@fire@'>click</a>"),
    page("link-data", "<a href='data:text/html,<script>@fire@</script>'>click</a>", False),
    page("style-import", "<style>@import url(@url@);</style>"),
    page("style-background", "<p style='background: url(@url@)'>x</p>"),
    page("style-cursor", "<p style='color: red; list-style: url(@url@); display: list-item'>x</p>"),
    page("style-expression", "<p style='width: expression(@fire@)'>x</p>", False),
    page("link-stylesheet", "<link rel=stylesheet href='@url@'>"),
    page("link-preload", "<link rel=preload as=image href='@url@'>"),
    page("form", "<form action='@url@' target=nowhere><input autofocus onfocus='@fire@'></form>"),
    page("formaction", "<form><button formaction='javascript:@fire@'>click</button></form>"),
    page("pixel", "<img src='@url@'>"),
    page("srcset", "<img srcset='@url@ 1x'>"),
    page("video", "<video poster='@url@'></video>"),
    page("audio", "<audio src='@url@' autoplay></audio>"),
    page("marquee", "<marquee onstart='@fire@'>x</marquee>", False),
    page("mutation-noscript", "<noscript><p title=\"</noscript><img src=x: onerror='@fire@'>\"></noscript>", False),
    page(
        "mutation-math",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x: onerror=\"@fire@\"&gt;'>",
        False,
    ),
    page("mutation-style", "<svg><style><img title='</style><img src=x: onerror=\"@fire@\">'></style></svg>", False),
    page("mutation-comment", "<!--> <img src=x: onerror='@fire@'> -->"),
    page("mutation-bang", "<!-- --!> <img src=x: onerror='@fire@'> -->"),
    page("mutation-textarea", "<textarea><p title=\"</textarea><img src=x: onerror='@fire@'>\"></textarea>", False),
    page("mutation-xmp", "<xmp><p title=\"</xmp><img src=x: onerror='@fire@'>\"></xmp>", False),
    page("mutation-unclosed", "<img src=x: onerror='@fire@' <p"),
    page("bootstrap", "<a data-toggle=tooltip data-html=true title='<img src=x: onerror=@fire@>'>x</a>", False),
    page("plotly-look-alike", "<script>@fire@; Plotly.newPlot('x', [], {})</script>"),
    page("plotly-call", '<script>@fire@; Plotly.newPlot("x", [{"x": [1], "y": [1]}], {"title": "x"}, {})</script>'),
    page(
        "circuitsvis-look-alike", '<script>@fire@; render("circuits-vis-1", AttentionHeads, {"attention": 1})</script>'
    ),
    page("view-call", f'<script>@fire@; render("circuits-vis-1", AttentionHeads, {PROPS})</script>'),
    Payload("plotly-loads", {PLOTLY: {"data": [{"y": [1, 2]}], "layout": LOADING_LAYOUT}}, live=False),
    Payload(
        "plotly-template",
        {PLOTLY: {"data": [{"y": [1, 2]}], "layout": {"template": {"layout": LOADING_LAYOUT}}}},
        live=False,
    ),
    Payload("plotly-image", {PLOTLY: {"data": [{"type": "image", "source": "@url@"}]}}, live=False),
    Payload("plotly-map", {PLOTLY: {"data": [{"type": "choropleth", "locations": ["x"], "z": [1]}]}}, live=False),
    Payload(
        "plotly-text",
        {
            PLOTLY: {
                "data": [{"y": [1], "text": ["</script><script>@fire@</script>"], "mode": "text"}],
                "layout": {"title": {"text": "<a href='javascript:@fire@'>x</a><img src=x: onerror='@fire@'>"}},
            }
        },
        live=False,
    ),
    Payload("javascript", {"application/javascript": "@fire@"}),
    Payload("output-markdown", {"text/markdown": "<script>@fire@</script>"}),
    Payload("output-latex", {"text/latex": "<script>@fire@</script> $\\href{javascript:@fire@}{x}$"}, live=False),
    Payload("output-text", {"text/plain": "<script>@fire@</script>"}, live=False),
    Payload(
        "output-svg",
        {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' onload='@fire@'><image href='@url@'/></svg>"},
        live=False,
    ),
    Payload("picture-width", {"image/png": PIXEL}, {"image/png": {"width": "1 onerror=@fire@"}}),
    Payload("picture-data", {"image/png": '"><script>@fire@</script>'}, live=False),
    Payload(
        "isolated", {"text/html": "<script>@fire@</script>"}, {"text/html": {"isolated": True}}, live=False
    ),  # in a frame whose address is data: it runs where the server allows it
    Payload(
        "widget",
        {"application/vnd.jupyter.widget-view+json": {"model_id": "x</script><script>@fire@</script>"}},
        live=False,
    ),
    text("text-script", "<script>@fire@</script>"),
    text("text-onerror", "Words <img src=x: onerror='@fire@'> around it"),
    text("text-link", "[click](javascript:@fire@)"),
    text("text-reference", "[click][it]\n\n[it]: javascript:@fire@"),
    text("text-autolink", "<javascript:@fire@>"),
    text("text-mermaid", "```mermaid\n<img src=x: onerror='@fire@'>\n```"),
    text("text-math", "$$<img src=x: onerror='@fire@'>$$ \n\n\\begin{a}<img src=x: onerror='@fire@'>\\end{a}", False),
    text("text-heading", "# <img src=x: onerror='@fire@'>"),
    text("text-table", "| a |\n| --- |\n| <img src=x: onerror='@fire@'> |"),
    text("text-picture", "![x](@url@)"),
    text(
        "text-attachment",
        "![x](attachment:x)",
        False,
        attachments={"x": {"image/svg+xml": '" onerror="@fire@" x="'}},
    ),
    text("text-after-blank", "<div>\n\n<img src=x: onerror='@fire@'>\n\n</div>"),
    text("text-raw", "<script>@fire@</script>", False, kind="raw"),
]
LEAVES = [
    page("meta-refresh", "<meta http-equiv=refresh content='0; url=@url@'>"),
    page("base", "<base href='@url@'>", False),
]
"""Payloads that leave the page, or change where its own links lead."""
OVERLAY = page("overlay", "<a href='https://example.org' class='navbar-fixed-top' style='position: fixed'>x</a>", False)

NAMES = ("<img src=x onerror=document.title='name'>", '"-(document.title="name")-"', "');document.title='name';('")
"""Names of students."""
