"""Measuring upgrades: before, on paper; during, share by share; between any two models."""
