"""The charset that a page declares of itself (WHATWG HTML section 13.2.3.2, "prescan a byte stream")."""

from __future__ import annotations

import re

# Browsers look at 1,024 bytes before they parse, and take a meta element that comes later, too.
_WINDOW = 64 << 10
_SPACE = rb"\t\n\f\r "
_ATTRIBUTE = (
    rb"[" + _SPACE + rb"/]*+([^" + _SPACE + rb"/>][^" + _SPACE + rb"/>=]*+)"
    rb"(?:[" + _SPACE + rb"]*+=[" + _SPACE + rb"""]*+("[^"]*+"?+|'[^']*+'?+|[^""" + _SPACE + rb">]*+))?+"
)
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(rb"</?([A-Za-z][^" + _SPACE + rb"/>]*+)((?:" + _ATTRIBUTE + rb")*+)[" + _SPACE + rb"/]*+>?+")
_CONTENT = re.compile(
    rb"charset[" + _SPACE + rb"]*+=[" + _SPACE + rb"""]*+(?:"([^"]*+)"|'([^']*+)'|([^"'; \t\n\f\r][^; \t\n\f\r]*+))""",
    re.IGNORECASE,
)
_XML = re.compile(rb"""<\?xml\s[^>]*?\bencoding\s*+=\s*+["']([A-Za-z][\w.-]*+)""")


def declared_labels(data: bytes) -> list[str]:
    """The labels that the page's meta elements declare, in order, and then that of its XML declaration.

    A label in a comment, in an attribute of another element or in a meta element that is no `Content-Type` does not
    count.
    """
    window = data[:_WINDOW]
    labels = []
    position = 0
    while (position := window.find(b"<", position)) >= 0:
        if window.startswith(b"<!--", position):
            end = window.find(b"-->", position + 2)
            position = end + 3 if end >= 0 else len(window)
        elif tag := _TAG.match(window, position):
            position = tag.end()
            if tag[1].lower() == b"meta" and not tag[0].startswith(b"</"):
                labels.append(_meta_label(tag[2]))
        elif window[position + 1 : position + 2] in (b"!", b"/", b"?"):
            end = window.find(b">", position)
            position = end + 1 if end >= 0 else len(window)
        else:
            position += 1
    xml = _XML.match(window)
    labels.append(xml[1] if xml else b"")
    return [label.strip().decode("ascii") for label in labels if label.isascii() and label.strip()]


def _meta_label(attributes: bytes) -> bytes:
    values: dict[bytes, bytes] = {}
    for name, value in _ATTRIBUTES.findall(attributes):
        values.setdefault(name.lower(), value.strip(value[:1] if value[:1] in (b'"', b"'") else b""))
    if b"charset" in values:
        return values[b"charset"]
    if values.get(b"http-equiv", b"").strip().lower() != b"content-type":
        return b""
    found = _CONTENT.search(values.get(b"content", b""))
    return (found[1] or found[2] or found[3] or b"") if found else b""
