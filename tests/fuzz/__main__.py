"""``python -m tests.fuzz``: let a fuzzer look for bytes that a parser does not stand.

``make fuzz`` installs the fuzzer (atheris, which runs libFuzzer on Python's own coverage) and comes
here. What is found lies in ``var/fuzz/found``; run a target on it again with
``python -m tests.fuzz TARGET FILE``, and add it to tests/protocol/test_fuzz_targets.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path("var/fuzz")
PARSERS = "predictor.protocol"  # what is watched for coverage
LONGEST_INPUT = 4096  # bytes; longer ones find nothing new and are slower
LONGEST_RUN_S = 10  # of one input; honest ones take well under a millisecond
MOST_MEMORY_MB = 1024  # of the process, which starts at a fifth of it


def main() -> int:
    """Fuzz the targets one after the other, or one of them; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("target", nargs="?", help="default: every target")
    parser.add_argument("files", nargs="*", type=Path, help="only run the target on these")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    given = parser.parse_args()
    if given.files:
        return _again(given.target, given.files)
    if given.target:
        return _fuzz(given.target, given.seconds)
    return _fuzz_all(given.seconds)


def _fuzz_all(seconds: int) -> int:
    """Each target in a process of its own: libFuzzer ends the process it runs in."""
    from tests.fuzz.targets import TARGETS

    found = []
    for name in TARGETS:
        print(f"fuzz: {name}, {seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds)]
        if subprocess.run(command, check=False).returncode:
            found.append(name)
    print(f"fuzz: found something in {', '.join(found)}" if found else "fuzz: found nothing")
    return 1 if found else 0


def _fuzz(name: str, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=[PARSERS]):
        from tests.fuzz.mutation import change_json
        from tests.fuzz.targets import TARGETS
    if name not in TARGETS:
        sys.exit(f"there is no target {name!r}; there are {', '.join(TARGETS)}")
    target = TARGETS[name]
    corpus, found = FOLDER / "corpus" / name, FOLDER / "found" / name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed{number}").write_bytes(seed)
    words = FOLDER / f"{name}.dict"
    listed = ['"\\x00"', *(f'"{word}"' for word in target.words)]  # an empty file would end the run
    words.write_text("\n".join(listed) + "\n", encoding="ascii")
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={LONGEST_RUN_S}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={found}/",
        f"-dict={words}",
        "-print_final_stats=1",
        "-verbosity=0",
        str(corpus),
    ]

    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        if seed % 2:
            data = change_json(data, target.words, seed)
        return data if seed % 4 == 1 and len(data) <= longest else atheris.Mutate(data, longest)

    atheris.Setup(arguments, target.run, custom_mutator=mutated if target.json else None)
    atheris.Fuzz()  # ends the process: 0, or libFuzzer's own code where it found something
    return 0


def _again(name: str, files: list[Path]) -> int:
    """Run a target on files as they are, without the fuzzer."""
    from tests.fuzz.targets import TARGETS

    for file in files:
        TARGETS[name].run(file.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
