"""What the JSON inside a ``torch.export`` program (PyTorch 2.13) may say.

PyTorch makes code of it. Names stand in Python that it generates, sizes go through sympy's
``sympify``, which is ``eval``, guards through ``exec``; a tree of inputs or outputs may import a
module by name, and an operator may be any function of ``torch``. So every string is held to a
pattern by the key it stands under, one under an unknown key is refused, and what is not needed is
left out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable

import torch

NAME = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*)?")
ATTRIBUTE = re.compile(r"(?:(?!__)[A-Za-z0-9_]+(?:\.(?!__)[A-Za-z0-9_]+)*)?")
SYMBOL = re.compile(r"[su]\d{1,6}")
LONGEST = 2000  # characters of an expression
LARGEST = 2**63
# What PyTorch writes sizes with, as sympy's srepr.
FUNCTIONS = re.compile(
    r"Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv"
    r"|Equality|Unequality|GreaterThan|LessThan|StrictGreaterThan|StrictLessThan"
)
ASSUMPTIONS = frozenset({"integer", "positive", "nonnegative"})

ATEN = re.compile(r"torch\.ops\.aten\.(?P<name>[A-Za-z0-9_]+)\.(?P<overload>[A-Za-z0-9_]+)")
# Operators with an underscore may trust their arguments; these do not, and networks use them.
PRIVATE = re.compile(
    r"_adaptive_avg_pool[23]d|_assert_scalar|_assert_tensor_metadata|_convolution|_log_softmax"
    r"|_native_batch_norm_legit_no_training|_native_multi_head_attention|_softmax|_to_copy"
    r"|_transformer_encoder_layer_fwd|_unsafe_view|_upsample_bi(?:cubic|linear)2d_aa"
)
# Of operators that take text only these: ``save`` and ``from_file`` take a file's name.
TAKE_TEXT = re.compile(r"_assert_scalar|conv[123]d|div|einsum|gelu|meshgrid|pad")
ON_SIZES = re.compile(
    r"_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|torch\.sym_(?:max|min|not)"
)

STRINGS = {
    "as_float": re.compile(r"-?Infinity|NaN"),
    "as_floats": re.compile(r"-?Infinity|NaN"),
    "as_name": NAME,
    "as_string": re.compile(r"[ -~]{0,200}"),
    "buffer_name": ATTRIBUTE,
    "forward_arg_names": NAME,
    "fqn": ATTRIBUTE,
    "name": NAME,
    "parameter_name": ATTRIBUTE,
    "path_name": re.compile(r"(?:weight|tensor)_\d+"),
    "tensor_constant_name": ATTRIBUTE,
    "torch_version": re.compile(r"[0-9A-Za-z.+<=-]*"),
    "type": re.compile(r"[a-z]+"),  # of a device
    "verifiers": re.compile(r"(?:ATEN|TRAINING)?"),
}
# Where it came from, in words, and guards, which are not run here (``check_guards=False``).
LEFT_OUT: dict[str, object] = {"metadata": {}, "guards_code": [], "treespec_namedtuple_fields": {}}
FEATURES = {
    "as_custom_obj": "objects",
    "as_graph": "graphs within the graph",
    "as_operator": "operators as arguments",
    "as_string_to_argument": "dictionaries as arguments",
    "custom_obj": "objects",
    "token": "tokens",
}


class RefusedError(ValueError):
    """Something that a serving graph does not need, and that might run code."""


def cleaned(value: object, key: str = "") -> object:
    """A copy of the document with only what has been checked.

    Args:
        value: of the program or of the list of its tensors, as ``json.loads`` gives it.
        key: under which the value stands.

    Raises:
        RefusedError: says what it may not have.
    """
    if key in LEFT_OUT:
        return LEFT_OUT[key]
    if key in FEATURES and value is not None:
        raise RefusedError(f"it has {FEATURES[key]}, which could run code")
    if key == "use_pickle" and value is not False:
        raise RefusedError("it has pickled objects, which could run code; export plain tensors")
    if isinstance(value, dict):
        names = SYMBOL if key == "range_constraints" else ATTRIBUTE
        for name in value:
            if not names.fullmatch(name):
                raise RefusedError(f"{_short(name)} is no name")
        return {name: cleaned(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner, key) for inner in value]
    if isinstance(value, str):
        return _text(key, value)
    return value


def _text(key: str, text: str) -> str:
    if key in REWRITTEN:
        return REWRITTEN[key](text)
    pattern = STRINGS.get(key)
    if pattern is None or not pattern.fullmatch(text):
        raise RefusedError(f"{key} is {_short(text)}, which could run code")
    return text


def _operator(target: str) -> str:
    match = ATEN.fullmatch(target)
    if match is None:
        if not ON_SIZES.fullmatch(target):
            raise RefusedError(f"{_short(target)} is not one of PyTorch's own operators (aten)")
        return target
    name = match["name"]
    operator = None
    if not name.startswith("_") or PRIVATE.fullmatch(name):
        packet = getattr(torch.ops.aten, name, None)
        operator = getattr(packet, match["overload"], None)
    # PyTorch has no public names for these two.
    known = isinstance(operator, torch._ops.OpOverload) and (  # noqa: SLF001
        TAKE_TEXT.fullmatch(name) is not None
        or not any("str" in str(one.type) for one in operator._schema.arguments)  # noqa: SLF001
    )
    if not known:
        raise RefusedError(f"{_short(target)} is not an operator for serving graphs")
    return target


def _expression(text: str) -> str:
    """The same expression, written anew, so that sympy reads what was read here."""
    try:
        body = ast.parse(text[: LONGEST + 1], mode="eval").body
    except (SyntaxError, ValueError):
        body = None
    if len(text) > LONGEST or body is None or not _is_size(body):
        raise RefusedError(f"expr_str is {_short(text)}, which is no size")
    return ast.unparse(body)


def _is_size(node: ast.expr) -> bool:
    """Whether it is of integers, symbols and ``FUNCTIONS``."""
    match node:
        case ast.Call(ast.Name("Symbol"), [ast.Constant(str(name))], keywords):
            return SYMBOL.fullmatch(name) is not None and all(
                keyword.arg in ASSUMPTIONS
                and isinstance(keyword.value, ast.Constant)
                and isinstance(keyword.value.value, bool)
                for keyword in keywords
            )
        case ast.Call(ast.Name("Integer"), [number], []):
            return _is_integer(number)
        case ast.Call(ast.Name(name), parts, []) if FUNCTIONS.fullmatch(name):
            return all(_is_size(part) for part in parts)
    return False


def _is_integer(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) <= LARGEST


def _tree(text: str) -> str:
    """How inputs or outputs are nested, written anew: tuples, lists and dictionaries only."""
    protocol, node = json.loads(text)
    if protocol != 1:
        raise RefusedError(f"its trees have the unknown format {_short(str(protocol))}")
    return json.dumps([1, _branch(node)])


def _branch(node: dict[str, object]) -> dict[str, object]:
    kind, context, children = node["type"], node["context"], node["children_spec"]
    if not isinstance(children, list):
        raise RefusedError("a tree's children are no list")
    if kind is None:
        known = context is None and not children
    elif kind == "builtins.dict":
        keys = json.loads(str(context))
        known = isinstance(keys, list) and all(
            isinstance(key, str) and NAME.fullmatch(key) for key in keys
        )
        context = json.dumps(keys)
    else:
        known = kind in ("builtins.tuple", "builtins.list") and context == "null"
    if not known:
        raise RefusedError(f"a tree has {_short(str(kind))}, which could run code")
    return {
        "type": kind,
        "context": context,
        "children_spec": [_branch(child) for child in children],
    }


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


REWRITTEN: dict[str, Callable[[str], str]] = {
    "expr_str": _expression,
    "in_spec": _tree,
    "out_spec": _tree,
    "target": _operator,
}
