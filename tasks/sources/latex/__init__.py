"""LaTeX sources of papers as text: inputs inlined, comments removed, the author's macros expanded."""
