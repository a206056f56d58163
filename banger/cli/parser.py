"""From the words behind a command's name to its parameters.

As getopt_long has it: options may stand between arguments, ``--`` ends them, ``--flag=VALUE`` and
``-fVALUE`` are one word, and short flags without values may be joined, ``-tu root``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from banger.cli.parameters import metavar
from banger.kernel.errors import UsageError
from banger.model.command import Argument, Kind, Option

DASHES = "--"


class Found(NamedTuple):
    """A word, and which of the line it is, or is a part of."""

    text: str
    at: int


class Parser:
    """Of the options and arguments that a command declares."""

    def __init__(
        self,
        options: Iterable[Option],
        arguments: Sequence[Argument],
        *,
        dashes_split: bool = False,
        more: Callable[[], Iterable[Option]] = tuple,
    ) -> None:
        """``dashes_split`` as in `Command`.

        ``more`` has further options; it is called once, at the first flag that is unknown.
        """
        self._arguments = arguments
        self._dashes_split = dashes_split
        self._more: Callable[[], Iterable[Option]] | None = more
        self._options: list[Option] = []
        self._flags: dict[str, tuple[Option, bool]] = {}
        self._add(options)

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """A value for each option and argument by name, the default of those not given.

        Raises `UsageError` with the word at fault, where one is.
        """
        values: dict[str, Any] = {}
        plain: list[Found] = []
        line = _Line(words)
        while (found := line.next()) is not None:
            if found.text == DASHES:
                break
            if len(found.text) < 2 or not found.text.startswith("-"):
                plain.append(found)
            elif found.text.startswith(DASHES):
                self._take_long(found, line, values)
            else:
                self._take_short(found, line, values)
        behind = line.rest()
        if self._dashes_split:
            arguments = self._split(plain, behind, dashed=found is not None)
        else:
            arguments = self._share(plain + behind)
        unsaid = {o.name: _default(o) for o in self._options if o.name not in values}
        return values | unsaid | arguments

    # --- options ---

    def _add(self, options: Iterable[Option]) -> None:
        for option in options:
            self._options.append(option)
            self._flags |= dict.fromkeys(option.flags, (option, True))
            self._flags |= dict.fromkeys(option.off_flags, (option, False))

    def _take_long(self, found: Found, line: _Line, values: dict[str, Any]) -> None:
        flag, equals, text = found.text.partition("=")
        option, on = self._option(flag, found.at)
        if option.kind is not Kind.FLAG:
            value = Found(text, found.at) if equals else line.value(flag, found.at)
            _put(values, option, flag, value)
        elif equals:
            raise UsageError(f"option {flag!r} does not take a value", word=found.at)
        else:
            values[option.name] = on

    def _take_short(self, found: Found, line: _Line, values: dict[str, Any]) -> None:
        for end, letter in enumerate(found.text[1:], start=2):
            flag = f"-{letter}"
            option, on = self._option(flag, found.at)
            if option.kind is not Kind.FLAG:
                rest = found.text[end:]
                value = Found(rest, found.at) if rest else line.value(flag, found.at)
                _put(values, option, flag, value)
                return
            values[option.name] = on

    def _option(self, flag: str, at: int) -> tuple[Option, bool]:
        if flag not in self._flags and self._more is not None:
            more, self._more = self._more, None
            self._add(more())
        if flag in self._flags:
            return self._flags[flag]
        import difflib  # slow to load

        near = difflib.get_close_matches(flag, self._shown(), n=1) if len(flag) > 2 else ()
        question = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"no such option {flag!r}{question}", word=at)

    def _shown(self) -> list[str]:
        return [flag for flag, (option, _) in self._flags.items() if not option.hidden]

    # --- arguments ---

    def _split(self, plain: list[Found], behind: list[Found], *, dashed: bool) -> dict[str, Any]:
        """Both arguments take many words; the dashes stand between them."""
        if not dashed:
            plain, behind = plain[:1], plain[1:]
        first, second = self._arguments
        return {first.name: _texts(plain), second.name: _texts(behind)}

    def _share(self, words: list[Found]) -> dict[str, Any]:
        """One word for each argument; what is left over in between for the one that takes many."""
        values: dict[str, Any] = {}
        left = list(words)
        for number, argument in enumerate(self._arguments):
            if argument.many:
                later = len(self._arguments) - number - 1
                count = max(0, len(left) - later)
                taken, left = left[:count], left[count:]
                values[argument.name] = tuple(_chosen(argument, word) for word in taken)
            else:
                taken, left = left[:1], left[1:]
                values[argument.name] = _chosen(argument, taken[0]) if taken else None
            if argument.required and not taken:
                choices = f", one of {_listed(argument.choices)}" if argument.choices else ""
                raise UsageError(f"missing argument {metavar(argument)!r}{choices}")
        if left:
            s = "s" * (len(left) > 1)
            raise UsageError(
                f"got unexpected extra argument{s} {_listed(_texts(left))}", word=left[0].at
            )
        return values


class _Line:
    """Words that are taken one after the other."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._at = 0

    def next(self) -> Found | None:
        if self._at == len(self._words):
            return None
        self._at += 1
        return Found(self._words[self._at - 1], self._at - 1)

    def value(self, flag: str, at: int) -> Found:
        found = self.next()
        if found is None:
            raise UsageError(f"option {flag!r} requires an argument", word=at)
        return found

    def rest(self) -> list[Found]:
        rest = [Found(word, at) for at, word in enumerate(self._words) if at >= self._at]
        self._at = len(self._words)
        return rest


def _default(option: Option) -> Any:
    if option.many:
        return () if option.default is None else tuple(option.default)
    if option.kind is Kind.FLAG:
        return None if option.off_flags else False
    if option.default is None:
        return None
    return _valid(option, option.flags[0], str(option.default))


def _put(values: dict[str, Any], option: Option, flag: str, given: Found) -> None:
    value = _valid(option, flag, given.text, given.at)
    values[option.name] = (*values.get(option.name, ()), value) if option.many else value


def _valid(option: Option, flag: str, text: str, at: int | None = None) -> Any:
    try:
        return _value(option, text)
    except ValueError as error:
        raise UsageError(f"invalid value for {flag!r}: {error}", word=at) from None


def _value(option: Option, text: str) -> Any:
    """Raises `ValueError`."""
    match option.kind:
        case Kind.NUMBER:
            return _number(int, text, "a whole number")
        case Kind.SECONDS:
            return _number(float, text, "a number of seconds")
        case Kind.CHOICE:
            return _choice(option.choices, text)
        case _:
            return text


def _number(kind: type[int] | type[float], text: str, what: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}") from None


def _choice(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is not one of {_listed(choices)}")
    return text


def _chosen(argument: Argument, word: Found) -> str:
    try:
        return _choice(argument.choices, word.text) if argument.choices else word.text
    except ValueError as error:
        name = metavar(argument)
        raise UsageError(f"invalid value for {name!r}: {error}", word=word.at) from None


def _listed(texts: tuple[str, ...]) -> str:
    """An enumeration's members as the texts they are, too."""
    return ", ".join(repr(str(text)) for text in texts)


def _texts(words: Iterable[Found]) -> tuple[str, ...]:
    return tuple(word.text for word in words)
