from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.model.image import Pruned
from banger.model.requests.images import PruneImages
from banger.model.sizes import show_size


def run(context: Context, *, dry_run: bool) -> None:
    pruned = context.call(PruneImages(dry_run=dry_run))
    context.document(pruned)
    would = "would be " if dry_run else ""
    for image in pruned.removed:
        context.line(f"{image.name} ({image.id}) {would}removed, {show_size(image.bytes)}")
    for seed in pruned.seeds:
        what = f"warm seed {seed.id} of {seed.image}"
        context.line(f"{what} {would}removed, {show_size(seed.bytes)}: {seed.reason}")
    count = f"{len(pruned.removed)} builds and {len(pruned.seeds)} warm seeds"
    context.line(f"{count} {would}removed, {show_size(pruned.bytes)}")


COMMAND = Command(
    path=("image", "prune"),
    summary="Remove old builds that no VM uses, and warm seeds of no use.",
    details="The newest of each name always stays. A warm seed goes when its image, the agent, the "
    "VMM or banger is another one than it was made with, and when it was not used for two weeks.",
    run=run,
    reply=Pruned,
    mutates=True,
    options=(Option("dry_run", ("--dry-run",), "Only tell what would be removed.", Kind.FLAG),),
    examples=("banger image prune --dry-run",),
)
