"""Reads and writes weights in folders of Hugging Face's `transformers`, without that library.

`folder` handles such a folder, `plain` a folder in this project's format; both use `weights.Weights`. `configuration`
converts `config.json`. Each architecture declares its tensor names in its adapter
(`model.architectures.architecture.HuggingFaceAdapter`).
"""
