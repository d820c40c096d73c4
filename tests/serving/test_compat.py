"""What this TensorFlow exports is loaded and answered by an older one, as servers are older than what trains for them.

`tox run -e compat` installs the older one, and says where by the environment.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

OLDER = os.environ.get("OLDER_TENSORFLOW")

pytestmark = pytest.mark.skipif(OLDER is None, reason="needs an older TensorFlow: tox run -e compat")


def neighbour(name):
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def older(server, tmp_path_factory):
    program = tmp_path_factory.mktemp("older") / "serve"
    neighbour("compile").compile_program(program, Path(OLDER, "tensorflow"))
    return type(server)(program, server.scratch)


@pytest.fixture(scope="module")
def requests():
    return neighbour("test_requests")


@pytest.mark.parametrize("artifact", ["keyed", "public"])
def test_answers_are_the_same(older, server, requests, artifact, request):
    folder = request.getfixturevalue(artifact)
    asked = [(0, name, x) for name, x in requests.RIGHT.items()]
    if artifact == "keyed":
        asked.append((0, "extended", requests.RIGHT["serving_default"]))
    for said, expected in zip(older.ask([folder], asked), server.ask([folder], asked), strict=True):
        assert said.keys() == expected.keys()
        for name in said:
            if said[name].dtype == object:
                assert said[name].tolist() == expected[name].tolist()
            else:
                np.testing.assert_allclose(said[name], expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("artifact", ["keyed", "public"])
def test_malformed_requests_end_nothing(older, requests, artifact, request):
    folder = request.getfixturevalue(artifact)
    asked = [(0, name, x) for name, malformed in requests.MALFORMED.items() for x in malformed]
    assert all(isinstance(said, str) for said in older.ask([folder], asked))
