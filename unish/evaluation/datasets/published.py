"""Published numbers, each with who measured them. Kinds of systems that see less or know more are in brackets.

WHAM's W-MPJPE on EMDB-2 is 354.8 in two tables and 334.8 in one note, so one of them is a misprint.
"""

from unish.evaluation.benchmark import MethodRow

_UNISH, _SHOW, _WILDHSR = "UniSH, arXiv 2601.01222", "SHOW, arXiv 2606.27720", "WildHSR, arXiv 2609.29106"
_COLLECTED = "papers' tables and notes, 2026-11"
_OWN_FORMULAS = f"{_WILDHSR}, by its own formulas"
_PEOPLE = "people only"


def _rows(
    source: str, names: tuple[str, ...], rows: dict[str, tuple[float | int | None, ...]]
) -> tuple[MethodRow, ...]:
    return tuple(
        MethodRow(
            method,
            source,
            {name: float(value) for name, value in zip(names, values, strict=True) if value is not None},
        )
        for method, values in rows.items()
    )


_WORLD = ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent")
_GEOMETRY = ("world_size", "foot_floor_gap_cm", "foot_sliding_cm_s", "rigid_ate_m")

BONN = _rows(
    _UNISH,
    ("abs_rel", "delta_125"),
    {
        "UniSH": (0.035, 0.980),
        "π³": (0.049, 0.975),
        "VGGT": (0.057, 0.966),
        "MonST3R": (0.072, 0.957),
        "CUT3R": (0.078, 0.937),
    },
)
EMDB_1 = _rows(
    _SHOW,
    ("pa_mpjpe_mm", "mpjpe_mm", "pve_mm"),
    {"UniSH": (86.6, 112.9, 140.0), "Human3R": (48.5, 73.9, 86.0)},
)
EMDB_2 = (
    *_rows(
        _UNISH,
        _WORLD,
        {
            "UniSH": (118.5, 270.1, 5.8),
            "Human3R": (112.2, 267.9, 2.2),
            "GVHMR": (111.0, 276.5, 2.0),
            "JOSH3R": (220.0, 661.7, 13.1),
            "TRAM": (76.4, 222.4, 1.4),
            "JOSH (optimisation)": (68.9, 174.7, 1.3),
            "WHAM": (135.6, 354.8, 6.0),
        },
    ),
    *_rows(_WILDHSR, _WORLD, {"WildHSR": (66.3, 193.6, 0.9)}),
    *_rows(_SHOW, _WORLD, {"SHOW": (109.1, 262.3, 2.1)}),
    *_rows(
        _COLLECTED,
        _WORLD,
        {
            "CHROMM (mono)": (102.6, 255.0, None),
            f"DuoMo ({_PEOPLE}, given cameras)": (66.0, 167.1, 1.1),
            f"GENMO ({_PEOPLE})": (None, 202.1, None),
            f"PromptHMR-vid ({_PEOPLE})": (71.0, 216.5, 1.3),
            f"WATCH ({_PEOPLE})": (106.4, 269.3, 1.7),
        },
    ),
    *_rows(
        _OWN_FORMULAS,
        _GEOMETRY,
        {
            "UniSH": (0.47, 15.5, 28.1, 0.98),
            "Human3R": (1.03, 12.7, 22.6, 0.20),
            "WildHSR": (0.99, 3.6, 17.4, 0.13),
        },
    ),
)
RICH = (
    *_rows(
        _UNISH,
        _WORLD,
        {"UniSH": (118.1, 183.2, 4.8), "Human3R": (110.0, 184.9, 3.3), "GVHMR": (78.8, 126.3, 2.4)},
    ),
    *_rows(_WILDHSR, _WORLD, {"WildHSR": (73.2, 163.1, 2.7)}),
    *_rows(_SHOW, _WORLD, {"SHOW": (107.3, 172.7, 2.2)}),
    *_rows(
        _COLLECTED,
        _WORLD,
        {
            "CHROMM (mono)": (87.5, 138.3, None),
            "JOSH (optimisation)": (89.0, 132.5, 3.0),
            f"DuoMo ({_PEOPLE}, given cameras)": (None, 80.8, None),
            f"GENMO ({_PEOPLE})": (None, 118.6, None),
            f"TRAM ({_PEOPLE})": (127.8, 238.0, 6.0),
        },
    ),
)
