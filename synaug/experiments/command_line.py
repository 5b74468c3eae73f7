"""``python -m synaug.experiments.<name>``: what every experiment's command does, record a profile."""

import argparse

from synaug.results import record


def record_profile(run, experiment, profiles, description):
    """Parse the command line, run the experiment at the profile it names, and record the frame."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--profile", default="standard", choices=profiles)
    parser.add_argument("--generator", default="fashion_mnist")
    parser.add_argument("--device", default="cpu")
    options = vars(parser.parse_args())
    path = record(run(**options, progress=True), experiment, options["profile"])
    print(f"recorded in {path}")
