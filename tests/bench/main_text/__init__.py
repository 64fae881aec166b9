"""Fits the trees that choose a page's main text (`tasks/html/forest.npz`), and measures them on sites not seen."""
