"""What a changed recipe would keep, from the annotations that a lake has: no text is scored again."""
