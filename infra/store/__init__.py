"""The lake: files, digests, parts, markers, manifests, names and the inventory of inputs.

Does not import Prefect, Ray or Arrow. The only package of ``infra`` that ``model`` may import.
"""
