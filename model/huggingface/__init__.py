"""Weights to and from the folders of Hugging Face's `transformers`, without that library.

`folder` reads and writes such a folder, `plain` a folder of our own; both give and take `weights.Weights`. `names` and
`configuration` say what is called what there, `entries` reads a value of a `config.json`, and `pairs` turns LLaMA's
released rotation into the one used here.
"""
