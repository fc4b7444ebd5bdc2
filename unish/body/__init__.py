"""SMPL-format bodies behind one interface: licensed SMPL files, and the free open body."""

from unish.body.installed_bodies import install, load_body, open_body
from unish.body.lbs import move_translation
from unish.body.model import BodyModel, BodyOutput

__all__ = ["BodyModel", "BodyOutput", "install", "load_body", "move_translation", "open_body"]
