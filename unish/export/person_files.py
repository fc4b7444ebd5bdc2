"""Which people are exported, and one file for each."""

from collections.abc import Callable, Sequence
from pathlib import Path

from unish.errors import InputError
from unish.structures import Person, Reconstruction
from unish.utils.atomic_write import atomic_path


def chosen_people(reconstruction: Reconstruction, ids: Sequence[int] = ()) -> tuple[Person, ...]:
    """The people with these ids, in the result's order; all of them when no id is given.

    Raises `InputError` for an id that the result does not have.
    """
    known = [person.id for person in reconstruction.people]
    for wanted in ids:
        if wanted not in known:
            people = f"only {', '.join(map(str, known))}" if known else "no people"
            raise InputError(f"Expected the id of a person in the result, got {wanted}, but it has {people}.")
    return tuple(person for person in reconstruction.people if not ids or person.id in ids)


def write_each(
    reconstruction: Reconstruction,
    path: str | Path,
    person: int | None,
    suffix: str,
    write: Callable[[Person, Path], None],
) -> tuple[Path, ...]:
    """Call `write` for one file per person: `path` itself when it ends in `suffix`, else `person_ID` + suffix in the
    folder `path`, for everybody or for the person with that id. A file appears under its name when it is complete.

    Returns the files. Raises `InputError` for an unknown id, for a single file when there is not exactly one person, or
    when a file cannot be written.
    """
    path = Path(path)
    people = chosen_people(reconstruction, () if person is None else (person,))
    single = path.name.endswith(suffix)
    if single and len(people) != 1:
        ids = ", ".join(str(one.id) for one in people) or "no people"
        raise InputError(
            f"Expected one person for one file, got a result with {ids}; choose one with person=ID, or give a folder."
        )
    files = tuple(path if single else path / f"person_{one.id}{suffix}" for one in people)
    for one, file in zip(people, files, strict=True):
        with atomic_path(file) as temporary:
            write(one, temporary)
    return files
