"""Repositories of source code: their licences, and the headers of their files."""
