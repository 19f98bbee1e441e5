"""Pools beside the book: constant product, concentrated liquidity, and how takers are routed.

A pool's amounts are atoms of its market's base and quote; a fee is parts per million of what
comes in and stays with those who provide the liquidity. Every division is rounded against whoever
trades, adds or removes.
"""
