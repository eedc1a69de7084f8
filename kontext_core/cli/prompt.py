"""kontext prompt."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..checks.arguments import model, whole_number
from ..checks.shorten import short
from ..prompts.templates import CATEGORIES, TEMPLATES, fill, find_template
from .examples import PROMPT_EXAMPLES
from .interrupts import importing
from .options import Subcommands
from .output import put, say

if TYPE_CHECKING:
    from ..prompts.lint import TokenCount

MOST_PICTURES = 64


def add_prompt(commands: Subcommands) -> None:
    prompt = commands.add_parser(
        "prompt",
        help="say what may go wrong with an instruction, or write one from a template",
        epilog=PROMPT_EXAMPLES,
    )
    prompt.formatter_class = argparse.RawDescriptionHelpFormatter
    prompt.add_argument("instruction", nargs="*", help="what is said of each is printed")
    prompt.add_argument("--check", action="store_true", help="exit with 1 if anything is found")
    prompt.add_argument(
        "--pictures",
        type=whole_number(0, MOST_PICTURES),
        default=1,
        help="number of pictures that the model will see, with the one to edit (default: 1)",
    )
    prompt.add_argument(
        "--template",
        nargs="+",
        metavar=("NAME", "SLOT=VALUE"),
        help="print the instruction that a template makes of these values; --list shows names and slots",
    )
    prompt.add_argument("--list", action="store_true", help="show all templates, each with an example")
    prompt.add_argument(
        "--model",
        type=model,
        help='"tiny", or a model folder laid out as the published one, whose tokenizers count the words '
        "(default: tokens are not counted)",
    )
    prompt.set_defaults(command=_prompt, refuse=prompt.error)


def _prompt(options: argparse.Namespace) -> int:
    """List, fill and check. Returns: 1 if something was found and --check asks for that."""
    if not (options.instruction or options.template or options.list):
        options.refuse("name an instruction, a --template, or ask for the --list")
    if options.list:
        for line in _listing():
            put(line)
    written: list[str] = []
    if options.template:
        name, *values = options.template
        written.append(fill(find_template(name), _slots(values)))
        put(written[0])  # alone on the standard output, for `kontext edit`
    findings = _check(written, options, say) + _check(options.instruction, options, put)
    return 1 if findings and options.check else 0


def _check(instructions: Sequence[str], options: argparse.Namespace, show: Callable[[str], None]) -> int:
    """Show what there is to say of instructions. Returns: the number of findings."""
    if not instructions:
        return 0
    with importing():
        from ..prompts.lint import lint
    tokens = _token_counter(options.model)
    total = 0
    for instruction in instructions:
        findings = lint(instruction, pictures=options.pictures, tokens=tokens)
        name = f"{short(instruction)}: " if len(instructions) > 1 else ""
        for finding in findings:
            show(f"{name}{finding.sentence}")
        if not findings:
            show(f"{name}nothing found")
        total += len(findings)
    if tokens is None:
        say("tokens are not counted; --model names the model whose tokenizers count them")
    return total


def _token_counter(name: str | None) -> "Callable[[str], Sequence[TokenCount]] | None":
    if name is None:
        return None
    with importing():
        from ..loading.token_counts import load_token_counter
    return load_token_counter(name)


def _slots(values: Sequence[str]) -> dict[str, str]:
    """Split each SLOT=VALUE. Raises: ValueError in one sentence."""
    slots: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{short(text)} is not SLOT=VALUE, such as target='the red car'")
        if name in slots:
            raise ValueError(f"the slot {short(name)} is given twice: give each slot once")
        slots[name] = value
    return slots


def _listing() -> list[str]:
    lines: list[str] = []
    for category in CATEGORIES:
        lines.append(f"{category}:")
        for template in TEMPLATES.values():
            if template.category == category:
                lines += [f"  {template.name}: {template.text}", f"    {fill(template, template.example)}"]
    return lines
