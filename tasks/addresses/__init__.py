"""Lists of addresses, such as blocklists and opt-outs, and which entries of them are about a URL."""
