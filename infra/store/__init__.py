"""The lake: files, digests, parts, markers, manifests, names and the inventory of inputs.

Knows nothing of Prefect, Ray or Arrow; it is the one room of ``infra`` that ``model`` may import.
"""
