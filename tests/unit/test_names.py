"""Names are DNS labels, on every way in."""

from __future__ import annotations

import msgspec
import pytest

from banger.kernel.errors import UsageError
from banger.model.names import VmName, check_name, make_up_name


class Named(msgspec.Struct):
    name: VmName


@pytest.mark.parametrize("name", ["a", "0", "web-1", "a--b", "x" * 63, "1" + "-" * 61 + "1"])
def test_legal_names(name: str) -> None:
    assert check_name("VM", name) == name
    assert msgspec.convert({"name": name}, Named).name == name


BAD_NAMES = ["", "-", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "x" * 64, "a/../b", "a\0"]
BAD_NAMES += ["a\n", "\na", "a\nb", "\u0661", "a\u200b", "a\r"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_illegal_names(name: str) -> None:
    with pytest.raises(UsageError, match="not a legal VM name") as caught:
        check_name("VM", name)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": name}, Named)


def test_long_name_is_cut_in_the_message() -> None:
    with pytest.raises(UsageError) as caught:
        check_name("image", "x" * 10_000)
    assert len(caught.value.message) < 150


def test_made_up_names_are_legal_and_free() -> None:
    taken: set[str] = set()
    for _ in range(500):
        name = make_up_name(taken)
        assert name not in taken
        taken.add(check_name("VM", name))


def test_name_is_found_when_all_pairs_are_taken() -> None:
    class Pairs:
        def __contains__(self, name: object) -> bool:
            return str(name).count("-") == 1

    name = make_up_name(Pairs())
    assert check_name("VM", name).count("-") == 2
