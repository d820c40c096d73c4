"""Documents that are damaged at random, for the doors by which they come in."""

import copy
import json

import pytest
from hypothesis import strategies as st

# What has no business in a document, or not where it is put.
STRANGERS = [
    None,
    True,
    0,
    -1,
    2,
    1.5,
    -0.0,
    1e308,
    10**18,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    "\x1b[31m\n\0",
    r"$\foo{$",
    "<script>alert(1)</script>",
    "| a | `b` |",
    "../../etc/passwd",
    "y" * 5000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"$ref": "#"},
]


@st.composite
def _damaged(draw, document):
    """The content of a file: JSON of a document of which some places are other than they were, or not even JSON."""
    document = copy.deepcopy(document)
    holder = [document]
    for _ in range(draw(st.integers(1, 3))):
        _damage(draw, holder)
    content = json.dumps(holder[0], ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    match draw(st.integers(0, 9)):
        case 0:
            return content[: draw(st.integers(0, len(content)))]
        case 1:
            place = draw(st.integers(0, len(content) - 1))
            return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
    return content


def _damage(draw, holder):
    """Walks down from what a list holds, and changes what it comes to."""
    parent, name = holder, 0
    while isinstance(parent[name], (dict, list)) and parent[name] and draw(st.integers(0, 5)):
        parent = parent[name]
        name = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
    value, kind = parent[name], draw(st.integers(0, 7))
    if kind == 0 and parent is not holder:
        del parent[name]
    elif kind == 1 and isinstance(parent, dict):
        parent[draw(st.sampled_from(["", "x", "\udfff", r"$\foo{$", "<b>", "overall", name + "\n"]))] = parent.pop(name)
    elif kind == 2:
        for _ in range(draw(st.sampled_from([1, 60, 900]))):
            value = [value]
        parent[name] = value
    elif kind == 3 and isinstance(parent, list) and parent is not holder:
        parent.insert(name, copy.deepcopy(value))
    elif kind == 4 and isinstance(value, (int, float)):
        parent[name] = draw(st.sampled_from([-value, value + 1, value * 1e9, float(value), str(value), 0]))
    else:
        parent[name] = copy.deepcopy(draw(st.sampled_from(STRANGERS)))


@pytest.fixture(scope="session")
def damaged():
    """A function: a strategy for the content of files, each a document in JSON that was damaged."""
    return _damaged
