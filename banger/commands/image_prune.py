from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.model.image import Pruned
from banger.model.requests import PruneImages
from banger.model.sizes import show_size


def run(context: Context, *, dry_run: bool) -> None:
    pruned = context.call(PruneImages(dry_run=dry_run))
    context.document(pruned)
    would = "would be " if dry_run else ""
    for image in pruned.removed:
        context.line(f"{image.name} ({image.id}) {would}removed, {show_size(image.bytes)}")
    context.line(f"{len(pruned.removed)} builds {would}removed, {show_size(pruned.bytes)}")


COMMAND = Command(
    path=("image", "prune"),
    summary="Remove old builds that no VM uses.",
    details="The newest of each name always stays.",
    run=run,
    reply=Pruned,
    mutates=True,
    options=(Option("dry_run", ("--dry-run",), "Only tell what would be removed.", Kind.FLAG),),
    examples=("banger image prune --dry-run",),
)
