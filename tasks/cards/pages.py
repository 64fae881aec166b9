"""HTML pages of the Markdown of this room, in the style of the report; they load nothing."""

from __future__ import annotations

import jinja2
import markupsafe

from tasks.cards.markdown import to_html

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>{{ style }}</style></head><body><main>
{{ body }}</main></body></html>
"""


def page_of(title: str, markdown: str) -> str:
    """A text of `tasks.cards.markdown` as a page. Wide tables scroll inside themselves."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks.report", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    style = environment.get_template("style.html.j2").render(chart_style="")
    body = to_html(markdown).replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    # Both are made by this project; what comes from outside is escaped in the Markdown.
    safe = {"style": markupsafe.Markup(style), "body": markupsafe.Markup(body)}
    return environment.from_string(_PAGE).render(title=title, **safe)
