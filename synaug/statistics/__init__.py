"""Intervals and multiplicity over paired seeds; frames of results; claims and the rules that decide them."""

from synaug.statistics.intervals import Interval, bootstrap_interval, holm, jackknife_interval, mean_interval, paired_interval, pseudo_values, ratio_interval

__all__ = ["Interval", "bootstrap_interval", "holm", "jackknife_interval", "mean_interval", "paired_interval", "pseudo_values", "ratio_interval"]
