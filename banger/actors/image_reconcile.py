"""What a daemon that starts puts right about the images it finds. Everything here blocks."""

from __future__ import annotations

import logging

from banger.actors.image_catalog import Catalog
from banger.host.image_files import ImageFiles
from banger.kernel.errors import BangerError

log = logging.getLogger(__name__)


def reconcile(catalog: Catalog) -> None:
    """Records of former versions, a default image that is gone; tell who lacks a work seed.

    Nothing of it must be done for the images to be used, so what fails is only logged.
    """
    for step in (_upgrade, _forget_lost_default, _tell_of_seeds):
        try:
            step(catalog)
        except (BangerError, OSError) as error:
            log.warning("%s", error)


def _upgrade(catalog: Catalog) -> None:
    with catalog.changing:
        upgraded = catalog.store.upgrade()
    if upgraded:
        log.info("records of a former version, written anew: %s", ", ".join(upgraded))


def _forget_lost_default(catalog: Catalog) -> None:
    with catalog.changing:
        default = catalog.default()
        if default.exists or default.origin != "command":
            return
        # One whose record can't be read may be mended and come back.
        if catalog.store.load_all()[1]:
            log.warning("the default image %r can't be found", default.name)
            return
        preset = catalog.set_default(None)
        log.warning("the default image %r is gone; it is %r again", default.name, preset.name)


def _tell_of_seeds(catalog: Catalog) -> None:
    lacking = [
        name
        for name, record in catalog.newest().items()
        if ImageFiles.of(catalog.store.directory(record.id)).work_seed is None
    ]
    if lacking:
        log.info("images whose first VM will make their work seed: %s", ", ".join(lacking))
