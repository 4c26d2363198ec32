"""Files that once were valid."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

PNG = b"\x89PNG\r\n\x1a\n"
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Lengths and sizes that are rarely meant."""
Mutation = Callable[[bytes, bytes, random.Random], bytes]


def mutate(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """``content`` after one to three mutations; ``other`` is another valid file."""
    for _ in range(draw.randint(1, 3)):
        content = draw.choice(MUTATIONS)(content, other, draw)
    return content


def place(content: bytes, draw: random.Random) -> int:
    """A position; every second one is near the beginning or the end, where formats have tables."""
    if draw.random() < 0.5:
        return draw.randrange(len(content) + 1)
    near = min(len(content), draw.choice((16, 64, 256, 1024)))
    return draw.choice((draw.randint(0, near), len(content) - draw.randint(0, near)))


def flip_bits(content: bytes, other: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8) if content else 0):
        changed[min(place(content, draw), len(content) - 1)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwrite_number(content: bytes, other: bytes, draw: random.Random) -> bytes:
    start, size = place(content, draw), draw.choice((1, 2, 4, 8))
    number = draw.choice(EXTREMES) % 256**size
    order = draw.choice(("big", "little"))
    return content[:start] + number.to_bytes(size, order) + content[start + size :]


def cut_off(content: bytes, other: bytes, draw: random.Random) -> bytes:
    return content[: place(content, draw)]


def cut_out(content: bytes, other: bytes, draw: random.Random) -> bytes:
    start, end = sorted((place(content, draw), place(content, draw)))
    return content[:start] + content[end:]


def repeat(content: bytes, other: bytes, draw: random.Random) -> bytes:
    start, end = sorted((place(content, draw), place(content, draw)))
    return content[:end] + content[start:]


def splice(content: bytes, other: bytes, draw: random.Random) -> bytes:
    return other[: place(other, draw)] + content[place(content, draw) :]


def scramble_chunk(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Change a chunk of a PNG and make its checksum right, so that decoders look at it."""
    chunks = png_chunks(content)
    if not chunks:
        return flip_bits(content, other, draw)
    number = draw.randrange(len(chunks))
    kind, body = chunks[number]
    chunks[number] = kind, draw.choice((flip_bits, overwrite_number, cut_off))(body, other, draw)
    if draw.random() < 0.3:
        draw.shuffle(chunks)
    return PNG + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of the whole chunks of a PNG; none of another file."""
    chunks, start = [], len(PNG)
    while content.startswith(PNG) and start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        chunks.append((content[start + 4 : start + 8], content[start + 8 : end]))
        start = end + 4
    return chunks


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum


MUTATIONS: list[Mutation] = [
    *(flip_bits, overwrite_number, cut_off, cut_out, repeat, splice, scramble_chunk)
]
