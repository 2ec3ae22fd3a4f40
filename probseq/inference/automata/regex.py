"""Regular expressions as automata: parsed, made an automaton with free moves (Thompson), made deterministic."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from probseq.arguments import checked
from probseq.inference.automata.dfa import DFA

LARGEST = 1 << 14
"""Most states, before and after the automaton is made deterministic."""

CLASSES = {"d": str.isdigit, "w": lambda c: c.isalnum() or c == "_", "s": str.isspace}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}


@checked
def regex(pattern: str, symbols: str) -> DFA:
    """The automaton of the texts that match a pattern as a whole.

    Operators: a character, `.` (any symbol), `[abc]`, `[a-f]`, `[^abc]`, `|`, `*`, `+`, `?`, `{3}`, `{2,5}`, `{2,}`,
    `(…)`, `(?:…)`, `\\d`, `\\w`, `\\s` and their opposites, and `\\` before a character that would mean something else.

    Args:
        symbols: the alphabet, a character for each symbol in the order of their numbers.

    Raises:
        ValueError: a pattern that cannot be read, characters outside the alphabet, or more than 2¹⁴ states.

    Source: Thompson, Regular expression search algorithm, 1968.

    >>> import probseq as ps
    >>> dfa = regex("a(b|c)+", "abc")
    >>> dfa.matches(ps.Sequences.of([[0, 1, 2], [0], [1]])).tolist()
    [True, False, False]
    """
    if len(set(symbols)) != len(symbols):
        raise ValueError(f"an alphabet has each symbol once; got {symbols!r}.")
    machine = _Free()
    end = _Parser(pattern, symbols, machine).whole()
    return machine.determined(end, len(symbols)).minimise()


@dataclass
class _Free:
    """An automaton with free moves: of each state at most one arrow that reads, and any number that do not."""

    reads: list[tuple[frozenset[int], int] | None] = field(default_factory=lambda: [None])
    free: list[list[int]] = field(default_factory=lambda: [[]])

    def state(self) -> int:
        if len(self.reads) >= LARGEST:
            raise ValueError(f"the pattern needs more than {LARGEST:,} states. Use smaller counts in its {{…}}.")
        self.reads.append(None)
        self.free.append([])
        return len(self.reads) - 1

    def closure(self, states: frozenset[int]) -> frozenset[int]:
        found, stack = set(states), list(states)
        while stack:
            for other in self.free[stack.pop()]:
                if other not in found:
                    found.add(other)
                    stack.append(other)
        return frozenset(found)

    def determined(self, end: int, symbols: int) -> DFA:
        """Sets of states as states."""
        numbers = {self.closure(frozenset([0])): 0}
        todo, arrows = list(numbers), []
        for states in todo:
            moves = [move for move in (self.reads[state] for state in states) if move is not None]
            row = []
            for symbol in range(symbols):
                after = self.closure(frozenset(target for read, target in moves if symbol in read))
                if after not in numbers:
                    if len(numbers) >= LARGEST:
                        raise ValueError(f"the pattern needs more than {LARGEST:,} states. Use a simpler one.")
                    numbers[after] = len(numbers)
                    todo.append(after)
                row.append(numbers[after])
            arrows.append(row)
        accepts = torch.tensor([end in states for states in todo])
        return DFA(torch.tensor(arrows, dtype=torch.int64).reshape(len(todo), symbols), accepts)


class _Parser:
    """Recursive descent: each rule takes the state it begins in and gives that in which it ends.

    What is repeated is read again from the same place in the pattern, once for each copy.
    """

    def __init__(self, pattern: str, symbols: str, machine: _Free) -> None:
        self.pattern, self.symbols, self.machine, self.at = pattern, symbols, machine, 0
        self.number = {symbol: i for i, symbol in enumerate(symbols)}

    def whole(self) -> int:
        end = self._either(0)
        if self.at < len(self.pattern):
            raise self._error("')' closes nothing. Write \\) for the character")
        return end

    def _error(self, what: str) -> ValueError:
        return ValueError(f"pattern {self.pattern!r}, position {self.at}: {what}.")

    def _peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise self._error("it ends too early")
        self.at += 1
        return character

    def _either(self, start: int) -> int:
        ends = [self._sequence(start)]
        while self._peek() == "|":
            self.at += 1
            begin = self.machine.state()
            self.machine.free[start].append(begin)
            ends.append(self._sequence(begin))
        if len(ends) == 1:
            return ends[0]
        end = self.machine.state()
        for each in ends:
            self.machine.free[each].append(end)
        return end

    def _sequence(self, start: int) -> int:
        # A state of its own, so that a loop back to what follows cannot leave by another branch.
        end = self.machine.state()
        self.machine.free[start].append(end)
        while self._peek() not in ("", "|", ")"):
            end = self._repeated(end)
        return end

    def _repeated(self, start: int) -> int:
        begin = self.at
        end = self._atom(start)
        counts = self._counts()
        if counts is None:
            return end
        least, most = counts
        after = self.at
        if most == 0:
            return start
        ends = [start, end]
        while len(ends) <= max(least, 1 if most is None else most):
            self.at = begin
            ends.append(self._atom(self._step(ends[-1])))
        self.at = after
        out = self.machine.state()
        for each in ends[least:]:
            self.machine.free[each].append(out)
        if most is None:
            self.machine.free[ends[-1]].append(ends[-2])
        return out

    def _step(self, state: int) -> int:
        after = self.machine.state()
        self.machine.free[state].append(after)
        return after

    def _counts(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        character = self._peek()
        if character in simple:
            self.at += 1
            found = simple[character]
        elif character == "{":
            self.at += 1
            inside = ""
            while (character := self._take()) != "}":
                inside += character
            low, comma, high = inside.partition(",")
            if not (low.isdigit() or (comma and not low)) or not (high.isdigit() or not high):
                raise self._error(f"{{{inside}}} is no count; expected {{3}}, {{2,5}} or {{2,}}")
            least = int(low or 0)
            found = (least, (int(high) if high else None) if comma else least)
            if found[1] is not None and found[1] < least:
                raise self._error(f"{{{inside}}} ends below its beginning")
        else:
            return None
        if self._peek() and self._peek() in "*+?{":
            raise self._error("a count cannot follow a count; write (…) around the first")
        return found

    def _atom(self, start: int) -> int:
        character = self._take()
        if character == "(":
            return self._group(start)
        if character in "*+?{":
            raise self._error(f"{character!r} has nothing to repeat. Write \\{character} for the character")
        if character in "^$":
            raise self._error(f"{character!r} is not needed: a text matches as a whole. Write \\{character} for it")
        if character == ".":
            read = frozenset(range(len(self.symbols)))
        elif character == "[":
            read = self._bracket()
        elif character == "\\":
            read = self._escape()
        else:
            read = frozenset([self._number(character)])
        # Arrows that read stand on states of their own: a state has one at most.
        begin, end = self._step(start), self.machine.state()
        self.machine.reads[begin] = (read, end)
        return end

    def _group(self, start: int) -> int:
        if self._peek() == "?":
            if self.pattern[self.at : self.at + 2] != "?:":
                raise self._error("of the groups that begin with '(?', only '(?:' is known")
            self.at += 2
        end = self._either(self._step(start))
        if self._peek() != ")":
            raise self._error("a '(' is not closed")
        self.at += 1
        return end

    def _number(self, character: str) -> int:
        if character not in self.number:
            raise self._error(f"{character!r} is not among the model's symbols, {self.symbols!r}")
        return self.number[character]

    def _escape(self) -> frozenset[int]:
        character = self._take()
        if character.lower() in CLASSES:
            member = CLASSES[character.lower()]
            return frozenset(i for i, c in enumerate(self.symbols) if member(c) == character.islower())
        if character.isalnum() and character not in CONTROLS:
            raise self._error(f"\\{character} is not known")
        return frozenset([self._number(CONTROLS.get(character, character))])

    def _bracket(self) -> frozenset[int]:
        opposite = self._peek() == "^"
        self.at += opposite
        found: set[int] = set()
        first = True
        while (character := self._take()) != "]" or first:
            first = False
            if character == "\\":
                found |= self._escape()
            elif self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("", "]"):
                self.at += 1
                found |= self._range(character, self._take())
            else:
                found.add(self._number(character))
        return frozenset(range(len(self.symbols))) - found if opposite else frozenset(found)

    def _range(self, low: str, high: str) -> set[int]:
        found = {i for i, c in enumerate(self.symbols) if low <= c <= high}
        if not found:
            raise self._error(f"no symbol lies in {low}-{high}; the model's are {self.symbols!r}")
        return found
