"""Forms with files, as bytes: multipart/form-data as SDKs write it."""

from __future__ import annotations

__all__ = ["BOUNDARY", "CONTENT_TYPE", "field", "file", "form"]

BOUNDARY = b"----formdata-x7"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"


def field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file(data: bytes, filename: str = "a.wav", name: str = "file", content_type: str = "audio/x-wav") -> bytes:
    head = (
        f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {content_type}\r\n\r\n'
    )
    return head.encode() + data


def form(*parts: bytes) -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (BOUNDARY, part) for part in parts) + b"--%b--\r\n" % BOUNDARY
