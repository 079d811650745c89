"""List what is not translated yet: `python -m bot.translations ko`."""

from __future__ import annotations

import sys

from bot.translations import FOLDER, catalogue, languages, split
from bot.translations.sources import sources


def main(arguments: list[str]) -> int:
    """Print each sentence that a language lacks, as a line for its catalogue; 1 if there is one."""
    lacking = 0
    for language in arguments or languages():
        known = catalogue(language)
        if known is None:
            print(
                f"{FOLDER / language}.toml is not there: begin it with [names] and [texts].", file=sys.stderr
            )
            return 2
        recognised = {split(english)[0] for english in known.texts}
        told: set[tuple[str, ...]] = set()
        for source in sources():
            there = source.template in known.said if source.exact else source.shape in recognised
            if not there and source.shape not in told:
                told.add(source.shape)
                quoted = source.template.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
                print(f'"{quoted}" = ""  # {language}, {source.where}')
        lacking += len(told)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
