"""A template of CloudFormation read as data, with what of AWS gives it its meaning: patterns of events, paths."""

import re
from pathlib import Path

import yaml


class _Loader(yaml.SafeLoader):
    """Reads !Ref and the like as {"Ref": ...}."""


def _intrinsic(loader, suffix, node):
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def load(path: Path):
    return yaml.load(path.read_text(), Loader=_Loader)


_FUNCTIONS = {"Ref", "Fn::GetAtt", "Fn::Sub", "Fn::If", "Fn::FindInMap", "Fn::Base64"}


class Stack:
    """The template with values for its parameters: `resolved` is what CloudFormation would make of a part."""

    def __init__(self, template, **parameters):
        self.template = template
        defaults = {name: spec.get("Default") for name, spec in template["Parameters"].items()}
        pseudo = {
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::Partition": "aws",
            "AWS::Region": "eu-west-1",
            "AWS::AccountId": "111122223333",
        }
        self._values = {**defaults, **pseudo, "AWS::StackName": "stack", **parameters}

    def properties(self, resource):
        return self.resolved(self.template["Resources"][resource]["Properties"])

    def resolved(self, part):
        if isinstance(part, list):
            return [one for one in map(self.resolved, part) if one is not None]
        if not isinstance(part, dict):
            return part
        if len(part) == 1 and (name := next(iter(part))) in _FUNCTIONS:
            return self._intrinsic(name, part[name])
        values = {name: self.resolved(value) for name, value in part.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _intrinsic(self, name, value):
        match name:
            case "Ref":
                return None if value == "AWS::NoValue" else self._values.get(value, f"<{value}>")
            case "Fn::GetAtt":
                return f"<{'.'.join(value)}>"
            case "Fn::Sub":
                return re.sub(r"\$\{(!?)([^}]+)\}", self._substituted, value)
            case "Fn::Base64":
                return self.resolved(value)  # as the instance sees it
            case "Fn::FindInMap":
                table, row, column = map(self.resolved, value)
                return self.template["Mappings"][table][row][column]
        condition, yes, no = value
        return self.resolved(yes if self._holds(condition) else no)

    def _substituted(self, found):
        literal, name = found.groups()
        return f"${{{name}}}" if literal else str(self._values.get(name, f"<{name}>"))

    def _holds(self, condition):
        return self._is_true(self.template["Conditions"][condition])

    def _is_true(self, test):
        if "Fn::Not" in test:
            return not self._is_true(test["Fn::Not"][0])
        left, right = test["Fn::Equals"]
        return self.resolved(left) == self.resolved(right)


def matches(pattern, event) -> bool:
    """Whether EventBridge would take `event`: every key of the pattern has one of the values it lists."""
    for key, wanted in pattern.items():
        if isinstance(wanted, dict):
            if not isinstance(event.get(key), dict) or not matches(wanted, event[key]):
                return False
        elif not any(_one_matches(one, event, key) for one in wanted):
            return False
    return True


def _one_matches(wanted, event, key):
    if isinstance(wanted, dict):
        assert set(wanted) == {"exists"}, f"not known here: {wanted}"
        return (key in event) is wanted["exists"]
    return event.get(key) == wanted


def arguments(parameters, event):
    """What a task is called with: keys that end in .$ are paths, or States.Array of one."""
    match parameters:
        case dict():
            return dict(_argument(name, value, event) for name, value in parameters.items())
        case list():
            return [arguments(one, event) for one in parameters]
    return parameters


def _argument(name, value, event):
    if not name.endswith(".$"):
        return name, arguments(value, event)
    array = re.fullmatch(r"States\.Array\((.*)\)", value)
    found = _at(array[1] if array else value, event)
    return name.removesuffix(".$"), [found] if array else found


def _at(path, event):
    assert path.startswith("$")
    for dotted, quoted in re.findall(r"\.([A-Za-z_]+)|\['([^']+)'\]", path[1:]):
        event = event[dotted or quoted]
    return event
