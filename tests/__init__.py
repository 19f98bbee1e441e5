"""Tests by kind; a package so that no distribution's stray `tests` folder can shadow it."""
