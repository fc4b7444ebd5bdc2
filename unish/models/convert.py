"""Names of other checkpoints ↔ ours: the released UniSH file, π³ and CameraHMR. All key surgery lives here.

A rule is a pair of name prefixes, `#` standing for a block's number; the first rule whose prefix fits a name
rewrites it. The table reads both ways.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from unish.errors import CheckpointError

_HEAD_OFFICIAL = "human_head.transformer.transformer.layers.#."
_HEAD = "human_branch.head.layers.#."

RULES: tuple[tuple[str, str], ...] = (
    ("pi3.register_token", "scene_branch.decoder.register_token"),
    ("pi3.decoder.#.", "scene_branch.decoder.blocks.#."),
    ("pi3.point_decoder.", "scene_branch.point_head.decoder."),
    ("pi3.conf_decoder.", "scene_branch.conf_head.decoder."),
    ("pi3.camera_decoder.", "scene_branch.camera_head.decoder."),
    ("pi3.camera_head.res_conv.#.res_conv1.", "scene_branch.camera_head.residuals.#.0."),
    ("pi3.camera_head.res_conv.#.res_conv2.", "scene_branch.camera_head.residuals.#.2."),
    ("pi3.camera_head.res_conv.#.res_conv3.", "scene_branch.camera_head.residuals.#.4."),
    ("pi3.camera_head.more_mlps.", "scene_branch.camera_head.mlp."),
    ("pi3.camera_head.fc_t.", "scene_branch.camera_head.translation."),
    ("pi3.camera_head.fc_rot.", "scene_branch.camera_head.rotation."),
    ("pi3.", "scene_branch."),
    ("backbone.last_norm.", "human_branch.backbone.norm."),
    ("backbone.", "human_branch.backbone."),
    ("human_head.transformer.pos_embedding", "human_branch.head.pos_embedding"),
    ("human_head.transformer.to_token_embedding.", "human_branch.head.to_token."),
    (_HEAD_OFFICIAL + "0.norm.", _HEAD + "self_norm."),
    (_HEAD_OFFICIAL + "0.fn.to_qkv.", _HEAD + "self_attention.qkv."),
    (_HEAD_OFFICIAL + "0.fn.to_out.0.", _HEAD + "self_attention.proj."),
    (_HEAD_OFFICIAL + "1.norm.", _HEAD + "cross_norm."),
    (_HEAD_OFFICIAL + "1.fn.to_q.", _HEAD + "cross_attention.q."),
    (_HEAD_OFFICIAL + "1.fn.to_kv.", _HEAD + "cross_attention.kv."),
    (_HEAD_OFFICIAL + "1.fn.to_out.0.", _HEAD + "cross_attention.proj."),
    (_HEAD_OFFICIAL + "2.norm.", _HEAD + "feed_norm."),
    (_HEAD_OFFICIAL + "2.fn.net.0.", _HEAD + "feed_forward.fc1."),
    (_HEAD_OFFICIAL + "2.fn.net.3.", _HEAD + "feed_forward.fc2."),
    ("human_head.", "human_branch.head."),
    ("alignnet.register_feature_adapter.", "align_net.register_adapter."),
    ("alignnet.patch_feature_adapter.", "align_net.patch_adapter."),
    ("alignnet.cam_feature_adapter.", "align_net.human_adapter."),
    ("alignnet.trans_head.", "align_net.translation_head."),
    ("alignnet.decoder_layers.#.self_q_proj.", "align_net.layers.#.self_attention.q."),
    ("alignnet.decoder_layers.#.self_k_proj.", "align_net.layers.#.self_attention.k."),
    ("alignnet.decoder_layers.#.self_v_proj.", "align_net.layers.#.self_attention.v."),
    ("alignnet.decoder_layers.#.self_out_proj.", "align_net.layers.#.self_attention.out."),
    ("alignnet.decoder_layers.#.cross_q_proj.", "align_net.layers.#.cross_attention.q."),
    ("alignnet.decoder_layers.#.cross_k_proj.", "align_net.layers.#.cross_attention.k."),
    ("alignnet.decoder_layers.#.cross_v_proj.", "align_net.layers.#.cross_attention.v."),
    ("alignnet.decoder_layers.#.cross_out_proj.", "align_net.layers.#.cross_attention.out."),
    ("alignnet.decoder_layers.", "align_net.layers."),
    ("alignnet.", "align_net."),
)

COPIES: dict[str, str] = {
    f"alignnet.{name}": f"human_head.{name}" for name in ("init_body_pose", "init_betas", "init_cam")
}
"""Tensors of the released file that its network never reads: the human head's own mean body, stored again."""

# What a CameraHMR checkpoint holds beside backbone and head: its camera and keypoint read-outs, and other networks.
_CAMERAHMR_HEADS = ("head.", "smpl_head.", "human_head.")
_CAMERAHMR_DROPPED = ("human_head.deccam.", "human_head.deckp.", "cam_model.", "smpl.", "smpl_layer.", "smplx.")


def _compiled(source: str, target: str) -> tuple[re.Pattern[str], str]:
    pattern = re.escape(source).replace(r"\#", r"(\d+)")
    return re.compile(pattern), target.replace("#", r"\1")


_TO_OURS = tuple(_compiled(official, ours) for official, ours in RULES)
_TO_OFFICIAL = tuple(_compiled(ours, official) for official, ours in RULES)


def _renamed(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, target in rules:
        match = pattern.match(name)
        if match:
            return match.expand(target) + name[match.end() :]
    raise CheckpointError(f"'{name}' is not a tensor of a UniSH checkpoint; check that the file is the right one.")


def ours_from_official(name: str) -> str:
    """Our name of a tensor of the released file. Raises `CheckpointError` on a name of no known part."""
    return _renamed(name, _TO_OURS)


def official_from_ours(name: str) -> str:
    """The released file's name of one of our tensors."""
    return _renamed(name, _TO_OFFICIAL)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The released file's tensors under our names. Raises `CheckpointError` when a stored copy is missing or wrong."""
    for copy, original in COPIES.items():
        if copy not in state:
            raise CheckpointError(f"The checkpoint lacks '{copy}'; download it again, it may be truncated.")
        if original in state and state[copy].shape != state[original].shape:
            raise CheckpointError(f"'{copy}' has shape {tuple(state[copy].shape)}, unlike '{original}'.")
    return {ours_from_official(name): tensor for name, tensor in state.items() if name not in COPIES}


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the released file's names, the stored copies included."""
    official = {official_from_ours(name): tensor for name, tensor in state.items()}
    return official | {copy: official[original] for copy, original in COPIES.items()}


def from_pi3(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """π³'s own checkpoint (`yyfz233/Pi3`, no prefix) as our `scene_branch.*`."""
    return {ours_from_official(f"pi3.{name}"): tensor for name, tensor in state.items()}


def from_camerahmr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CameraHMR's checkpoint as our `human_branch.*`; its camera and keypoint read-outs are left out.

    Its head goes by `head.*`, `smpl_head.*` or `human_head.*`. Raises `CheckpointError` on any other tensor.
    """
    ours = {}
    for name, tensor in state.items():
        prefix = next((prefix for prefix in _CAMERAHMR_HEADS if name.startswith(prefix)), None)
        official = name if prefix is None else "human_head." + name.removeprefix(prefix)
        if official.startswith(_CAMERAHMR_DROPPED):
            continue
        renamed = ours_from_official(official)
        if not renamed.startswith("human_branch."):
            raise CheckpointError(f"'{name}' is not a tensor of CameraHMR; check that the file is the right one.")
        ours[renamed] = tensor
    return ours
