"""Names of elements, and words of classes and ids that tell what an element is for, as tables for compiled code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from infra.compiled import njit

# FNV-1a of 64 bits (Fowler, Noll, Vo: the parameters of draft-eastlake-fnv, section 5).
FNV = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)

# Elements before and after which a browser breaks the line (WHATWG HTML section 15.3), and `br`.
_BLOCKS = (
    "address article aside blockquote body br caption center colgroup dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li listing main menu"
    " nav noscript ol optgroup option p plaintext pre search section summary table tbody td tfoot th thead tr ul xmp"
)
# What they contain is no text of the page: it is not shown, or is a control.
_SKIPPED = (
    "annotation annotation-xml area audio base button canvas datalist embed frame frameset head iframe input link map"
    " meta noembed noframes object param script select source style svg template textarea title track video"
)
_INLINE = "a b code em i img span strong u wbr"
_WITHOUT_END = "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
VOID = frozenset(_WITHOUT_END.split())
ELEMENTS = ("", *sorted({*_BLOCKS.split(), *_SKIPPED.split(), *_INLINE.split(), *VOID}))
ELEMENT = {name: number for number, name in enumerate(ELEMENTS)}

# Words of one line, and of the indented ones that go on with it, mean one thing; a word stands once. Sites name things
# in English, whatever language they write; the others are those of German, French, Spanish and Portuguese sites.
_WORDS = """
comment comments commentlist discussion disqus replies reply respond responses kommentar kommentare commentaire
  commentaires comentarios
share shares sharing sharebar sharedaddy social addthis facebook twitter whatsapp pinterest linkedin follow
  teilen partage partager compartir
related recommended recommendation recommendations recirc recirculation onward similar suggestions also readmore
  mehr verwandt weitere relacionadas
teaser teasers card cards tile preview promo promotion promoted
nav navigation navbar subnav menu menubar submenu breadcrumb breadcrumbs tab tabs
footer foot bottom colophon siteinfo fuss
header masthead topbar kopf top
sidebar aside side rail left right secondary
ad ads adslot adsense advert advertisement advertising sponsor sponsored banner outbrain taboola dfp gpt anzeige
  werbung publicite publicidad
newsletter subscribe subscription signup login register paywall regwall premium abo
cookie cookies consent gdpr privacy modal popup overlay lightbox dialog tooltip
meta metadata postmeta entrymeta info infos details
author authors byline bio vcard profile contributor autor auteur
date time published pubdate updated timestamp datum fecha
tag tags taglist category categories cat topics keywords labels taxonomy
caption figcaption credit photo image img picture gallery slideshow slider carousel figure thumbnail thumb bild
media video player audio podcast youtube
article articlecontent story artikel articulo
content contents inhalt contenu contenido conteudo
body articlebody bodytext bodycopy articletext storybody storytext
post entry single hentry postcontent entrycontent
blog
main primary maincontent
text txt copy paragraph richtext prose wysiwyg
title headline heading hed subhead subtitle titre titel titulo
lead lede intro summary abstract excerpt standfirst dek deck kicker description subheadline chapo vorspann
list lists items listing liste
item listitem
widget widgets module box panel plugin
block blocks component
search form input field fields suche
hidden hide invisible screen sr visually accessibility skip print noprint reader
pager pagination paging next prev previous
page pages
copyright legal disclaimer license imprint rights
rating ratings vote votes like likes score stars poll
review reviews
tool tools toolbar action actions button buttons btn control controls cta
link links url
toc index archive archives glossary
quote blockquote pullquote pull zitat
code highlight syntax source pre snippet
answer question message thread forum topic posts
product price shop cart buy store
table row cell grid
col column columns
recipe recipes ingredient ingredients instructions directions steps
popular trending latest recent hot mostread read
news
logo brand branding site icon icons
wrapper container wrap inner outer
section
inline embed embedded insert infobox
event calendar location contact address map
transcript lyrics
language lang translate translation
notice alert warning notification
correction note notes footnote footnotes reference references
series collection package
user users account member
sub extra additional
callout fact factbox
entries feed stream
download pdf file attachment
"""
MEANINGS = tuple(_WORDS.replace("\n  ", " ").strip().split("\n"))  # 64: a bit each
_SLOTS = np.uint64(2048)


def fnv1a(name: str) -> int:
    """FNV-1a of the name's UTF-8, as compiled code computes it."""
    value = int(FNV)
    for byte in name.encode():
        value = ((value ^ byte) * int(FNV_PRIME)) % 2**64
    return value


def flags_of_elements(names: str) -> npt.NDArray[np.bool_]:
    """For each element number, whether its name is among `names`, which spaces separate."""
    return np.isin(np.array(ELEMENTS), names.split())


def numbers_of_elements(numbers: Mapping[str, int]) -> npt.NDArray[np.int32]:
    """For each element number, the number that is given for its name; 0 for others."""
    return np.array([numbers.get(name, 0) for name in ELEMENTS], np.int32)


def _table(hashes: Mapping[int, int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
    keys, values = np.zeros(int(_SLOTS), np.uint64), np.full(int(_SLOTS), -1, np.int16)
    for key, value in hashes.items():
        slot = key % int(_SLOTS)
        while values[slot] >= 0:
            slot = (slot + 1) % int(_SLOTS)
        keys[slot], values[slot] = key, value
    return keys, values


IS_BLOCK, IS_SKIPPED, IS_VOID = map(flags_of_elements, (_BLOCKS, _SKIPPED, " ".join(sorted(VOID))))
_ELEMENT_KEYS, _ELEMENT_VALUES = _table({fnv1a(name): number for name, number in ELEMENT.items() if name})
_WORD_KEYS, _WORD_VALUES = _table({fnv1a(word): bit for bit, line in enumerate(MEANINGS) for word in line.split()})


@njit(cache=True)
def element_number(name: np.uint64) -> int:
    """The number of the element whose name has this hash; 0 for names that are not in the table."""
    slot = name % _SLOTS
    while _ELEMENT_VALUES[slot] >= 0:
        if _ELEMENT_KEYS[slot] == name:
            return int(_ELEMENT_VALUES[slot])
        slot = (slot + np.uint64(1)) % _SLOTS
    return 0


@njit(cache=True)
def meanings_of(source: npt.NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """A bit for each meaning among the words of `source[start:end]`, the value of a class or an id.

    Words end at what is no ASCII letter, and before a capital that follows a small letter. Between spaces, hyphens and
    underscores are also left out: `side-bar` is a `sidebar`, too.
    """
    meanings = np.uint64(0)
    word = joined = FNV
    letters = 0
    small = False
    for position in range(start, end + 1):
        byte = source[position] if position < end else np.uint8(32)
        capital = 65 <= byte <= 90
        letter = capital or 97 <= byte <= 122
        if not letter or (capital and small):
            if letters > 1:
                meanings |= _meaning(word)
            word, letters = FNV, 0
        if letter:
            word = (word ^ np.uint64(byte | 32)) * FNV_PRIME
            joined = (joined ^ np.uint64(byte | 32)) * FNV_PRIME
            letters += 1
        elif byte not in (45, 95):
            meanings |= _meaning(joined)
            joined = FNV
        small = bool(letter and not capital)
    return meanings


@njit(cache=True)
def _meaning(word: np.uint64) -> np.uint64:
    slot = word % _SLOTS
    while _WORD_VALUES[slot] >= 0:
        if _WORD_KEYS[slot] == word:
            return np.uint64(1) << np.uint64(_WORD_VALUES[slot])
        slot = (slot + np.uint64(1)) % _SLOTS
    return np.uint64(0)
