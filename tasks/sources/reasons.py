"""The closed lists of reasons for which records of a web archive are dropped or fail."""

from __future__ import annotations

from enum import StrEnum


class Unwanted(StrEnum):
    """Why an intact record is dropped."""

    warcinfo = "warcinfo"
    request = "request"
    metadata = "metadata"
    revisit = "revisit"
    resource = "resource"
    response = "response"
    conversion = "conversion"
    continuation = "continuation"
    arc_header = "arc_header"
    unknown_type = "unknown_type"
    not_http = "not_http"
    http_status = "http_status"
    not_html = "not_html"
    other_page = "other_page"
    empty_text = "empty_text"
    short_text = "short_text"


class Broken(StrEnum):
    """The fault of an archive or of one of its records."""

    not_an_archive = "not_an_archive"
    truncated = "truncated"
    corrupt_member = "corrupt_member"
    bad_checksum = "bad_checksum"
    stray_bytes = "stray_bytes"
    bad_header = "bad_header"
    bad_content_length = "bad_content_length"
    record_too_large = "record_too_large"
    bad_http_header = "bad_http_header"
    http_header_too_large = "http_header_too_large"
    bad_chunking = "bad_chunking"
    bad_content_encoding = "bad_content_encoding"
    unsupported_content_encoding = "unsupported_content_encoding"
    truncated_body = "truncated_body"
    body_too_large = "body_too_large"
    undecodable = "undecodable"
    extractor_error = "extractor_error"
    # Of dumps in archives.
    bomb = "bomb"
    encrypted = "encrypted"
    unsupported_method = "unsupported_method"
