"""The tree of RFC 9162 §2.1: known answers, and laws against the definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import merkle
from domain.merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""The eight entries that implementations of RFC 6962 test with; first in google/certificate-transparency."""
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""Their roots, of the first 1 to 8 of them."""


def mth(entries: Sequence[bytes]) -> bytes:
    """The definition of §2.1.1, word by word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def over(entries: Sequence[bytes]) -> merkle.Perfect:
    """The perfect subtrees of a tree, by the definition."""

    def perfect(height: int, number: int) -> bytes:
        part = entries[number << height : (number + 1) << height]
        assert len(part) == 1 << height, "a subtree was asked for that is not complete"
        return mth(part)

    return perfect


def grown(entries: Sequence[bytes], tree: Tree | None = None) -> Tree:
    tree = tree or Tree()
    for entry in entries:
        for _ in tree.append(leaf_hash(entry)):
            pass
    return tree


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Tree().root() == EMPTY_ROOT == mth([])
    assert merkle.root(0, over([])) == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_the_known_trees_have_the_known_roots(size: int) -> None:
    assert grown(ENTRIES[:size]).root().hex() == ROOTS[size - 1]


def test_the_known_inclusion_proofs() -> None:
    """Of google/certificate-transparency: leaves 0 and 5 of 8, leaf 2 of 3, leaf 1 of 5."""
    known = {
        (0, 8): [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
        (5, 8): [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
        (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        (1, 5): [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    }
    for (index, size), path in known.items():
        assert [step.hex() for step in merkle.inclusion_proof(index, size, over(ENTRIES[:size]))] == path


def test_the_example_of_the_rfc() -> None:
    """§2.1.5: seven leaves; the proofs of d0, d3, d4 and d6, and from 3, 4 and 6 leaves to 7, by letter."""
    a, b, c, d, e, f = (leaf_hash(entry) for entry in ENTRIES[:6])
    j = leaf_hash(ENTRIES[6])
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, l = node_hash(g, h), node_hash(i, j)  # noqa: E741 - the RFC's letters
    perfect = over(ENTRIES[:7])
    assert merkle.inclusion_proof(0, 7, perfect) == [b, h, l]
    assert merkle.inclusion_proof(3, 7, perfect) == [c, g, l]
    assert merkle.inclusion_proof(4, 7, perfect) == [f, j, k]
    assert merkle.inclusion_proof(6, 7, perfect) == [i, k]
    assert merkle.consistency_proof(3, 7, perfect) == [c, d, g, l]
    assert merkle.consistency_proof(4, 7, perfect) == [l]
    assert merkle.consistency_proof(6, 7, perfect) == [i, j, k]


entries = st.lists(st.binary(max_size=3), min_size=1, max_size=70)


@given(entries, st.data())
def test_a_tree_is_its_definition_wherever_it_was_stopped(held: list[bytes], data: st.DataObject) -> None:
    """Going on from the peaks, at any leaf, is the same as never having stopped."""
    cut = data.draw(st.integers(0, len(held)))
    before = grown(held[:cut])
    after = grown(held[cut:], Tree(before.size, before.peaks))
    assert after.root() == mth(held) == merkle.root(len(held), over(held))
    assert list(after.peaks) == merkle.peaks(len(held), over(held))


@given(entries)
def test_what_an_append_yields_are_the_subtrees_it_completes(held: list[bytes]) -> None:
    tree, perfect, seen = Tree(), over(held), set()
    for entry in held:
        for height, number, hash_ in tree.append(leaf_hash(entry)):
            assert hash_ == perfect(height, number)
            seen.add((height, number))
    assert seen == {(h, n) for h in range(8) for n in range(len(held) >> h)}


@given(st.lists(st.binary(max_size=3), min_size=8, max_size=70))
def test_a_perfect_subtree_may_be_appended_whole(held: list[bytes]) -> None:
    whole = len(held) // 8 * 8
    tree = Tree()
    for first in range(0, whole, 8):
        for _ in tree.append(merkle.perfect_root([leaf_hash(e) for e in held[first : first + 8]]), 3):
            pass
    assert grown(held[whole:], tree).root() == mth(held)


def flipped(hash_: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, len(hash_) * 8 - 1))
    changed = bytearray(hash_)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def mutated(proof: list[bytes], data: st.DataObject) -> list[bytes]:
    """One step changed, left out, twice, swapped with another, or one too many."""
    at = data.draw(st.integers(0, len(proof)))
    ways: list[Callable[[], list[bytes]]] = [lambda: [*proof[:at], b"\x00" * 32, *proof[at:]]]
    if at < len(proof):
        ways += [
            lambda: [*proof[:at], flipped(proof[at], data), *proof[at + 1 :]],
            lambda: [*proof[:at], *proof[at + 1 :]],
            lambda: [*proof[: at + 1], *proof[at:]],
        ]
    return data.draw(st.sampled_from(ways))()


@given(entries, st.data())
def test_every_inclusion_proof_verifies_and_no_change_of_it_does(held: list[bytes], data: st.DataObject) -> None:
    size, index = len(held), data.draw(st.integers(0, len(held) - 1))
    leaf, root = leaf_hash(held[index]), mth(held)
    path = merkle.inclusion_proof(index, size, over(held))
    assert merkle.proves_inclusion(leaf, index, size, path, root)
    assert not merkle.proves_inclusion(leaf, index, size, mutated(path, data), root)
    assert not merkle.proves_inclusion(flipped(leaf, data), index, size, path, root)
    assert not merkle.proves_inclusion(leaf, index, size, path, flipped(root, data))
    other = data.draw(st.integers(-1, size + 1))
    if other != index and not (0 <= other < size and held[other] == held[index]):
        assert not merkle.proves_inclusion(leaf, other, size, path, root)


@given(entries, st.data())
def test_every_consistency_proof_verifies_and_no_change_of_it_does(held: list[bytes], data: st.DataObject) -> None:
    second, first = len(held), data.draw(st.integers(1, len(held)))
    old, new = mth(held[:first]), mth(held)
    proof = merkle.consistency_proof(first, second, over(held))
    assert merkle.proves_consistency(first, second, old, new, proof)
    assert not merkle.proves_consistency(first, second, old, new, mutated(proof, data))
    assert not merkle.proves_consistency(first, second, flipped(old, data), new, proof)
    assert not merkle.proves_consistency(first, second, old, flipped(new, data), proof)


@given(entries, st.data())
def test_no_proof_joins_a_log_to_one_that_was_rewritten(held: list[bytes], data: st.DataObject) -> None:
    """One entry below the first size changed: the honest proof of the new log does not lead from the old root."""
    first = data.draw(st.integers(1, len(held)))
    at = data.draw(st.integers(0, first - 1))
    rewritten = [*held[:at], held[at] + b"!", *held[at + 1 :]]
    proof = merkle.consistency_proof(first, len(held), over(rewritten))
    assert not merkle.proves_consistency(first, len(held), mth(held[:first]), mth(rewritten), proof)


def test_every_tree_grows_out_of_the_empty_one() -> None:
    assert merkle.consistency_proof(0, 5, over(ENTRIES)) == []
    assert merkle.proves_consistency(0, 5, EMPTY_ROOT, mth(ENTRIES[:5]), [])
    assert not merkle.proves_consistency(0, 5, mth(ENTRIES[:1]), mth(ENTRIES[:5]), [])
    assert not merkle.proves_consistency(3, 3, mth(ENTRIES[:3]), mth(ENTRIES[1:4]), [])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_of_a_leaf_that_is_not_there_is_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        merkle.inclusion_proof(index, size, over(ENTRIES))
    assert not merkle.proves_inclusion(leaf_hash(b""), index, size, [], leaf_hash(b""))


def test_what_cannot_be_a_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="2 peaks"):
        Tree(3, [b""])
    with pytest.raises(ValueError, match="height 3"):
        list(grown(ENTRIES[:1]).append(b"", 3))
    with pytest.raises(ValueError, match="does not grow"):
        merkle.consistency_proof(4, 3, over(ENTRIES))
    assert not merkle.proves_consistency(4, 3, b"", b"", [])
    assert not merkle.proves_consistency(2, 3, mth(ENTRIES[:2]), mth(ENTRIES[:3]), [])
