"""The first pass over wikitext: takes out what nests (templates, tables, links, elements of extensions) and comments.

One pass with a stack, as the preprocessor of MediaWiki (`includes/parser/Preprocessor_Hash.php`): an element of an
extension hides its content from everything else, and brackets belong to the innermost that is open. What is never
closed is text: MediaWiki shows its brackets, and we leave them out. Brackets that close nothing stay.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from tasks.wikitext.languages import LANGUAGES
from tasks.wikitext.site import Site, folded
from tasks.wikitext.tags import BLOCKS, EXTENSIONS, HIDDEN, INLINE, VERBATIM_SHOWN

# XML has none of these characters, so no page has them: the place where something was; what encloses the number of a
# text that stays as it is; the place of a mark of HTML or of a link, at which other marks end; a break inside a line.
GONE, OPEN, CLOSE, JOINT, BREAK = "\0", "\1", "\2", "\3", "\4"
# MediaWiki stops at 100 levels of nodes by default ($wgMaxPPExpandDepth); real pages have about 15.
MOST_NESTED = 200
_TOKEN = re.compile(
    r"<!--|</?[A-Za-z][A-Za-z0-9]*+|\{\{++|\}\}++|\[++|\]++|^[ \t:*#;]*+\{\||^[ \t]*+\|\}(?!\})", re.MULTILINE
)
_ADDRESS = re.compile(
    r"(?:(?:https?|ftps?|ircs?|gopher|telnet|nntp|worldwind|svn|git|mms|ssh)://|//|mailto:|news:|tel:|sms:|geo:|urn:)"
    r"[^\s\[\]<>\"\0-\x20]+",
    re.IGNORECASE,
)
_REST_OF_TAG = re.compile(r"(?=[\s/>])([^<>]*+)>")
_CLOSING = {name: re.compile(rf"</{name}\s*+>", re.IGNORECASE) for name in EXTENSIONS}
_IN_SHOWN = re.compile(r"</?nowiki\s*+/?>", re.IGNORECASE)
# A file whose namespace is not known: dumps without their head do not tell it.
_FILE = re.compile(
    r"[^:\n]*+:[^:\n]*\.(?:jpe?g|png|svg|gif|webp|tiff?|og[agv]|webm|mp3|wav|flac|midi?|pdf|djvu|xcf|stl)$", re.I
)
_OF_TABLE = re.compile(r"^[ \t:*#;]*+(?:\{\||[|!]).*+\n?", re.MULTILINE)
_REFERENCE = re.compile(r"&(?:#\d{1,8}|#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});")


class TooNested(Exception):
    """A page nests its markup too deeply."""


@dataclass(slots=True)
class Flat:
    """Text without nested markup. `kept` are the texts that stay as they are, each at its number between marks."""

    text: str
    kept: list[str]
    unclosed: int


@dataclass(slots=True)
class _Frame:
    """Something that is open: a template ("{", with `count` braces), a link ("["), an address ("h"), or a table."""

    kind: str
    count: int = 0
    opening: str = ""
    pieces: list[str] = field(default_factory=list)


def flatten(text: str, site: Site) -> Flat:
    """Take out what nests. Linear in the text, up to `MOST_NESTED` copies of it. Raises TooNested."""
    return _Flattener(text, site).run()


def resolve(text: str) -> str:
    """The text with the characters of its character references: those that end with a semicolon, as in MediaWiki."""
    return _REFERENCE.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text


class _Flattener:
    def __init__(self, text: str, site: Site) -> None:
        self._text, self._site = text, site
        self._stack = [_Frame("")]
        self._opened = {"{": 0, "[": 0, "h": 0, "table": 0, "|": 0}
        self._kept: list[str] = []
        self._unclosed = 0
        self._never: set[str] = set()  # names of elements that are not closed any more

    def run(self) -> Flat:
        text, position = self._text, 0
        while found := _TOKEN.search(text, position):
            self._add(text[position : found.start()])
            token, position = found[0], found.end()
            match token.lstrip(" \t:*#;")[0]:
                case "<":
                    position = self._comment(position) if token == "<!--" else self._tag(token, position)
                case "{" if token.endswith("|"):
                    self._push(_Frame("|", opening=token))
                case "{":
                    self._push(_Frame("{", len(token)))
                case "}":
                    self._close_braces(len(token))
                case "|":
                    self._close_table("|")
                case "[":
                    position = self._open_brackets(len(token), position)
                case "]":
                    self._close_brackets(len(token))
        self._add(text[position:])
        while len(self._stack) > 1:
            self._drop_frame()
        return Flat("".join(self._stack[0].pieces), self._kept, self._unclosed)

    def _add(self, piece: str) -> None:
        if piece:
            self._stack[-1].pieces.append(piece)

    def _push(self, frame: _Frame) -> None:
        if len(self._stack) > MOST_NESTED:
            raise TooNested(f"the markup is nested deeper than {MOST_NESTED} levels")
        self._stack.append(frame)
        self._opened[frame.kind] += 1

    def _pop(self) -> _Frame:
        frame = self._stack.pop()
        self._opened[frame.kind] -= 1
        return frame

    def _drop_frame(self) -> None:
        """The innermost frame was never closed: what it holds is text, without rows of tables and parameters."""
        frame = self._pop()
        self._unclosed += 1
        content = "".join(frame.pieces)
        if frame.kind == "h":
            content = frame.opening + content
        elif frame.kind in ("|", "{"):
            first, line_end, rest = content.partition("\n")
            if not self._opened["|"] and not self._opened["{"]:  # once for all that are open
                rest = _OF_TABLE.sub("", rest)
            content = ("" if frame.kind == "|" else first) + line_end + rest
        self._add(content)

    def _comment(self, position: int) -> int:
        """Without an end, a comment reaches to the end of the page."""
        end = self._text.find("-->", position)
        self._add(GONE)
        self._unclosed += end < 0
        return end + 3 if end >= 0 else len(self._text)

    def _tag(self, token: str, position: int) -> int:
        closing = token.startswith("</")
        name = token.lstrip("</").lower()
        known = name in EXTENSIONS or name in BLOCKS or name in INLINE or name == "table"
        rest = _REST_OF_TAG.match(self._text, position) if known else None
        if rest is None:
            self._add(token)
            return position
        position = rest.end()
        empty = rest[1].endswith("/")
        if name in EXTENSIONS:
            if not closing and not empty:
                return self._extension(name, rest[1], position)
            self._add(GONE if name in HIDDEN else JOINT)
            return position
        if name == "table":
            if closing:
                self._close_table("table")
            elif not empty:
                self._push(_Frame("table"))
        elif name in BLOCKS:
            self._add("\n* " if name == "li" and not closing else "\n")
        else:
            self._add(BREAK if name == "br" else JOINT)
        return position

    def _extension(self, name: str, attributes: str, position: int) -> int:
        end = None if name in self._never else _CLOSING[name].search(self._text, position)
        if end is None:
            self._never.add(name)
            self._unclosed += 1
            return position
        if name in HIDDEN:
            self._add(GONE)
            return end.end()
        content = self._text[position : end.start()]
        if name in VERBATIM_SHOWN:
            content = resolve(_IN_SHOWN.sub("", content) if name != "nowiki" else content)
        block = name == "pre" or "\n" in content.strip("\n") or (name in ("syntaxhighlight", "source"))
        block = block and name not in ("nowiki", "math", "chem", "ce") and "inline" not in attributes
        content = content.strip("\n") if block else content
        mark = f"{OPEN}{len(self._kept)}{CLOSE}" if content else ""
        self._kept += [content] if content else []
        self._add(f"\n{mark}\n" if block else mark)
        return end.end()

    def _close_braces(self, count: int) -> None:
        """Each three braces close a parameter, and each two a template, of the innermost that are open."""
        while count >= 2 and self._opened["{"]:
            while self._stack[-1].kind != "{":
                # In a template, nothing else shows.
                self._pop()
            frame = self._stack[-1]
            closed = min(count, frame.count, 3)
            count -= closed
            frame.count -= closed
            frame.pieces = [GONE]
            if frame.count < 2:
                self._pop()
                self._add("{" * frame.count + GONE)
        self._add("}" * count)

    def _open_brackets(self, count: int, position: int) -> int:
        address = _ADDRESS.match(self._text, position)
        count -= address is not None
        self._add("[" if count % 2 else "")
        for _ in range(min(count // 2, 2)):
            self._push(_Frame("["))
        if address is None:
            return position
        self._push(_Frame("h", opening=address[0]))
        return address.end()

    def _close_brackets(self, count: int) -> None:
        while count:
            kind = self._stack[-1].kind
            if kind == "h":
                inside_link = self._stack[-2].kind == "["
                broken = any("\n" in piece for piece in self._stack[-1].pieces)
                if broken or (inside_link and count == 2):
                    self._drop_frame()
                    continue
                label = "".join(self._pop().pieces).strip(" \t")
                self._add(JOINT + label + JOINT if label else GONE)
                count -= 1
            elif kind == "[" and count >= 2:
                self._add(self._link("".join(self._pop().pieces)))
                count -= 2
            else:
                self._add("]" * count)
                return

    def _link(self, content: str) -> str:
        target, _, label = content.partition("|")
        target = target.strip(" _\t\n" + GONE + JOINT)
        if target.startswith(":"):
            target = target[1:]
        else:
            space, colon, _ = target.partition(":")
            is_file = not self._site.namespaces and _FILE.match(target[:300])
            if colon and (is_file or space.strip().lower() in LANGUAGES or folded(space) in self._site.hidden):
                return GONE
        return JOINT + (label if label.strip(" \t\n" + GONE) else target) + JOINT

    def _close_table(self, kind: str) -> None:
        depth = len(self._stack) - 1
        while self._stack[depth].kind in ("[", "h"):
            depth -= 1
        if self._stack[depth].kind != kind:
            return
        while len(self._stack) > depth:
            self._pop()
        self._add(GONE)
