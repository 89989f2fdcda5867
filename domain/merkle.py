"""The Merkle tree of RFC 9162 §2.1 over SHA-256: roots, inclusion and consistency proofs, and their verification.

Entries are byte strings; hashes are 32 bytes. A *perfect* subtree of height h has 2^h leaves and begins at a multiple
of 2^h; it is named by height and number, `(0, n)` being the n-th leaf. Everything that is proved of a tree follows from
perfect subtrees, which never change once they are complete, so whoever keeps some of them can answer for any size.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves (§2.1.1)."""

Perfect = Callable[[int, int], bytes]
"""The hash of the perfect subtree of this height and number."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf (§2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (§2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The hash above neighbouring hashes of one height, whose number is a power of two."""
    level = list(hashes)
    while len(level) > 1:
        # What `node_hash` says, inlined: it is what most of the time of a tree goes into.
        level = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


class Tree:
    """A tree that grows at its right edge, kept as the hashes of its largest perfect subtrees, from left to right."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Goes on where a tree of `size` leaves had `peaks`, one for each bit set in `size`. Raises ValueError."""
        if len(peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(peaks)}")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """What to go on from."""
        return tuple(self._peaks)

    def append(self, hash_: bytes, height: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """Adds a leaf by its hash, or a perfect subtree by its hash and `height`.

        Yields what is complete now, bottom up, as height, number and hash; the first is what was added. The tree has
        grown only when all of it was taken. Raises ValueError where no subtree of this height can begin.
        """
        if self.size % (1 << height):
            raise ValueError(f"no subtree of height {height} begins at leaf {self.size}")
        number, at = self.size >> height, height
        yield at, number, hash_
        while number % 2:
            hash_, number, at = node_hash(self._peaks.pop(), hash_), number >> 1, at + 1
            yield at, number, hash_
        self._peaks.append(hash_)
        self.size += 1 << height

    def root(self) -> bytes:
        """MTH of the leaves so far (§2.1.1)."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found


def root(size: int, perfect: Perfect) -> bytes:
    """The root of the first `size` leaves (§2.1.1)."""
    return _range(0, size, perfect) if size else EMPTY_ROOT


def peaks(size: int, perfect: Perfect) -> list[bytes]:
    """What `Tree` goes on from at `size`."""
    heights = [h for h in reversed(range(size.bit_length())) if size >> h & 1]
    return [perfect(h, (size >> h) - 1) for h in heights]


def inclusion_proof(index: int, size: int, perfect: Perfect) -> list[bytes]:
    """PATH(index, D[size]) of §2.1.3.1, from the leaf to the root. Raises ValueError for a leaf that is not there."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            path.append(_range(middle, last, perfect))
            last = middle
        else:
            path.append(_range(first, middle, perfect))
            first = middle
    return path[::-1]


def consistency_proof(first: int, second: int, perfect: Perfect) -> list[bytes]:
    """PROOF(first, D[second]) of §2.1.4.1; empty for trees of one size, and for an empty first one.

    Raises ValueError when the first tree is the larger one.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} leaves does not grow out of one of {first}")
    proof: list[bytes] = []
    low, high, whole = 0, second, True
    while 0 < first < high:
        middle = low + _split(high - low)
        if first <= middle:
            proof.append(_range(middle, high, perfect))
            high = middle
        else:
            proof.append(_range(low, middle, perfect))
            low, whole = middle, False
    if not whole:
        proof.append(_range(low, high, perfect))
    return proof[::-1]


def proves_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root_: bytes) -> bool:
    """Whether `path` shows that the leaf of hash `leaf` is the `index`-th of a tree of `size` (§2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, found = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == root_


def proves_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `second` leaves begins with that of `first` (§2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first in (0, second):
        return not proof and first_root == (EMPTY_ROOT if first == 0 else second_root)
    steps = [first_root, *proof] if first.bit_count() == 1 else list(proof)
    if not steps:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    ours = theirs = steps[0]
    for step in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            ours, theirs = node_hash(step, ours), node_hash(step, theirs)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            theirs = node_hash(theirs, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and ours == first_root and theirs == second_root


def _range(first: int, last: int, perfect: Perfect) -> bytes:
    """MTH(D[first:last]) of §2.1.1, of a range that the definition cuts out of a tree."""
    count = last - first
    if count.bit_count() == 1:
        height = count.bit_length() - 1
        return perfect(height, first >> height)
    middle = first + _split(count)
    return node_hash(_range(first, middle, perfect), _range(middle, last, perfect))


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1
