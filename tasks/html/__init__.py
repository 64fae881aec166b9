"""The main text of web pages: blocks of text, what is known of each, and trees that choose among them."""
