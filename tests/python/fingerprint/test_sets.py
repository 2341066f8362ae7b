"""Sets: what has no order is put in one by what it is, and walked once, wherever its items lead."""

from __future__ import annotations

import datetime
import enum
import random
from typing import Any

from nbrewind.fingerprint import Context, Fact, walk


class Person:
    """Somebody who knows others, as graphs in notebooks have them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.friends: set[Person] = set()
        self.said: list[str] = []


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def people(n_people: int, n_friends: int, dice: random.Random) -> list[Person]:
    """The same people and friendships, made in an order of its own and at other addresses."""
    found = {index: Person(f"p{index}") for index in dice.sample(range(n_people), n_people)}
    for index in dice.sample(range(n_people), n_people):
        fixed = random.Random(index)
        others = fixed.sample(range(n_people), n_friends)
        found[index].friends.update(found[other] for other in dice.sample(others, n_friends))
    return [found[index] for index in range(n_people)]


class Counting(Context):
    """Counts what is asked."""

    n_asked = 0

    def facts(self, obj: Any) -> Fact:
        """As usual."""
        self.n_asked += 1
        return super().facts(obj)


def test_items_that_lead_to_each_other_are_walked_once() -> None:
    asked = []
    for n_people in (20, 40, 80):
        context = Counting()
        assert context.walk(people(n_people, 4, random.Random(0))).fp is not None
        asked.append(context.n_asked)
    # Each item is looked at once for the order; a walk of all ways would not end.
    assert asked[2] < 5 * asked[0]


def test_the_order_in_which_a_set_was_filled_is_no_content() -> None:
    made = [walk(people(30, 4, random.Random(seed))).fp for seed in range(4)]
    assert len(set(made)) == 1
    alone = [walk({Person(name) for name in names}).fp for names in ("abc", "cba", "bac")]
    assert len(set(alone)) == 1 and walk({Person("a"), Person("b"), Person("d")}).fp != alone[0]


def test_what_any_item_holds_counts() -> None:
    everybody = people(12, 3, random.Random(1))
    seen = {walk(everybody[0]).fp}
    for person in everybody:
        person.said.append("yes")
        seen.add(walk(everybody).fp)
        person.friends.symmetric_difference_update({everybody[0], everybody[5]})
        seen.add(walk(everybody).fp)
    assert len(seen) == 1 + 2 * len(everybody)


def test_sets_of_values_are_equal_as_values() -> None:
    days = [datetime.date(2024, 1, day) for day in range(1, 20)]
    for items in (
        days,
        [Colour.RED, Colour.BLUE],
        [frozenset({Colour.RED, days[0]}), frozenset({Colour.BLUE, days[0]})],
        [(1, "a" * 400), (2, "b")],
        [tuple(range(300)), (*range(299), -1)],
    ):
        assert walk(set(items)).fp == walk(set(reversed(items))).fp
        assert walk(set(items)).fp != walk(set(items[1:])).fp


class Filling:
    """Fills the dictionary that it is in when it is looked at."""

    def __init__(self, place: dict[Any, Any]) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        self.place[len(self.place)] = None
        return (Filling, ({},))


def test_a_dictionary_that_fills_while_it_is_walked_is_no_crash() -> None:
    place: dict[Any, Any] = {}
    place["item"] = Filling(place)
    assert walk(place).fp is not None
