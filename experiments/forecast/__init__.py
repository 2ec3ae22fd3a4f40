"""Forecasts of the hourly series of M4."""
