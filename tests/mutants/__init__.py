"""Harm done to the store on purpose, as text: each must be caught by what tests it.

A mutation replaces text in a copy of the tree (`harm`); `probe`, run in that copy, looks with the
small versions of the crash laboratory, the media tests and the exactly-once machine, and stops at
the first failure. `../test_store_mutants.py` runs them all.
"""
