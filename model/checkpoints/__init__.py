"""Checkpoints in the lake: manifest, files, saving in the background, retention, and the space they need."""
