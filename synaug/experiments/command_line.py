"""``python -m synaug.experiments.<name>``: what every experiment's command does, record a profile."""

import argparse

from synaug.run.results import record

#: Options beside the profile, with their defaults, of experiments with a saved generator.
GENERATOR_OPTIONS = {"generator": "fashion_mnist", "device": "cpu"}


def record_profile(run, experiment, profiles, description, options=GENERATOR_OPTIONS):
    """Parse the command line, run the experiment at the profile it names, and record the frame."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--profile", default="standard", choices=profiles)
    for name, default in options.items():
        parser.add_argument(f"--{name}", default=default)
    given = vars(parser.parse_args())
    path = record(run(**given, progress=True), experiment, given["profile"])
    print(f"recorded in {path}")
