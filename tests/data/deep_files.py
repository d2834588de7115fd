"""Writers of files with more than 8 bits, which Pillow cannot write."""

import struct
import zlib

import numpy as np


def netpbm(array: np.ndarray, maxval: int, plain: bool = False) -> bytes:
    magic = {(2, False): "P5", (2, True): "P2", (3, False): "P6", (3, True): "P3"}[array.ndim, plain]
    head = f"{magic}\n# a comment\n{array.shape[1]} {array.shape[0]}\n{maxval}\n".encode()
    if plain:
        return head + "\n".join(map(str, array.ravel())).encode() + b" # the end\n"
    return head + array.astype(">u2" if maxval > 255 else "u1").tobytes()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png16(array: np.ndarray, significant_bits: int | None = None, size: tuple[int, int] | None = None) -> bytes:
    """A 16-bit PNG file; ``size`` is the width and height that it claims."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if array.ndim == 2 else array.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    bits = b"" if significant_bits is None else chunk(b"sBIT", bytes([significant_bits] * (3 if colour & 2 else 1)))
    head = struct.pack(">IIBBBBB", *(size or (array.shape[1], array.shape[0])), 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + bits + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
