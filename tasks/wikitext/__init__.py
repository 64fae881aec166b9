"""Text of MediaWiki pages: what a wiki calls its namespaces, and wikitext without its markup."""
