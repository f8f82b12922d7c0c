import pytest

from agent.scratch.tree import Tree


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def tree(root):
    tree = Tree(root)
    yield tree
    tree.close()
