"""What a member's reply means, as far as it can be told without a language model.

Raw tags ("2: red leather", "jacket: green, striped") replace all tags of an object: who writes a list means
that list. Plain words ("make her bag yellow") edit: they are put first, former words of the same kind
(colours, patterns, times of day, weather) go, and the other tags stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.context.words import (
    COLOURS,
    DESCRIPTORS,
    KINDS,
    MAX_NAME,
    PATTERNS,
    SEPARATORS,
    SHADES,
    clean,
    clean_tags,
    key,
    names_of,
    singular,
    tokens,
    word_set,
)
from pipeline.domain import MAX_PROMPT, ObjectContext
from pipeline.errors import NotUnderstood, UnknownName

_NUMBER = r"(?:(?:#|number|object|no\.?|nr\.?)\s*)?\d{1,3}"
_ADDRESS = re.compile(
    rf"(?:^|[{SEPARATORS}])[ \t]*"
    rf"(?:(?P<numbers>{_NUMBER}(?:\s*(?:[,&+]|and)\s*{_NUMBER}){{0,24}})\s*(?:(?:[:：=＝→]|->|=>)(?!\d)|[.)–—-](?=\s))"
    r"|#\s*(?P<hash>\d{1,3})(?=\s+\S)"
    rf"|(?P<name>[^{SEPARATORS}:：=＝]{{1,{MAX_NAME}}}?)\s*[:：=＝])",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    rf"[{SEPARATORS}.!?:：]+(?=\s|$)|[{SEPARATORS}]|\s(?:and|but|then|also)\s|\s[&+]\s", re.IGNORECASE
)
_FILLERS = word_set(
    """
    make made makes making turn turned change changed paint painted repaint repainted color colour
    colored coloured give let set put want wants wanted i i'd would like could can you please pls her
    his their its it my your our the a an this that these those them she he they we me us to into in
    be is are was should must more bit little much so of for with on have has had get as look looks
    looking now just also then but and instead again really maybe object number nr no. one rather
    and/or there here
    """
)
_KEEPING = word_set("keep leave")
_NEGATIONS = word_set("not no without remove don't dont less never lose drop")
_ENDS = word_set(
    """
    make it its it's her his the a an please be should turn change into to of with and in
    """
)


def read_addressed(reply: str, objects: Sequence[ObjectContext]) -> tuple[ObjectContext, ...]:
    """Read tags that are addressed by number or name; () if nothing is addressed.

    Raise NotUnderstood for a number that is not there, for a name that two objects share, and for no tags.
    """
    if not objects:
        raise NotUnderstood("There is no object in this picture that could be changed.")
    text = reply[:MAX_PROMPT]
    found: list[tuple[list[ObjectContext], int, int]] = []  # whom, where the address starts and ends
    for match in _ADDRESS.finditer(text):
        targets = _numbered(match, objects) if match["name"] is None else _called(match["name"], objects)
        if targets:
            found.append((targets, match.start(), match.end()))
    changed: dict[int, ObjectContext] = {}
    starts = [start for _, start, _ in found[1:]] + [len(text)]
    for (targets, _, begin), end in zip(found, starts, strict=True) if found else ():
        tags = split_tags(text[begin:end])
        if not tags:
            raise NotUnderstood(
                f"Say what {_list(targets)} should become, as in “{targets[0].number}: red, striped”."
            )
        changed |= {target.number: replace(target, tags=tags) for target in targets}
    return tuple(changed[number] for number in sorted(changed))


def split_tags(text: str) -> tuple[str, ...]:
    """Make tags of what a member wrote: a list as given, a phrase at its "with" and "and"."""
    parts = [part for part in re.split(f"[{SEPARATORS}]", text) if part.strip()]
    if len(parts) == 1:
        parts = re.split(r"\s(?:and|with|but|&|\+)\s", parts[0], flags=re.IGNORECASE)
        parts = [_without_ends(part) for part in parts]
    return clean_tags(parts)


def edit(reply: str, objects: Sequence[ObjectContext]) -> tuple[ObjectContext, ...]:
    """Edit the tags of the objects that plain words name; UnknownName if they name none."""
    if not objects:
        raise NotUnderstood("There is no object in this picture that could be changed.")
    text = clean(reply[:MAX_PROMPT].replace("\n", ". "), MAX_PROMPT)
    wishes: dict[int, tuple[list[str], set[str]]] = {}  # by number: phrases wanted, words not wanted
    waiting: list[ObjectContext] = []  # "the hat and the shoes red": the hat waits for its word
    last: list[ObjectContext] = []
    numbers = not any(
        mention for clause in _CLAUSES.split(text) for mention in _mentions(clause, objects, False)
    )
    for clause in _CLAUSES.split(text):
        targets, phrases, unwanted = _read_clause(clause, objects, numbers)
        if not phrases and not unwanted:
            waiting += targets
            continue
        if targets or waiting:
            last, waiting = waiting + targets, []
        elif not last and len(objects) == 1 and not DESCRIPTORS.isdisjoint(tokens(clause)):
            last = list(objects)  # "yellow, please": there is only one
        for target in last:
            wish = wishes.setdefault(target.number, ([], set()))
            wish[0].extend(phrases)
            wish[1].update(unwanted)
    changed = [
        replace(thing, tags=tags)
        for thing in objects
        if thing.number in wishes and (tags := _merged(thing, *wishes[thing.number]))
    ]
    if not changed:
        raise UnknownName(
            f"I cannot tell which object you mean, or what it should become: write its number and tags, "
            f"as in “{objects[0].number}: red, striped”; there {_are(objects)} {_list(objects)}."
        )
    return tuple(changed)


def _numbered(match: re.Match[str], objects: Sequence[ObjectContext]) -> list[ObjectContext]:
    by_number = {thing.number: thing for thing in objects}
    numbers = [int(digits) for digits in re.findall(r"\d+", match["numbers"] or match["hash"])]
    for number in numbers:
        if number not in by_number:
            raise NotUnderstood(f"There is no object {number} here; there {_are(objects)} {_list(objects)}.")
    return [by_number[number] for number in dict.fromkeys(numbers)]


def _called(name: str, objects: Sequence[ObjectContext]) -> list[ObjectContext]:
    """Find whom a name means, with or without a number behind it: "jacket", "Jackets", "jacket #2"."""
    words = [word for word in tokens(name) if word not in ("the", "her", "his", "my", "a", "and")]
    number = int(words[-1].lstrip("#")) if words and re.fullmatch(r"#?\d{1,3}", words[-1]) else None
    found = _by_name(words if number is None else words[:-1], objects)
    if number is not None:
        return [thing for thing in found if thing.number == number] or _only(found)
    return _only(found, plural=bool(words) and singular(words[-1]) != words[-1])


def _by_name(words: Sequence[str], objects: Sequence[ObjectContext]) -> list[ObjectContext]:
    wanted = key(" ".join(words))
    for rank in range(3):
        if wanted and (found := [thing for thing in objects if wanted in names_of(thing.name)[rank]]):
            return found
    return []


def _only(found: list[ObjectContext], *, plural: bool = False) -> list[ObjectContext]:
    if len(found) > 1 and not plural:
        raise NotUnderstood(
            f"More than one object is called that: say which by its number, "
            f"as in “{found[0].number}: red, striped”; there are {_list(found)}."
        )
    return found


def _mentions(clause: str, objects: Sequence[ObjectContext], numbers: bool) -> Iterator[tuple[int, int, str]]:
    """Yield where words of a clause name an object: start, length, and the words."""
    words, index = tokens(clause), 0
    by_number = {str(thing.number) for thing in objects}
    while index < len(words):
        length = 1
        for length in (4, 3, 2, 1):
            phrase = words[index : index + length]
            shade = length == 1 and phrase[0] in SHADES and words[index + 1 : index + 2]
            if shade and shade[0] in COLOURS:  # "light blue" is not the light
                continue
            if len(phrase) == length and phrase[0] not in _FILLERS and _by_name(phrase, objects):
                yield index, length, " ".join(phrase)
                break
        else:
            length = 1
            if numbers and words[index].lstrip("#") in by_number:
                yield index, 1, words[index].lstrip("#")
        index += length


def _read_clause(
    clause: str, objects: Sequence[ObjectContext], numbers: bool
) -> tuple[list[ObjectContext], list[str], set[str]]:
    """Read one clause: whom it names, the phrases it wants, the words it does not want."""
    words = tokens(clause)
    if not _KEEPING.isdisjoint(words):  # "but leave the shoes"
        return [], [], set()
    targets: list[ObjectContext] = []
    named: set[int] = set()
    for start, length, phrase in _mentions(clause, objects, numbers):
        named.update(range(start, start + length))
        by_number = [thing for thing in objects if numbers and str(thing.number) == phrase]
        targets += by_number or _called(phrase, objects)
    phrases: list[list[str]] = [[]]
    unwanted: set[str] = set()
    negated = False
    for index, word in enumerate(words):
        negated |= word in _NEGATIONS
        if index in named or word in _FILLERS or word in _NEGATIONS:
            phrases.append([])
        elif negated:
            unwanted.add(word)
        else:
            phrases[-1].append(word)
    return targets, [" ".join(phrase) for phrase in phrases if phrase], unwanted


def _merged(thing: ObjectContext, phrases: Sequence[str], unwanted: set[str]) -> tuple[str, ...]:
    """Put new phrases before the old tags, without those that they replace."""
    new = {word for phrase in phrases for word in phrase.split()}
    gone = set(unwanted) | {word for kind in KINDS if not kind.isdisjoint(new) for word in kind}
    if not COLOURS.isdisjoint(gone):
        gone |= SHADES
    if not PATTERNS.isdisjoint(unwanted) and PATTERNS.isdisjoint(new):  # "no stripes" leaves it plain
        gone |= PATTERNS
        phrases = [*phrases, "plain"]
    kept: list[str] = []
    for tag in thing.tags:
        words = tag.split()
        left = [word for word in words if word.casefold() not in gone]
        # "red leather" without its red is "leather"; "red jacket" without it says nothing.
        if len(left) == len(words) or key(" ".join(left)) not in ("", *names_of(thing.name)[1]):
            kept.append(" ".join(left))
    return clean_tags([*phrases, *kept])


def _without_ends(phrase: str) -> str:
    words = phrase.split()
    while len(words) > 1 and words[0].casefold() in _ENDS:
        words.pop(0)
    while len(words) > 1 and words[-1].casefold() in _ENDS:
        words.pop()
    return " ".join(words)


def _are(objects: Sequence[ObjectContext]) -> str:
    return "is" if len(objects) == 1 else "are"


def _list(objects: Sequence[ObjectContext]) -> str:
    names = [f"{thing.number} {clean(thing.name, MAX_NAME)}" for thing in objects]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
