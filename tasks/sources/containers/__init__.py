"""The files inside archives: tar and zip, compressed or not, read as streams and never unpacked to a folder."""
