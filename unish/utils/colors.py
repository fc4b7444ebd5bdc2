"""The colours that people have everywhere: in the viewer, over the clip, in files and on the page."""

PERSON_COLORS = (
    (240, 128, 60),
    (61, 139, 253),
    (46, 182, 125),
    (176, 110, 240),
    (236, 95, 155),
    (216, 162, 10),
    (19, 179, 196),
    (226, 74, 74),
)
"""sRGB, 0..255."""


def person_color(person_id: int) -> tuple[int, int, int]:
    """The sRGB colour of the person with this id, from 1; the ninth has the first one's again."""
    return PERSON_COLORS[(person_id - 1) % len(PERSON_COLORS)]
