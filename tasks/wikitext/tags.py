"""The elements that wikitext knows: of extensions and of HTML. All other words in angle brackets are text."""

from __future__ import annotations

# What these hold shows no text of the page, or none that stands alone (MediaWiki core and the extensions of Wikipedia).
_HIDDEN = (
    "categorytree charinsert chart dynamicpagelist gallery graph hiero imagemap includeonly indicator inputbox "
    "mapframe maplink phonos ref references rss score seo templatedata templatestyles timeline title"
)
HIDDEN = frozenset(_HIDDEN.split())
# Their content is no wikitext. MediaWiki resolves character references in the second group when it shows them.
VERBATIM_SOURCE = frozenset({"math", "chem", "ce", "syntaxhighlight", "source"})
VERBATIM_SHOWN = frozenset({"nowiki", "pre", "code"})
VERBATIM = VERBATIM_SOURCE | VERBATIM_SHOWN
EXTENSIONS = HIDDEN | VERBATIM
# The tags go, and a line begins or ends where they stand.
_BLOCKS = (
    "blockquote caption center dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p poem tabber tbody td tfoot th thead tr ul"
)
BLOCKS = frozenset(_BLOCKS.split())
# The tags go.
_INLINE = (
    "abbr b bdi bdo big br cite data del dfn em font i ins kbd langconvert link mark meta noinclude onlyinclude q rb "
    "rbc rp rt rtc ruby s samp section small span strike strong sub sup time translate tt tvar u var wbr"
)
INLINE = frozenset(_INLINE.split())
