#!/usr/bin/env python3
"""Cut the committed part of Fashion-MNIST out of the official files.

    python3 make.py FOLDER     FOLDER holds the four official files, plain or gzipped

Takes the first 200 training and the first 50 test images of each class, kept in file order, and writes them next to
this script as gzipped IDX files under the official names. Needs nothing but Python 3.
"""

import gzip
import hashlib
import pathlib
import struct
import sys

# md5 of the official files, uncompressed.
OFFICIAL = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
PER_CLASS = {"train": 200, "t10k": 50}
CLASSES = 10
PIXELS = 28 * 28


def official(folder, name):
    plain, packed = folder / name, folder / (name + ".gz")
    raw = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    digest = hashlib.md5(raw).hexdigest()
    if digest != OFFICIAL[name]:
        sys.exit(f"{folder / name}: md5 {digest}, the official file has {OFFICIAL[name]}")
    return raw


def write(name, raw):
    path = pathlib.Path(__file__).parent / (name + ".gz")
    # No time stamp and no file name inside, so that a second run gives the same bytes.
    path.write_bytes(gzip.compress(raw, compresslevel=9, mtime=0))
    print(f"{path.name}: {len(raw)} bytes, {path.stat().st_size} compressed")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    for split, per_class in PER_CLASS.items():
        images = official(folder, f"{split}-images-idx3-ubyte")[16:]
        labels = official(folder, f"{split}-labels-idx1-ubyte")[8:]
        taken, chosen = [0] * CLASSES, []
        for index, label in enumerate(labels):
            if taken[label] < per_class:
                taken[label] += 1
                chosen.append(index)
        pixels = b"".join(images[PIXELS * i : PIXELS * (i + 1)] for i in chosen)
        write(f"{split}-images-idx3-ubyte", struct.pack(">IIII", 0x803, len(chosen), 28, 28) + pixels)
        write(f"{split}-labels-idx1-ubyte", struct.pack(">II", 0x801, len(chosen)) + bytes(labels[i] for i in chosen))


if __name__ == "__main__":
    main()
